"""Best labels of units, and the number of units that detect each concept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BestLabels:
    """The best label of every unit, per category and overall.

    Within a category, equal IoUs go to the smallest label number. Overall, equal IoUs go to the earliest
    category, even if a later category has a smaller label number: the original programs choose the
    category with the highest of the categories' maxima.

    Attributes:
        number: int64 [units, categories] label number, 0 where every IoU of the category is 0.
        iou: float64 [units, categories].
        overall: int64 [units] the category with the best label of all; -1 where every IoU is 0.
    """

    number: NDArray[np.int64]
    iou: NDArray[np.float64]
    overall: NDArray[np.int64]


def best_labels(
    iou: NDArray[np.float64], category: NDArray[np.int64], n_categories: int, *, first: int = 1
) -> BestLabels:
    """Finds the best label of each unit in each category.

    Args:
        iou: float64 [units, labels + 1], from `Tally.iou`.
        category: int64 [labels + 1], from `category_of`.
        n_categories: number of categories.
        first: the first label number considered; 0 includes the unnamed label 0, as in the original
            programs.
    """
    number = np.zeros((len(iou), n_categories), np.int64)
    best = np.zeros((len(iou), n_categories))
    units = np.arange(len(iou))
    for position in range(n_categories):
        members = np.flatnonzero(category[first:] == position) + first
        if len(members):
            # argmax returns the first of equal values: the smallest label number.
            highest = members[iou[:, members].argmax(axis=1)]
            best[:, position] = iou[units, highest]
            number[:, position] = np.where(best[:, position] > 0, highest, 0)
    overall = np.where(best.max(axis=1, initial=0) > 0, best.argmax(axis=1), -1)
    return BestLabels(number, best, overall)


@dataclass(frozen=True)
class DetectorCounts:
    """Number of units that detect a concept, and the different concepts that are detected.

    By rule i, which published counts follow, a unit counts in every category in which its best label
    passes the threshold. By rule ii it counts once, with its best label overall.

    Attributes:
        units: the units with a label that passes.
        per_category: rule i, number of units that detect a label of each category.
        labels_per_category: rule i, numbers of the labels of each category detected by any unit.
        labels_overall: rule ii, numbers of the labels that are the best overall of any unit.
    """

    units: tuple[int, ...]
    per_category: Mapping[str, int]
    labels_per_category: Mapping[str, tuple[int, ...]]
    labels_overall: tuple[int, ...]

    @property
    def unique(self) -> int:
        """Number of unique detectors by rule i: labels summed over categories."""
        return sum(len(labels) for labels in self.labels_per_category.values())


def detectors(best: BestLabels, categories: Sequence[str], iou_threshold: float = 0.04) -> DetectorCounts:
    """Counts detectors by both rules; a label passes if its IoU is strictly above the threshold."""
    passes = best.iou > iou_threshold
    units = np.flatnonzero(passes.any(axis=1))
    overall = best.number[units, best.overall[units]]
    return DetectorCounts(
        tuple(units.tolist()),
        {name: int(passes[:, c].sum()) for c, name in enumerate(categories)},
        {name: _distinct(best.number[passes[:, c], c]) for c, name in enumerate(categories)},
        _distinct(overall),
    )


def _distinct(numbers: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(np.unique(numbers).tolist())
