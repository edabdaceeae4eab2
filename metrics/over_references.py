"""The mean of a metric over several references; metrics themselves take the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metric import Metric, check_pairs


class MeanOverReferences(Metric):
    """The mean of another metric over the references of a unit, each scored separately.

    Where several people described a unit, the best score overestimates a description that agrees with one
    of them by chance. Published BERTScores take the best nevertheless, so both reductions are useful.

    Args:
        metric: the metric. The name of the column is its name with the suffix `_mean`; direction and
            percent are those of the metric.

    Example:
        >>> from dissectbench.metrics import ExactAccuracy
        >>> MeanOverReferences(ExactAccuracy()).score(["boat"], [["boat", "ship"]])
        array([0.5])
    """

    def __init__(self, metric: Metric) -> None:
        self.metric, self.name = metric, f"{metric.name}_mean"
        self.higher_is_better, self.percent = metric.higher_is_better, metric.percent
        self.meaning = f"{metric.meaning}; mean over the references" if metric.meaning else ""

    def score(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]]
    ) -> NDArray[np.float64]:
        """Returns float64 [n]: each prediction's mean over its references."""
        check_pairs(predictions, references)
        if not predictions:
            return np.empty(0)
        counts = np.array([len(texts) for texts in references])
        # dtype=object: an array of NumPy strings would drop trailing NUL characters.
        repeated = np.repeat(np.array(predictions, dtype=object), counts).tolist()
        scores = self.metric.score(repeated, [[text] for texts in references for text in texts])
        # The difference is the position of each prediction's first score.
        return np.add.reduceat(scores, np.cumsum(counts) - counts) / counts

    def models(self) -> Mapping[str, str]:
        """The models of the metric."""
        return self.metric.models()

    def identity(self) -> Mapping[str, Any]:
        """The identity of the metric, and the reduction."""
        return {"over references": "mean", "metric": self.metric.name, **self.metric.identity()}
