"""Scores against several references: their mean, where metrics take the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metric import Metric, check_pairs


class MeanOverReferences(Metric):
    """Another metric's scores against each reference of a unit by itself, averaged.

    Where people described a unit, the best of their texts flatters a description that agrees with one
    person by chance; published BERTScores take the best nevertheless, so both are of use.

    Args:
        metric: the metric; the column is called after it, with `_mean` behind.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric, self.name = metric, f"{metric.name}_mean"
        self.higher_is_better, self.percent = metric.higher_is_better, metric.percent

    def score(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]]
    ) -> NDArray[np.float64]:
        """Returns float64 [n]: each prediction's mean over its references."""
        check_pairs(predictions, references)
        if not predictions:
            return np.empty(0)
        counts = np.array([len(known) for known in references])
        texts = np.repeat(np.array(predictions, dtype=object), counts).tolist()
        single = self.metric.score(texts, [[text] for known in references for text in known])
        return np.add.reduceat(single, np.cumsum(counts) - counts) / counts

    def models(self) -> Mapping[str, str]:
        """Those of the metric."""
        return self.metric.models()

    def identity(self) -> Mapping[str, Any]:
        """That of the metric, and what becomes of several references."""
        return {"over references": "mean", "metric": self.metric.name, **self.metric.identity()}
