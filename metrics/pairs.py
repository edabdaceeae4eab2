"""The base of metrics that score one prediction against one reference at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .metric import Metric, check_pairs

Pair = tuple[str, str]


class PairMetric(Metric):
    """A metric of pairs of texts; with several references the best score counts.

    A subclass gets every distinct pair once, also if units and methods repeat it.

    Example:
        >>> class LengthDifference(PairMetric):
        ...     name = "length_difference"
        ...     higher_is_better = False
        ...
        ...     def score_pairs(self, pairs):
        ...         return np.array([abs(len(text) - len(reference)) for text, reference in pairs], float)
        >>> LengthDifference().score(["boat"], [["sailing boat", "ship"]])
        array([0.])
    """

    @abstractmethod
    def score_pairs(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """Returns float64 [n]: the score of each (prediction, reference). The pairs are distinct."""

    def score(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]]
    ) -> NDArray[np.float64]:
        """See `Metric.score`.

        Raises:
            ValueError: also for an empty text. `score_descriptions` leaves out units without a text.
        """
        check_pairs(predictions, references)
        _check_not_empty(predictions, references)
        if len(predictions) == 0:
            return np.empty(0)
        pairs = [
            (prediction, reference)
            for prediction, texts in zip(predictions, references, strict=True)
            for reference in texts
        ]
        row = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
        scores = self.score_pairs(list(row))[[row[pair] for pair in pairs]]
        # Reduce the scores of each prediction, which are next to each other, to the best one.
        starts = np.cumsum([0, *(len(texts) for texts in references[:-1])])
        best = np.maximum if self.higher_is_better else np.minimum
        return best.reduceat(scores, starts)


def _check_not_empty(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    for row, (prediction, texts) in enumerate(zip(predictions, references, strict=True)):
        if not prediction.strip():
            raise ValueError(f"prediction {row} is empty: leave out units without a description")
        if not all(text.strip() for text in texts):
            raise ValueError(f"row {row} has an empty reference")
