"""The interface of metrics that score descriptions against activations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...harness.probe import ProbedLayer
from ..metric import MetricProperties

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


class ActivationMetric(MetricProperties, ABC):
    """Scores descriptions against the activations of their units: one number per unit and text.

    It needs no reference and works on every layer. The layer is that of the held-out images, which the
    methods have not seen (see the setting `held_out`).
    """

    @abstractmethod
    def score(self, layer: ProbedLayer, pairs: Sequence[UnitText]) -> PairScores:
        """Returns the scores of pairs, each distinct. No score depends on the other pairs.

        Raises:
            InputError: if the layer or its images lack what the metric needs.
        """
