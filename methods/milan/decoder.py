"""From a unit's exemplars to its captions: the search, and the choice among what it finds.

Hernandez et al., "Natural Language Descriptions of Deep Visual Features", ICLR 2022, section 3: the
description is the caption d with the largest log p(d|E) - lambda log p(d), the weighted pointwise mutual
information with the exemplars E.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...harness.devices import full_precision
from ...harness.errors import InputError
from ...harness.fixed_blocks import in_blocks
from .attention import AttentionDecoder
from .beam import Hypotheses, State, Step, search
from .checkpoints import Checkpoint
from .language_model import CaptionLanguageModel
from .settings import Counting, DecodingSettings
from .vocabulary import Vocabulary

_ROWS, _UNITS = 800, 128
"""About how many beams and units are searched for at once: the attention keeps k vectors a beam."""

_LANES = 16
"""Units of a block are a multiple: what vector instructions leave over is computed in another way."""


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
        lm: float64 [beam, length + 1] log p of each token and of a second stop; [beam, 0] without a
            language model.
    """

    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    scores: NDArray[np.float64]
    steps: int
    lm: NDArray[np.float64]

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

    Units go through the networks in blocks of one fixed size, so that a result depends neither on how
    many units are asked for nor on which: to the last bit where the sizes of the networks are multiples
    of 16, as those of the published checkpoints are, and up to rounding elsewhere.

    Args:
        network: p(word | words before it, exemplars), in evaluation mode.
        vocabulary: its words.
        language_model: p(word | words before it), in evaluation mode.
        decoding: how captions are searched for.
        counting: see above.

    Raises:
        InputError: if the strategy needs a language model and there is none.
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
        if counting not in ("exact", "one_more", "batch"):
            raise InputError(f"counting={counting!r} is unknown", "use exact, one_more or batch")
        self.decoding = decoding or DecodingSettings("beam" if language_model is None else "rerank")
        if language_model is None and self.decoding.strategy not in ("greedy", "beam"):
            raise InputError(
                f"strategy={self.decoding.strategy} needs a language model, and the checkpoint has none",
                "use strategy=beam or greedy, or a checkpoint with a language model",
            )
        self.network, self.vocabulary, self.language_model = network, vocabulary, language_model
        self._beam = 1 if "greedy" in self.decoding.strategy else self.decoding.beam
        units = min(_ROWS // self._beam, _UNITS)
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
            decoding: settings of `DecodingSettings` other than the checkpoint's.

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
        found = [unit for block in self._blocks(features) for unit in self._searched(*block)]
        longest = max((unit.steps for unit in found), default=0)
        return [self._captions(unit, longest, n) for unit in found]

    def _blocks(self, features: NDArray[np.float32]) -> Iterator[tuple[Tensor, int]]:
        """Yields blocks [block, k, feature], filled up with zeros, and how many units are in each."""
        device = self.network.embedding.weight.device
        for begin in range(0, len(features), self._block):
            given = np.asarray(features[begin : begin + self._block], np.float32)
            if not np.isfinite(given).all():
                unit = begin + int(np.flatnonzero(~np.isfinite(given).all(axis=(1, 2)))[0])
                raise ValueError(f"the features of unit {unit} are not all finite")
            block = np.zeros((self._block, *features.shape[1:]), np.float32)
            block[: len(given)] = given
            yield torch.from_numpy(block).to(device), len(given)

    @torch.inference_mode()
    def _searched(self, features: Tensor, units: int) -> list[_Found]:
        """Returns what the search finds for each of the first `units` rows of a block."""
        vocabulary, device = self.vocabulary, features.device
        first = torch.full((self._block,), vocabulary.stop, device=device)
        first[:units] = vocabulary.start
        with full_precision(device):
            step, state = self._scorer(features)
            steps, beam = self.decoding.length, self._beam
            found = search(step, state, first, stop=vocabulary.stop, beam=beam, steps=steps)
            found = Hypotheses(*(part[:units] for part in found))
            lm = self._lm_steps(found)
        tokens, lengths, scores, taken = (part.cpu().numpy() for part in found)
        scores, lm = scores.astype(np.float64), lm.double().cpu().numpy()
        return [_Found(*unit) for unit in zip(tokens, lengths, scores, taken.tolist(), lm, strict=True)]

    def _scorer(self, features: Tensor) -> tuple[Step, State]:
        """Returns what scores the next word, and the state to begin with."""
        network, language_model, weight = self.network, self.language_model, self.decoding.temperature
        memory, first = network.begin(features)

        def step(tokens: Tensor, state: State, going: Tensor) -> tuple[Tensor, State]:
            seen, _ = network.look(memory, state[0])
            return _read(network.read, going, tokens, seen, state=state)

        if language_model is None or not self.decoding.strategy.startswith("mi-"):
            return step, first
        lm_read, lm_first = language_model.read, language_model.begin(len(features))

        def informed(tokens: Tensor, state: State, going: Tensor) -> tuple[Tensor, State]:
            log_probs, new = step(tokens, state[:2], going)
            lm_log_probs, lm_new = _read(lm_read, going, tokens, state=state[2:])
            return log_probs - weight * lm_log_probs, (*new, *lm_new)

        return informed, (*first, *(part[:, None] for part in lm_first))

    def _lm_steps(self, found: Hypotheses) -> Tensor:
        """Returns log p of each token and of a second stop, [units, beam, length + 1].

        Without a language model there are no steps: [units, beam, 0].
        """
        if self.language_model is None:
            return found.scores[..., None][..., :0]
        tokens = functional.pad(found.tokens, (0, 1), value=self.vocabulary.stop)
        lengths = found.lengths + 1
        steps = self.language_model.log_probs(tokens.flatten(0, 1), lengths.flatten())
        return steps.view(tokens.shape)

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


def _read(read: Any, going: Tensor, *inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Lets a network read one word of the beams that go on.

    Args:
        read: the network's `read`.
        going: bool [units, beams].
        inputs: what it reads, [units, beams, ...].
        state: before that, [units, beams, ...].

    Returns:
        log p of the words [units, beams, vocabulary] and the new state; zero and unchanged elsewhere.
    """
    rows = going.flatten().nonzero()[:, 0]
    log_probs, *new = in_blocks(read, *(part.flatten(0, 1)[rows] for part in (*inputs, *state)))
    scores = log_probs.new_zeros(going.numel(), log_probs.shape[1]).index_copy(0, rows, log_probs)
    after = (
        old.flatten(0, 1).index_copy(0, rows, part).view_as(old)
        for old, part in zip(state, new, strict=True)
    )
    return scores.view(*going.shape, -1), tuple(after)
