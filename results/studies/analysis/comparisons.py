"""Differences between methods, paired within judgements and tested over units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ...ranks import effect_size, smallest_detectable_difference
from ...statistics import Summary, exact_sign_flip_p, holm, sign_flip_test
from .estimates import MEAN_OF_LAYERS, POOLED, Resampling, estimates
from .ratings import Ratings


@dataclass(frozen=True)
class Difference:
    """The first method minus the second, in the judgements that have both.

    Attributes:
        row: the layer, or `POOLED`.
        first: the first method.
        second: the second method.
        units: number of units with such a judgement.
        difference: mean over judgements, with the two-way interval.
        effect_size: mean / standard deviation over units; None if not defined.
        detectable: the difference that a test over these units finds with probability 0.8; None likewise.
        p_value: two-sided sign-flip test over units; None without a unit.
        corrected: the p-value after Holm's correction within the row's family.
    """

    row: str
    first: str
    second: str
    units: int
    difference: Summary
    effect_size: float | None
    detectable: float | None
    p_value: float | None
    corrected: float | None


def differences(
    ratings: Ratings, values: NDArray[np.float64], resampling: Resampling | None = None
) -> list[Difference]:
    """Compares all pairs of methods, per layer and over all layers.

    The differences on a unit enter as one number, their sum over its raters: under the null hypothesis
    each sum has either sign with probability 1/2. Sums of ratings are integers, for which the p-value is
    exact. Two families are corrected by Holm: the pairs over all layers, and those of single layers.

    Args:
        ratings: the judgements.
        values: float64 [judgements, methods], such as `ratings.values` or `ratings.best`; NaN for none.
        resampling: seed and number of resamples.
    """
    resampling = resampling or Resampling()
    pairs = list(combinations(range(len(ratings.methods)), 2))
    if not pairs:
        return []
    paired = np.stack([values[:, a] - values[:, b] for a, b in pairs], axis=1)
    reason = "no judgement has both methods"
    summaries = estimates(ratings, paired, reason, resampling)
    rows = [row for row in dict.fromkeys(row for row, _ in summaries) if row != MEAN_OF_LAYERS]
    result = []
    # The rows over all layers and those of single layers are two families.
    for family in ([row for row in rows if row != POOLED], [row for row in rows if row == POOLED]):
        tests = [
            _Test(ratings, paired[:, number], row, resampling)
            for row in family
            for number in range(len(pairs))
        ]
        tested = [test.p_value for test in tests if test.p_value is not None]
        corrected = iter(holm(tested))
        for place, test in enumerate(tests):
            row, number = family[place // len(pairs)], place % len(pairs)
            first, second = (ratings.methods[column] for column in pairs[number])
            result.append(
                Difference(
                    *(row, first, second, len(test.means), summaries[row, number]),
                    *(effect_size(test.means), smallest_detectable_difference(test.means)),
                    test.p_value,
                    None if test.p_value is None else next(corrected),
                )
            )
    return result


class _Test:
    """The sign-flip test of one pair of methods in one row.

    Attributes:
        means: float64 [units], the mean difference of each unit.
        p_value: see `Difference`.
    """

    def __init__(
        self, ratings: Ratings, paired: NDArray[np.float64], row: str, resampling: Resampling
    ) -> None:
        kept = ~np.isnan(paired)
        if row != POOLED:
            kept &= ratings.layer == ratings.layers.index(row)
        _, unit = np.unique(ratings.unit[kept], return_inverse=True)
        sums = np.bincount(unit, weights=paired[kept]).astype(np.float64)
        self.means = sums / np.bincount(unit) if len(sums) else sums
        self.p_value = _p_value(sums, resampling)


def _p_value(sums: NDArray[np.float64], resampling: Resampling) -> float | None:
    if len(sums) == 0:
        return None
    if np.array_equal(sums, np.round(sums)):
        return exact_sign_flip_p(sums.astype(int).tolist())
    return sign_flip_test(sums, **vars(resampling))[0]


def best_method(methods: Sequence[str], means: Sequence[float | None]) -> list[str]:
    """Returns the methods with the highest mean; none if a mean is missing or there is one method."""
    if len(methods) < 2 or any(mean is None for mean in means):
        return []
    highest = max(mean for mean in means if mean is not None)
    return [method for method, mean in zip(methods, means, strict=True) if mean == highest]
