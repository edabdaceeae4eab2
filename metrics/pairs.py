"""What most metrics are: a number for one prediction and one reference."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .metric import Metric, check_pairs

Pair = tuple[str, str]


class PairMetric(Metric):
    """A metric that scores pairs of texts; with several references the best one counts.

    A subclass sees every distinct pair once, whatever repeats among units and methods.
    """

    @abstractmethod
    def score_pairs(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """Returns float64 [n]: the score of each (prediction, reference). Pairs are distinct."""

    def score(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]]
    ) -> NDArray[np.float64]:
        """See `Metric.score`.

        Raises:
            ValueError: also for an empty text. It says nothing, so there is nothing to score: a unit
                without a text is missing, and `score_descriptions` keeps it out.
        """
        check_pairs(predictions, references)
        _refuse_empty(predictions, references)
        if len(predictions) == 0:
            return np.empty(0)
        pairs = [
            (text, reference)
            for text, known in zip(predictions, references, strict=True)
            for reference in known
        ]
        place = {pair: row for row, pair in enumerate(dict.fromkeys(pairs))}
        scores = self.score_pairs(list(place))[[place[pair] for pair in pairs]]
        first = np.cumsum([0, *(len(known) for known in references[:-1])])
        best = np.maximum if self.higher_is_better else np.minimum
        return best.reduceat(scores, first)


def _refuse_empty(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    for row, (prediction, known) in enumerate(zip(predictions, references, strict=True)):
        if not prediction.strip():
            raise ValueError(f"prediction {row} is empty: leave the unit out, it has no description")
        if not all(reference.strip() for reference in known):
            raise ValueError(f"row {row} has an empty reference")
