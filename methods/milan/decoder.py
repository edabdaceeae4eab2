"""Writes captions of units: searches for them, and ranks what the search finds.

Hernandez et al., "Natural Language Descriptions of Deep Visual Features", ICLR 2022, section 3: the
description is the caption d with the largest log p(d|E) - lambda log p(d), the weighted pointwise mutual
information with the exemplars E.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...harness.devices import full_precision
from ...harness.errors import InputError, one_of
from ...harness.fixed_batches import fill, in_blocks
from .attention import AttentionDecoder
from .beam import Hypotheses, State, Step, search
from .checkpoints import Checkpoint
from .language_model import CaptionLanguageModel
from .settings import Counting, DecodingSettings
from .vocabulary import Vocabulary

_BEAMS, _UNITS = 800, 128
"""Approximate number of beams and maximum number of units in one search; they determine its memory,
because the attention needs a vector per beam and exemplar."""

_LANES = 16
"""The units of a block are a multiple of this: vector instructions compute a remainder differently."""


@dataclass(frozen=True)
class Caption:
    """A candidate description of a unit.

    Attributes:
        text: the sentence.
        tokens: numbers of its words in the vocabulary, with stop unless it has the maximum length.
        log_prob: log p(d|E), the sum over the tokens.
        lm_log_prob: log p(d), see `Decoder`; None without a language model.
        score: the value that the strategy ranks by.
    """

    text: str
    tokens: tuple[int, ...]
    log_prob: float
    lm_log_prob: float | None
    score: float


@dataclass(frozen=True, eq=False)
class _Hypotheses:
    """Results of the search for one unit, on the CPU.

    Attributes:
        tokens: int64 [beam, length], all stop after the first stop.
        lengths: int64 [beam], number of tokens including the first stop.
        scores: float64 [beam].
        steps: words until the search ended.
        lm: float64 [beam, length + 1] log p of each token and of a second stop; [beam, 0] without a
            language model.
    """

    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    scores: NDArray[np.float64]
    steps: int
    lm: NDArray[np.float64]

    def lm_log_probs(self, searched: int) -> NDArray[np.float64]:
        """Returns log p(d) [beam], with a second stop for captions shorter than `searched` steps."""
        counted = self.lengths + (self.lengths < searched)
        return (self.lm * (np.arange(self.lm.shape[1]) < counted[:, None])).sum(axis=1)


class Decoder:
    """Writes captions of units.

    `counting` chooses the tokens that log p(d) is summed over, because the masks of the published program
    are shifted by one: for a caption that ends before its search does, it counts a second stop.

    | counting | log p(d) is summed over |
    |---|---|
    | `exact` | the words and the first stop |
    | `one_more` | and a second stop, if the search for this unit took longer than the caption |
    | `batch` | and a second stop, if the search for any unit of the same call took longer |

    `one_more` is what the published program computes for a single unit, `batch` what it computes for
    several units in one batch, where a caption depends on the other units. `mi-greedy` and `mi-beam` sum
    over words and the first stop in any case, as the published program does.

    The networks process units in blocks of one fixed size, so that a result does not depend on how many
    and which units are asked for: to the last bit if the sizes of the networks are multiples of 16, as
    those of the published checkpoints are, and up to rounding otherwise.

    Args:
        network: p(word | previous words, exemplars), in evaluation mode.
        vocabulary: its words.
        language_model: p(word | previous words), in evaluation mode.
        decoding: how captions are searched for.
        counting: see above.

    Raises:
        InputError: if `counting` is unknown, or the strategy needs a language model and there is none.
    """

    def __init__(
        self,
        network: AttentionDecoder,
        vocabulary: Vocabulary,
        language_model: CaptionLanguageModel | None = None,
        decoding: DecodingSettings | None = None,
        *,
        counting: Counting = "exact",
    ) -> None:
        one_of("counting", counting, get_args(Counting))
        self.decoding = decoding or DecodingSettings("beam" if language_model is None else "rerank")
        if language_model is None and self.decoding.strategy not in ("greedy", "beam"):
            raise InputError(
                f"decoding.strategy={self.decoding.strategy} needs a language model, and there is none",
                "use decoding.strategy=beam or greedy, or a checkpoint with a language model",
            )
        self.network, self.vocabulary, self.language_model = network, vocabulary, language_model
        self._beam = 1 if "greedy" in self.decoding.strategy else self.decoding.beam
        units = min(_BEAMS // self._beam, _UNITS)
        self.counting, self._block = counting, max(units // _LANES, 1) * _LANES

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        *,
        device: torch.device | str = "cpu",
        counting: Counting | None = None,
        **decoding: Any,
    ) -> Decoder:
        """Returns the decoder of a checkpoint.

        Args:
            checkpoint: the trained MILAN.
            device: where it computes.
            counting: None: `one_more` for a published checkpoint, else `exact`.
            decoding: settings of `DecodingSettings` that replace the checkpoint's.

        Raises:
            InputError: if the weights do not fit, or a setting is out of range.
        """
        language_model = checkpoint.build_language_model()
        return cls(
            checkpoint.build_decoder().to(device),
            checkpoint.vocabulary,
            None if language_model is None else language_model.to(device),
            replace(checkpoint.decoding, **decoding),
            counting=counting or ("one_more" if checkpoint.official else "exact"),
        )

    def describe(self, features: NDArray[np.float32]) -> list[Caption]:
        """Returns the best caption of each unit, for `features` [units, count, feature]."""
        return [captions[0] for captions in self.n_best(features, 1)]

    def n_best(self, features: NDArray[np.float32], n: int) -> list[list[Caption]]:
        """Returns up to `n` captions of each unit, the best first, ties in the order of the search.

        Args:
            features: [units, count, feature], the features of each unit's exemplars.
            n: number of captions; at most the beam.

        Raises:
            ValueError: if the features have another shape, or are not all finite.
        """
        _, count, size = features.shape
        if size != self.network.sizes.feature or count == 0:
            raise ValueError(
                f"features {features.shape}, expected [units, count, {self.network.sizes.feature}]"
            )
        hypotheses = [unit for block in self._blocks(features) for unit in self._search(*block)]
        longest = max((unit.steps for unit in hypotheses), default=0)
        return [self._captions(unit, longest, n) for unit in hypotheses]

    def _blocks(self, features: NDArray[np.float32]) -> Iterator[tuple[Tensor, int]]:
        """Yields blocks [block, count, feature], padded with zeros, and the number of units in each."""
        device = self.network.embedding.weight.device
        for start in range(0, len(features), self._block):
            units = np.array(features[start : start + self._block], np.float32)
            if not np.isfinite(units).all():
                unit = start + int(np.flatnonzero(~np.isfinite(units).all(axis=(1, 2)))[0])
                raise ValueError(f"the features of unit {unit} are not all finite")
            yield fill(torch.from_numpy(units), self._block).to(device), len(units)

    @torch.inference_mode()
    def _search(self, features: Tensor, units: int) -> list[_Hypotheses]:
        """Returns the hypotheses of each of the first `units` rows of a block."""
        vocabulary, device = self.vocabulary, features.device
        # Padding rows start with stop, and are thereby skipped.
        first = torch.full((self._block,), vocabulary.stop, device=device)
        first[:units] = vocabulary.start
        with full_precision(device):
            step, state = self._scorer(features)
            steps, beam = self.decoding.length, self._beam
            result = search(step, state, first, stop=vocabulary.stop, beam=beam, steps=steps)
            result = Hypotheses(*(part[:units] for part in result))
            lm = self._lm_log_probs(result)
        tokens, lengths, scores, taken = (part.cpu().numpy() for part in result)
        scores, lm = scores.astype(np.float64), lm.double().cpu().numpy()
        columns = (tokens, lengths, scores, taken.tolist(), lm)
        return [_Hypotheses(*unit) for unit in zip(*columns, strict=True)]

    def _scorer(self, features: Tensor) -> tuple[Step, State]:
        """Returns the function that scores the next word, and the initial state."""
        network, language_model, weight = self.network, self.language_model, self.decoding.temperature
        memory, first = network.begin(features)

        def step(tokens: Tensor, state: State, active: Tensor) -> tuple[Tensor, State]:
            attended, _ = network.look(memory, state[0])
            return _read(network.read, active, tokens, attended, state=state)

        if language_model is None or not self.decoding.strategy.startswith("mi-"):
            return step, first
        lm_read, lm_first = language_model.read, language_model.begin(len(features))

        def step_with_lm(tokens: Tensor, state: State, active: Tensor) -> tuple[Tensor, State]:
            # The state is the decoder's, two tensors, followed by the language model's.
            log_probs, new = step(tokens, state[:2], active)
            lm_log_probs, lm_new = _read(lm_read, active, tokens, state=state[2:])
            return log_probs - weight * lm_log_probs, (*new, *lm_new)

        return step_with_lm, (*first, *(part[:, None] for part in lm_first))

    def _lm_log_probs(self, hypotheses: Hypotheses) -> Tensor:
        """Returns log p of each token and of a second stop, [units, beam, length + 1].

        Without a language model: [units, beam, 0].
        """
        if self.language_model is None:
            return hypotheses.scores[..., None][..., :0]
        tokens = functional.pad(hypotheses.tokens, (0, 1), value=self.vocabulary.stop)
        lengths = hypotheses.lengths + 1
        log_probs = self.language_model.log_probs(tokens.flatten(0, 1), lengths.flatten())
        return log_probs.view(tokens.shape)

    def _captions(self, unit: _Hypotheses, longest: int, n: int) -> list[Caption]:
        """Returns the `n` best hypotheses of a unit; `longest`: steps of the longest search."""
        strategy, weight = self.decoding.strategy, self.decoding.temperature
        word_by_word = strategy.startswith("mi-")
        searched = {"exact": 0, "one_more": unit.steps, "batch": longest}[self.counting]
        lm_log_probs = unit.lm_log_probs(0 if word_by_word else searched)
        # Word by word, the search has subtracted the language model already: it is added back for
        # log p(d|E). `rerank` subtracts it here (section 3 of the paper).
        scores = unit.scores - weight * lm_log_probs if strategy == "rerank" else unit.scores
        log_probs = unit.scores + weight * lm_log_probs if word_by_word else unit.scores
        best = [i for i in np.argsort(-scores, kind="stable").tolist() if np.isfinite(scores[i])]
        return [
            Caption(
                self.vocabulary.caption(unit.tokens[i].tolist()),
                tuple(unit.tokens[i, : unit.lengths[i]].tolist()),
                float(log_probs[i]),
                None if self.language_model is None else float(lm_log_probs[i]),
                float(scores[i]),
            )
            for i in best[:n]
        ]


def _read(
    read: Callable[..., Sequence[Tensor]], active: Tensor, *inputs: Tensor, state: State
) -> tuple[Tensor, State]:
    """Applies a network's `read` to the beams that are not finished.

    Args:
        read: processes one word, row by row.
        active: bool [units, beams], beams that are not finished.
        inputs: its inputs, [units, beams, ...].
        state: the state before, [units, beams, ...].

    Returns:
        log p of the words [units, beams, vocabulary] and the new state; for finished beams zeros and the
        unchanged state.
    """
    rows = active.flatten().nonzero()[:, 0]
    log_probs, *new = in_blocks(read, *(part.flatten(0, 1)[rows] for part in (*inputs, *state)))
    scores = log_probs.new_zeros(active.numel(), log_probs.shape[1]).index_copy(0, rows, log_probs)
    updated = (
        old.flatten(0, 1).index_copy(0, rows, part).view_as(old)
        for old, part in zip(state, new, strict=True)
    )
    return scores.view(*active.shape, -1), tuple(updated)
