"""What decoder and language model learn, and how they are judged: the tasks of the training loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from ....harness.errors import InputError
from ..attention import AttentionDecoder
from ..decoder import Decoder
from ..language_model import CaptionLanguageModel
from ..settings import DecodingSettings
from ..vocabulary import Vocabulary
from .bleu import corpus_bleu

Texts: TypeAlias = Sequence[Sequence[str]]
"""The texts of a unit, in words."""


@dataclass(frozen=True)
class Split:
    """Which units are learnt from, and which are held out.

    Raises:
        InputError: if one of the two is empty.
        ValueError: if a unit is in both.
    """

    train: tuple[int, ...]
    held_out: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.train or not self.held_out:
            raise InputError(
                f"{len(self.train)} units to learn from and {len(self.held_out)} held out",
                "training needs some of both: give more units, or another hold_out",
            )
        if set(self.train) & set(self.held_out):
            raise ValueError("a unit that is held out may not be learnt from")


def split_units(units: int, hold_out: float, seed: int) -> Split:
    """Holds out a random share of the units, at least one."""
    order = np.random.default_rng(seed).permutation(units)
    held = max(1, round(units * hold_out))
    return Split(tuple(sorted(order[held:].tolist())), tuple(sorted(order[:held].tolist())))


@dataclass(frozen=True, eq=False)
class Corpus:
    """What is learnt from.

    Attributes:
        vocabulary: the words of the units learnt from.
        features: float32 [units, k, feature], may be memory-mapped.
        texts: of every unit.
        split: of the units.
    """

    vocabulary: Vocabulary
    features: NDArray[np.float32]
    texts: Sequence[Texts]
    split: Split

    def samples(self, units: Sequence[int]) -> list[tuple[int, Tensor]]:
        """Returns (unit, int64 [length]) for each text of some units, with start and stop."""
        encode = self.vocabulary.encode
        return [(unit, torch.tensor(encode(text))) for unit in units for text in self.texts[unit]]

    def padded(self, texts: Sequence[Tensor]) -> Tensor:
        """Returns int64 [n, length]: texts of one batch, the shorter ones filled up."""
        return pad_sequence(list(texts), batch_first=True, padding_value=self.vocabulary.pad)


class DecoderTask:
    """The decoder learns to say every text of a unit, given the true words before each word.

    Args:
        network: the decoder.
        corpus: what it learns from.
        length: of the captions that it is judged by.
        penalty: weight of mean (1 - sum of an exemplar's weights over the words)^2.
    """

    name = "decoder"

    def __init__(self, network: AttentionDecoder, corpus: Corpus, length: int, penalty: float) -> None:
        self.network, self._corpus, self._penalty = network, corpus, penalty
        self._samples = corpus.samples(corpus.split.train)
        self._decoder = Decoder(network, corpus.vocabulary, decoding=DecodingSettings("greedy", length))

    def __len__(self) -> int:
        return len(self._samples)

    def loss(self, samples: Tensor) -> Tensor:
        """Minus the mean log-probability of the words, and the penalty for uneven attention.

        Words that only fill up the batch count for neither.
        """
        units, texts = zip(*(self._samples[i] for i in samples.tolist()), strict=True)
        device = self.network.embedding.weight.device
        tokens = self._corpus.padded(texts).to(device)
        features = torch.from_numpy(np.array(self._corpus.features[list(units)])).to(device)
        predicted, weights = self.network(features, tokens[:, :-1])
        following = tokens[:, 1:]
        said = following != self._corpus.vocabulary.pad
        uneven = (1 - (weights * said[..., None]).sum(dim=1)).square().mean()
        return functional.nll_loss(predicted[said], following[said]) + self._penalty * uneven

    def score(self) -> float:
        """BLEU of greedy captions of the units held out."""
        corpus = self._corpus
        held_out = list(corpus.split.held_out)
        captions = self._decoder.describe(corpus.features[held_out])
        words = [corpus.vocabulary.decode(caption.tokens) for caption in captions]
        return corpus_bleu(words, [corpus.texts[unit] for unit in held_out])


class LanguageModelTask:
    """The language model learns to say every text, whatever the unit.

    Args:
        network: the language model.
        corpus: what it learns from.
        batch: texts judged at once.
    """

    name = "language model"

    def __init__(self, network: CaptionLanguageModel, corpus: Corpus, batch: int) -> None:
        self.network, self._corpus, self._batch = network, corpus, batch
        self._train, self._held_out = (
            [text for _, text in corpus.samples(units)]
            for units in (corpus.split.train, corpus.split.held_out)
        )

    def __len__(self) -> int:
        return len(self._train)

    def loss(self, samples: Tensor) -> Tensor:
        """Minus the mean log-probability of the words."""
        return -self._log_probs([self._train[i] for i in samples.tolist()]).mean()

    def score(self) -> float:
        """The mean log-probability of the words held out, as far as they are in the vocabulary."""
        starts = range(0, len(self._held_out), self._batch)
        found = [self._log_probs(self._held_out[start : start + self._batch]) for start in starts]
        return torch.cat(found).double().mean().item()

    def _log_probs(self, texts: Sequence[Tensor]) -> Tensor:
        words = self._corpus.vocabulary
        tokens = self._corpus.padded(texts).to(self.network.embedding.weight.device)
        predicted, following = self.network(tokens[:, :-1]), tokens[:, 1:]
        known = (following != words.pad) & (following != words.unknown)
        return predicted[known].gather(1, following[known][:, None])[:, 0]
