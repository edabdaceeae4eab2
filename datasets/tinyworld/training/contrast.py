"""Texts about images, and the contrastive loss, for training the image-text model."""

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
"""Number of words that are true of no image, in each batch."""

# Columns of the words of one group, whose words compete with each other.
GROUPS = tuple(
    [NUMBER[word] - 1 for word in words]
    for words in (OBJECTS, BACKDROP, COLOURS, PARTS, SCENES, TEXTURES)
)
CLASS_COLUMNS = GROUPS[0]


class Texts:
    """Texts about the images of a batch, and how true each is of each image.

    A phrase is true (1) or not (0). The truth of a word is the square root of the area that shows it; the
    words for the scene and for the main object, its colour and its texture have truth 1.

    Args:
        images: the images.
        seed: seed of the choice of phrases and words.
    """

    def __init__(self, images: ImageSet, seed: int) -> None:
        self.images, self.rng, self.others = images, np.random.default_rng(seed), other_words()
        self.facts = [facts(s, a) for s, a in zip(images.specs, images.areas, strict=True)]
        visible = np.array([[word in true for word in WORDS] for true in self.facts])
        self.words = np.sqrt(images.areas[:, 1:]) * visible
        for row, spec in zip(self.words, images.specs, strict=True):
            main = (spec.scene, spec.main.kind, spec.main.colour, spec.main.texture)
            row[[NUMBER[word] - 1 for word in main if word]] = 1

    def phrases(self, chosen: Sequence[int]) -> list[Phrase]:
        """Returns a new random phrase about each image."""
        return [phrase(self.images.specs[i], self.facts[i], self.rng) for i in chosen]

    def batch(self, chosen: Sequence[int]) -> tuple[list[str], torch.Tensor]:
        """Returns texts (all words, phrases, untrue words) and their truth, float32 [images, texts]."""
        phrases, untrue = self.phrases(chosen), self._untrue_words()
        # A phrase about one image may be true of others too.
        truth_of_phrases = [[p.facts <= self.facts[i] for p in phrases] for i in chosen]
        truth = [self.words[chosen], np.array(truth_of_phrases), np.zeros((len(chosen), len(untrue)))]
        texts = [*WORDS, *(p.text for p in phrases), *untrue]
        return texts, torch.from_numpy(np.concatenate(truth, axis=1).astype(np.float32))

    def _untrue_words(self) -> list[str]:
        """Returns words for things that no image shows; a third are made of halves of two words.

        The made-up words teach the text tower that an unknown word means nothing in particular.
        """
        words = [self.others[i] for i in self.rng.permutation(len(self.others))[:OTHERS]]
        endings = words[OTHERS // 3 :]
        for i in range(OTHERS // 3):
            made_up = words[i][: len(words[i]) // 2] + endings[i][len(endings[i]) // 2 :]
            words[i] = words[i] if made_up in NUMBER else made_up
        return words


def soft_cross_entropy(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Returns the mean cross-entropy of rows of logits with their truth, without rows that have none."""
    total = truth.sum(1, keepdim=True)
    # Rows without truth are left out below, but 0 / 0 would still make their gradient NaN.
    per_row = -(truth / total.clamp_min(1e-9) * functional.log_softmax(logits, dim=1)).sum(1)
    return per_row[total[:, 0] > 0].mean()


def contrastive_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Returns the symmetric loss of images and texts, plus that of images and each group of words.

    Args:
        logits: [images, texts]; the first texts are `WORDS`.
        truth: [images, texts].
    """
    symmetric = (soft_cross_entropy(logits, truth) + soft_cross_entropy(logits.T, truth.T)) / 2
    groups = [soft_cross_entropy(logits[:, columns], truth[:, columns]) for columns in GROUPS]
    return symmetric + torch.stack(groups).sum()
