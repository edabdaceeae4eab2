"""From a unit's exemplars to its captions: the search, and the choice among what it finds.

Hernandez et al., "Natural Language Descriptions of Deep Visual Features", ICLR 2022, section 3: the
description is the caption d with the largest log p(d|E) - lambda log p(d), the weighted pointwise mutual
information with the exemplars E.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...harness.errors import InputError
from ...harness.loading import full_precision
from .attention import AttentionDecoder, State
from .beam import Step, search
from .checkpoints import Checkpoint, Decoding
from .language_model import CaptionLanguageModel, LanguageState
from .vocabulary import Vocabulary

Counting = Literal["exact", "one_more", "batch"]


@dataclass(frozen=True)
class Caption:
    """A description of a unit that the decoder found.

    Attributes:
        text: the sentence.
        tokens: numbers of its words in the vocabulary, with stop unless it was cut off before.
        log_prob: log p(d|E), the sum over the tokens.
        lm_log_prob: log p(d), see `Decoder`; None without a language model.
        score: what the strategy ranks by.
    """

    text: str
    tokens: tuple[int, ...]
    log_prob: float
    lm_log_prob: float | None
    score: float


@dataclass(frozen=True, eq=False)
class _Found:
    """What the search found for one unit.

    Attributes:
        tokens: int64 [beam, length], all stop after the first stop.
        lengths: int64 [beam], tokens up to and with the first stop.
        scores: float64 [beam].
        steps: words until the search was over.
        lm: float64 [beam, length + 1] log p of each token and of a stop after them; [beam, 0] without a
            language model.
    """

    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    scores: NDArray[np.float64]
    steps: int
    lm: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        tokens: NDArray[np.int64],
        scores: NDArray[np.float32],
        steps: np.int64,
        lm: NDArray[np.float32],
        *,
        stop: int,
    ) -> _Found:
        """Measures the hypotheses and adds up in double precision from here on."""
        stopped = tokens == stop
        lengths = np.where(stopped.any(axis=1), stopped.argmax(axis=1) + 1, tokens.shape[1])
        return cls(tokens, lengths, scores.astype(np.float64), int(steps), lm.astype(np.float64))

    def lm_log_probs(self, searched: int) -> NDArray[np.float64]:
        """Returns log p(d) [beam], with one stop more for captions shorter than `searched` steps."""
        counted = self.lengths + (self.lengths < searched)
        return (self.lm * (np.arange(self.lm.shape[1]) < counted[:, None])).sum(axis=1)


class Decoder:
    """Writes captions of units.

    Which tokens count for log p(d) is a switch, because the published program's masks are shifted by
    one: of a caption that has stopped before its search has, one stop too many is counted.

    | counting | log p(d) is summed over |
    |---|---|
    | `exact` | the words and the first stop |
    | `one_more` | and one stop more, if the search for this unit took longer than the caption |
    | `batch` | and one stop more, if the search for any of the units given together took longer |

    `one_more` is what the published program computes for a unit alone, `batch` what it computes for
    units in one batch: only there does a caption depend on the other units. `mi-greedy` and `mi-beam`
    add up words and the first stop whatever the switch says, as the published program does.

    Units go through the networks in blocks of one fixed size, so that a result depends neither on
    how many units are asked for nor on which.

    Args:
        network: p(word | words before it, exemplars), in evaluation mode.
        vocabulary: its words.
        language_model: p(word | words before it), in evaluation mode.
        decoding: how captions are searched for.
        counting: see above.
        block: units that are searched for at once.

    Raises:
        InputError: if the strategy needs a language model and there is none.
    """

    def __init__(
        self,
        network: AttentionDecoder,
        vocabulary: Vocabulary,
        language_model: CaptionLanguageModel | None = None,
        decoding: Decoding | None = None,
        *,
        counting: Counting = "exact",
        block: int = 16,
    ) -> None:
        if counting not in ("exact", "one_more", "batch"):
            raise InputError(f"counting={counting!r} is unknown", "use exact, one_more or batch")
        self.decoding = decoding or Decoding("beam" if language_model is None else "rerank")
        if language_model is None and self.decoding.strategy not in ("greedy", "beam"):
            raise InputError(
                f"strategy={self.decoding.strategy} needs a language model, and the checkpoint has none",
                "use strategy=beam or greedy, or a checkpoint with a language model",
            )
        self.network, self.vocabulary, self.language_model = network, vocabulary, language_model
        self.counting, self.block = counting, block

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        *,
        device: torch.device | str = "cpu",
        counting: Counting | None = None,
        block: int = 16,
        **decoding: Any,
    ) -> Decoder:
        """Returns the decoder of a checkpoint.

        Args:
            checkpoint: the trained MILAN.
            device: where it computes.
            counting: None: `one_more` for a published checkpoint, else `exact`.
            block: see `Decoder`.
            decoding: settings of `Decoding` other than the checkpoint's.

        Raises:
            InputError: if the weights do not fit or a setting is wrong.
        """
        language_model = checkpoint.build_language_model()
        return cls(
            checkpoint.build_decoder().to(device),
            checkpoint.vocabulary,
            None if language_model is None else language_model.to(device),
            replace(checkpoint.decoding, **decoding),
            counting=counting or ("one_more" if checkpoint.official else "exact"),
            block=block,
        )

    def describe(self, features: NDArray[np.float32]) -> list[Caption]:
        """Returns the best caption of each unit, for `features` [units, k, feature]."""
        return [captions[0] for captions in self.n_best(features, 1)]

    def n_best(self, features: NDArray[np.float32], n: int) -> list[list[Caption]]:
        """Returns up to `n` captions of each unit, the best first; equal scores in the search's order.

        Args:
            features: [units, k, feature], the encoder's vectors of each unit's exemplars.
            n: how many; there are never more than the beam has.

        Raises:
            ValueError: if the features have another shape, or are not all finite.
        """
        _, k, size = features.shape
        if size != self.network.sizes.feature or k == 0:
            raise ValueError(
                f"features {features.shape}, expected [units, k, {self.network.sizes.feature}]"
            )
        found = [unit for block in self._blocks(features) for unit in self._searched(block)]
        found = found[: len(features)]
        longest = max((unit.steps for unit in found), default=0)
        return [self._captions(unit, longest, n) for unit in found]

    def _blocks(self, features: NDArray[np.float32]) -> Iterator[Tensor]:
        """Yields blocks [block, k, feature]; rows without a unit are zero."""
        device = self.network.embedding.weight.device
        for begin in range(0, len(features), self.block):
            given = np.asarray(features[begin : begin + self.block], np.float32)
            if not np.isfinite(given).all():
                unit = begin + int(np.flatnonzero(~np.isfinite(given).all(axis=(1, 2)))[0])
                raise ValueError(f"the features of unit {unit} are not all finite")
            block = np.zeros((self.block, *features.shape[1:]), np.float32)
            block[: len(given)] = given
            yield torch.from_numpy(block).to(device)

    @torch.inference_mode()
    def _searched(self, features: Tensor) -> list[_Found]:
        """Returns what the search finds for each unit of a block."""
        decoding, vocabulary = self.decoding, self.vocabulary
        with full_precision(features.device):
            step, state = self._scorer(features)
            found = search(
                step,
                state,
                len(features),
                start=vocabulary.start,
                stop=vocabulary.stop,
                beam=1 if "greedy" in decoding.strategy else decoding.beam,
                steps=decoding.length,
            )
            lm_steps = self._lm_steps(found.tokens)
        parts = [part.cpu().numpy() for part in (*found, lm_steps)]
        return [_Found.of(*unit, stop=vocabulary.stop) for unit in zip(*parts, strict=True)]

    def _scorer(self, features: Tensor) -> tuple[Step, tuple[Tensor, ...]]:
        """Returns what scores the next word, and the state to begin with."""
        memory, first = self.network.begin(features)
        language_model, weight = self.language_model, self.decoding.temperature
        if language_model is None or not self.decoding.strategy.startswith("mi-"):
            return lambda tokens, state: self.network.step(tokens, memory, State(*state))[:2], first

        def step(tokens: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            log_probs, new, _ = self.network.step(tokens, memory, State(*state[:2]))
            lm_log_probs, lm_new = language_model.step(tokens, LanguageState(*state[2:]))
            return log_probs - weight * lm_log_probs, (*new, *lm_new)

        return step, (*first, *language_model.begin(len(features)))

    def _lm_steps(self, tokens: Tensor) -> Tensor:
        """Returns log p of each token, and of a stop after them: [units, beam, length + 1].

        Without a language model there are no steps: [units, beam, 0].
        """
        if self.language_model is None:
            return tokens.new_zeros(*tokens.shape[:2], 0, dtype=torch.float32)
        padded = functional.pad(tokens, (0, 1), value=self.vocabulary.stop)
        return self.language_model.log_probs(padded.flatten(0, 1)).view(padded.shape)

    def _captions(self, found: _Found, longest: int, n: int) -> list[Caption]:
        """Returns the `n` best of one unit's hypotheses; `longest`: steps of the longest search."""
        strategy, weight = self.decoding.strategy, self.decoding.temperature
        word_by_word = strategy.startswith("mi-")
        searched = {"exact": 0, "one_more": found.steps, "batch": longest}[self.counting]
        lm_log_probs = found.lm_log_probs(0 if word_by_word else searched)
        scores = found.scores - weight * lm_log_probs if strategy == "rerank" else found.scores
        log_probs = found.scores + weight * lm_log_probs if word_by_word else found.scores
        best = [i for i in np.argsort(-scores, kind="stable").tolist() if np.isfinite(scores[i])]
        return [
            Caption(
                self.vocabulary.caption(found.tokens[i].tolist()),
                tuple(found.tokens[i, : found.lengths[i]].tolist()),
                float(log_probs[i]),
                None if self.language_model is None else float(lm_log_probs[i]),
                float(scores[i]),
            )
            for i in best[:n]
        ]
