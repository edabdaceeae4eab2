"""What the image-text model is trained with: texts about pictures, and the loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from ..phrases import Phrase, facts, phrase
from ..tinyworld import other_words
from ..words import BACKDROP, COLOURS, NUMBER, OBJECTS, PARTS, SCENES, TEXTURES, WORDS
from .images import ImageSet

OTHERS = 48
# Columns of words that rival each other: classes, things of backdrops, and each other category.
RIVALS = tuple(
    [NUMBER[word] - 1 for word in words]
    for words in (OBJECTS, BACKDROP, COLOURS, PARTS, SCENES, TEXTURES)
)


class Texts:
    """What is said about the pictures of a batch, and how true it is of each of them.

    A phrase is true or not. A word is as true as the root of the area that shows it; the words for the
    scene and for the main object, its colour and its texture are wholly true.
    """

    def __init__(self, shown: ImageSet, seed: int) -> None:
        self.shown, self.rng, self.others = shown, np.random.default_rng(seed), other_words()
        self.facts = [facts(s, a) for s, a in zip(shown.specs, shown.areas, strict=True)]
        visible = np.array([[word in true for word in WORDS] for true in self.facts])
        self.words = np.sqrt(shown.areas[:, 1:]) * visible
        for row, spec in zip(self.words, shown.specs, strict=True):
            main = (spec.scene, spec.main.kind, spec.main.colour, spec.main.texture)
            row[[NUMBER[word] - 1 for word in main if word]] = 1

    def phrases(self, chosen: Sequence[int]) -> list[Phrase]:
        """Returns a new phrase about each picture."""
        return [phrase(self.shown.specs[i], self.facts[i], self.rng) for i in chosen]

    def batch(self, chosen: Sequence[int]) -> tuple[list[str], torch.Tensor]:
        """Returns texts (all words, phrases, untrue words) and their truth, float32 [pictures, texts]."""
        said, untrue = self.phrases(chosen), self._untrue_words()
        phrases = [[p.facts <= self.facts[i] for p in said] for i in chosen]
        truth = [self.words[chosen], np.array(phrases), np.zeros((len(chosen), len(untrue)))]
        texts = [*WORDS, *(p.text for p in said), *untrue]
        return texts, torch.from_numpy(np.concatenate(truth, axis=1).astype(np.float32))

    def _untrue_words(self) -> list[str]:
        """Returns words for things that no picture shows, a third of them made up from two halves."""
        words = [self.others[i] for i in self.rng.permutation(len(self.others))[:OTHERS]]
        ends = words[OTHERS // 3 :]
        for i in range(OTHERS // 3):
            made_up = words[i][: len(words[i]) // 2] + ends[i][len(ends[i]) // 2 :]
            words[i] = words[i] if made_up in NUMBER else made_up
        return words


def contrast(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Returns the mean cross-entropy of rows of logits with their truth, rows without any left out."""
    total = truth.sum(1, keepdim=True)
    per_row = -(truth / total.clamp_min(1e-9) * functional.log_softmax(logits, dim=1)).sum(1)
    return per_row[total[:, 0] > 0].mean()


def loss_of(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Returns the contrast of pictures with texts and of texts with pictures, and of rival words.

    Args:
        logits: [pictures, texts]; the first texts are `WORDS`.
        truth: [pictures, texts].
    """
    everything = (contrast(logits, truth) + contrast(logits.T, truth.T)) / 2
    rivals = [contrast(logits[:, columns], truth[:, columns]) for columns in RIVALS]
    return everything + torch.stack(rivals).sum()
