"""Ranks of methods as intervals with tie groups, effect sizes and detectable differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .statistics import RESAMPLES, holm, sign_flip_test

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class RankInterval:
    """The ranks that a method can have, given which differences are significant.

    Attributes:
        best: 1 + number of methods that are significantly better.
        worst: number of methods, minus those that are significantly worse.
        group: letters; two methods without a common letter differ significantly, and two with one do
            not. "a" is the group of the best mean.
    """

    best: int
    worst: int
    group: str

    def __str__(self) -> str:
        """Returns "1" or "1-3"."""
        return str(self.best) if self.best == self.worst else f"{self.best}-{self.worst}"


def rank_intervals(
    scores: Mapping[str, ArrayLike],
    *,
    higher_is_better: bool = True,
    alpha: float = ALPHA,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> dict[str, RankInterval]:
    """Ranks methods by paired tests of all pairs, corrected by Holm.

    Args:
        scores: by method, [units] in one order; NaN where a unit has no score. Only units that every
            method has count, so that no method gains from leaving out hard units.
        higher_is_better: the direction of the metric.
        alpha: level of significance.
        seed: seed of the tests.
        n_resamples: number of sign patterns.

    Returns:
        By method, in the order of the mean, the best first. Without a unit that all methods have, every
        rank is possible.

    Raises:
        ValueError: if the numbers of units differ.
    """
    names = list(scores)
    rows = np.array([np.asarray(scores[name], dtype=np.float64) for name in names])
    rows = rows.reshape(len(names), -1)
    rows = rows[:, ~np.isnan(rows).any(axis=0)]
    signed = rows if higher_is_better else -rows
    means = signed.mean(axis=1) if rows.shape[1] else np.zeros(len(names))
    better = _significant(signed, alpha, seed, n_resamples)
    order = sorted(range(len(names)), key=lambda row: (-means[row], row))
    groups = _letters(better[np.ix_(order, order)])
    return {
        names[row]: RankInterval(
            1 + int(better[:, row].sum()), len(names) - int(better[row].sum()), groups[place]
        )
        for place, row in enumerate(order)
    }


def _significant(
    rows: NDArray[np.float64], alpha: float, seed: int, n_resamples: int
) -> NDArray[np.bool_]:
    """Returns bool [methods, methods]: whether the first is significantly better than the second."""
    n = len(rows)
    better = np.zeros((n, n), np.bool_)
    if not rows.shape[1]:
        return better
    pairs = list(combinations(range(n), 2))
    p_values = [_p_value(rows[first] - rows[second], seed, n_resamples) for first, second in pairs]
    for (first, second), p in zip(pairs, holm(p_values), strict=True):
        difference = float((rows[first] - rows[second]).sum())
        if p <= alpha and difference:
            winner, loser = (first, second) if difference > 0 else (second, first)
            better[winner, loser] = True
    return better


def _p_value(differences: NDArray[np.float64], seed: int, n_resamples: int) -> float:
    # The test alone: the interval of `paired_permutation` would take most of the time.
    p_value, _ = sign_flip_test(differences, seed=seed, n_resamples=n_resamples)
    assert p_value is not None, "there is at least one unit"
    return p_value


def _letters(better: NDArray[np.bool_]) -> list[str]:
    """Returns a compact letter display: one letter per maximal set without a significant difference.

    Insert and absorb (Piepho, 2004): every significant pair splits the sets that contain both.
    """
    n = len(better)
    sets = [frozenset(range(n))]
    for first, second in combinations(range(n), 2):
        if not (better[first, second] or better[second, first]):
            continue
        split = [s - {out} for s in sets if {first, second} <= s for out in (first, second)]
        kept = [s for s in sets if not {first, second} <= s]
        sets = list(dict.fromkeys([*kept, *split]))
        sets = [s for s in sets if not any(s < other for other in sets)]
    sets.sort(key=sorted)
    return ["".join(_letter(i) for i, members in enumerate(sets) if row in members) for row in range(n)]


def _letter(number: int) -> str:
    # After z: a1, b1, ... Twenty-six groups need more methods than a table can show.
    suffix = str(number // 26) if number >= 26 else ""
    return chr(ord("a") + number % 26) + suffix


def effect_size(differences: ArrayLike) -> float | None:
    """Returns Cohen's d of paired differences: mean / standard deviation (ddof = 1), without NaN.

    None for fewer than two differences, or if they are all equal.
    """
    values = _present(differences)
    if len(values) < 2:
        return None
    spread = float(values.std(ddof=1))
    return float(values.mean()) / spread if spread > 0 else None


def smallest_detectable_difference(
    differences: ArrayLike, *, alpha: float = ALPHA, power: float = POWER
) -> float | None:
    """Returns the mean difference that these units would have shown with the given power.

    (t(1 - alpha / 2) + t(power)) * s / sqrt(n), for Student's quantiles with n - 1 degrees of freedom and
    the standard deviation s of the differences: a smaller true difference is likely to be missed by a
    two-sided test, so "no significant difference" says nothing about it.

    Args:
        differences: [units], paired; NaN where a unit lacks a score.
        alpha: level of the test, without correction for several tests.
        power: probability of finding the difference.

    Returns:
        None for fewer than two differences.
    """
    from scipy import special

    values = _present(differences)
    n = len(values)
    if n < 2:
        return None
    quantiles: Sequence[float] = [float(special.stdtrit(n - 1, p)) for p in (1 - alpha / 2, power)]
    return sum(quantiles) * float(values.std(ddof=1)) / math.sqrt(n)


def _present(differences: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(differences, dtype=np.float64)
    return values[~np.isnan(values)]
