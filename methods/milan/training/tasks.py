"""Losses and validation scores of decoder and language model, for the training loop."""

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
"""The annotations of a unit, as words."""


@dataclass(frozen=True)
class Split:
    """The units for training and the units held out.

    Raises:
        InputError: if one of the two is empty.
        ValueError: if a unit is in both.
    """

    train: tuple[int, ...]
    held_out: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.train or not self.held_out:
            raise InputError(
                f"{len(self.train)} units for training and {len(self.held_out)} held out",
                "training needs both: give more units, or change hold_out",
            )
        if set(self.train) & set(self.held_out):
            raise ValueError("units are both in training and held out")


def split_units(units: int, hold_out: float, seed: int) -> Split:
    """Holds out a random share of the units, at least one."""
    order = np.random.default_rng(seed).permutation(units)
    held = max(1, round(units * hold_out))
    return Split(tuple(sorted(order[held:].tolist())), tuple(sorted(order[:held].tolist())))


@dataclass(frozen=True, eq=False)
class Corpus:
    """The training data of both networks.

    Attributes:
        vocabulary: the words in the annotations of the units for training.
        features: float32 [units, count, size], may be memory-mapped.
        texts: annotations of every unit.
        split: of the units.
    """

    vocabulary: Vocabulary
    features: NDArray[np.float32]
    texts: Sequence[Texts]
    split: Split

    def samples(self, units: Sequence[int]) -> list[tuple[int, Tensor]]:
        """Returns (unit, tokens int64 [length] with start and stop) for each text of some units."""
        encode = self.vocabulary.encode
        return [(unit, torch.tensor(encode(text))) for unit in units for text in self.texts[unit]]

    def padded(self, texts: Sequence[Tensor]) -> Tensor:
        """Returns the texts of one batch, int64 [n, length], padded to the longest."""
        return pad_sequence(list(texts), batch_first=True, padding_value=self.vocabulary.pad)


class DecoderTask:
    """Trains the decoder on every text of a unit, given the true words before each word.

    Args:
        network: the decoder.
        corpus: the training data.
        length: maximum length of the greedy captions that the score is computed from.
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
        """Returns minus the mean log-probability of the words, plus the penalty for uneven attention.

        Padding counts for neither.
        """
        units, texts = zip(*(self._samples[i] for i in samples.tolist()), strict=True)
        device = self.network.embedding.weight.device
        tokens = self._corpus.padded(texts).to(device)
        features = torch.from_numpy(np.array(self._corpus.features[list(units)])).to(device)
        predicted, weights = self.network(features, tokens[:, :-1])
        following = tokens[:, 1:]
        is_word = following != self._corpus.vocabulary.pad
        # Doubly stochastic attention (Xu et al. 2015): each exemplar's weights over a caption sum to 1.
        uneven = (1 - (weights * is_word[..., None]).sum(dim=1)).square().mean()
        return functional.nll_loss(predicted[is_word], following[is_word]) + self._penalty * uneven

    def score(self) -> float:
        """Returns BLEU of greedy captions of the units held out."""
        corpus = self._corpus
        held_out = list(corpus.split.held_out)
        captions = self._decoder.describe(corpus.features[held_out])
        words = [corpus.vocabulary.decode(caption.tokens) for caption in captions]
        return corpus_bleu(words, [corpus.texts[unit] for unit in held_out])


class LanguageModelTask:
    """Trains the language model on the texts of all units.

    Args:
        network: the language model.
        corpus: the training data.
        batch: held-out texts evaluated at once.
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
        """Returns minus the mean log-probability of the words."""
        return -self._log_probs([self._train[i] for i in samples.tolist()]).mean()

    def score(self) -> float:
        """Returns the mean log-probability of the held-out words that are in the vocabulary."""
        starts = range(0, len(self._held_out), self._batch)
        log_probs = [self._log_probs(self._held_out[start : start + self._batch]) for start in starts]
        return torch.cat(log_probs).double().mean().item()

    def _log_probs(self, texts: Sequence[Tensor]) -> Tensor:
        vocabulary = self._corpus.vocabulary
        tokens = self._corpus.padded(texts).to(self.network.embedding.weight.device)
        predicted, following = self.network(tokens[:, :-1]), tokens[:, 1:]
        # Words that occur in held-out texts only are no outputs that training could have changed.
        known = (following != vocabulary.pad) & (following != vocabulary.unknown)
        return predicted[known].gather(1, following[known][:, None])[:, 0]
