"""The interface of metrics that score descriptions against activations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...harness.probe import ProbedLayer
from ...harness.scores import MetricInfo

UnitText = tuple[int, str]
"""A unit of a layer, by index, and a text that describes it."""


@dataclass(frozen=True)
class PairScores:
    """The scores of pairs of a unit and a text.

    Attributes:
        values: float64 [pairs]; NaN where there is a reason.
        reasons: [pairs] why a pair has no score, in a few words; None where it has one.
    """

    values: NDArray[np.float64]
    reasons: Sequence[str | None]


class ActivationMetric(ABC):
    """Scores descriptions against the activations of their units: one number per unit and text.

    It needs no reference and works on every layer. The layer is that of the held-out images, which the
    methods have not seen (see the setting `held_out`).

    A class sets the attributes below; an instance may override them.

    Attributes:
        name: column name, such as "simulation_correlation".
        higher_is_better: whether a higher score is a better one.
        percent: whether tables show the scores in percent.
        meaning: the definition in a few words, for the notes of tables.
    """

    name: str
    higher_is_better: bool = True
    percent: bool = False
    meaning: str = ""

    @abstractmethod
    def score(self, layer: ProbedLayer, pairs: Sequence[UnitText]) -> PairScores:
        """Returns the scores of pairs, each distinct. No score depends on the other pairs.

        Raises:
            InputError: if the layer or its images lack what the metric needs.
        """

    def models(self) -> Mapping[str, str]:
        """Returns the names of the models used, by their role, for tables."""
        return {}

    def identity(self) -> Mapping[str, Any]:
        """Returns everything the scores depend on: settings, weights, library versions. JSON-able."""
        return {}

    def info(self) -> MetricInfo:
        """Returns the properties that are stored with the scores."""
        return MetricInfo(self.higher_is_better, self.percent, dict(self.identity()), self.meaning)
