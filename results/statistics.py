"""Means over units with bootstrap intervals, paired permutation tests, and Holm's correction.

The unit is the sample: every score belongs to one unit of a layer, and all statistics are about the mean
over units. All arithmetic is float64, all randomness comes from the seed, and no result depends on the
order of the units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 10_000
_CELLS_PER_BATCH = 1 << 20  # resamples are drawn in batches of about 8 MiB of float64


@dataclass(frozen=True)
class Summary:
    """The mean of scores over units, and its uncertainty.

    Attributes:
        mean: mean of the scores; None without any.
        standard_error: sample standard deviation (ddof = 1) / sqrt(n); None for fewer than two scores.
        low: lower end of the 95 % bootstrap interval of the mean; None for fewer than two scores.
        high: upper end.
        n: number of scores.
        n_missing: number of units without a score (NaN); they do not count in the mean.
        reason: why a value above is None; None if no value is.
    """

    mean: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    n: int
    n_missing: int
    reason: str | None = None


@dataclass(frozen=True)
class PairedTest:
    """Compares two methods on the units for which both have a score.

    Attributes:
        difference: summary of first minus second; its `n_missing` counts the units that lack one score or
            both.
        p_value: two-sided p-value of the sign-flip test; None without a common unit.
        exact: whether all sign patterns were enumerated.
    """

    difference: Summary
    p_value: float | None
    exact: bool


def summary(scores: ArrayLike, *, seed: int = 0, n_resamples: int = RESAMPLES) -> Summary:
    """Returns mean, standard error and bootstrap interval over units.

    The interval is the expanded percentile interval (Hesterberg, "What Teachers Should Know About the
    Bootstrap", 2015, section 4.3). The plain percentile interval is too short by sqrt((n - 1) / n) and by
    the ratio of normal to Student quantiles, which matters below about 50 units.

    Args:
        scores: [units]; NaN where a unit has no score.
        seed: seed of the resampling.
        n_resamples: number of bootstrap resamples.

    Raises:
        ValueError: if `scores` is not one-dimensional or has an infinite value.
    """
    values = _scores(scores)
    # Sorted, so that neither sums nor resamples depend on the order of the units.
    present = np.sort(values[~np.isnan(values)])
    n, n_missing = len(present), len(values) - len(present)
    if n == 0:
        return Summary(None, None, None, None, 0, n_missing, "no unit has a score")
    # fsum rounds the exact sum once; tables compare means exactly to find the best.
    mean = math.fsum(present) / n
    if n == 1:
        return Summary(mean, None, None, None, 1, n_missing, "one score has no spread")
    error = float(present.std(ddof=1)) / math.sqrt(n)
    low, high = _interval(present, seed, n_resamples)
    return Summary(mean, error, low, high, n, n_missing)


def paired_permutation(
    first: ArrayLike, second: ArrayLike, *, seed: int = 0, n_resamples: int = RESAMPLES
) -> PairedTest:
    """Tests whether two methods differ in the mean, on the units for which both have a score.

    Under the null hypothesis the two methods are exchangeable on every unit, so each difference has
    either sign with probability 1/2. If there are at most `n_resamples` sign patterns, all are
    enumerated; otherwise `n_resamples` are drawn and p = (1 + number at least as extreme) /
    (1 + n_resamples), which is never zero and keeps the level of the test (Phipson and Smyth, 2010).

    Args:
        first: [units]; NaN where a unit has no score.
        second: [units], the same units in the same order.
        seed: seed of both resamplings.
        n_resamples: number of sign patterns and of bootstrap resamples.

    Raises:
        ValueError: if the lengths differ, or a side is not one-dimensional or has an infinite value.
    """
    a, b = _scores(first), _scores(second)
    if len(a) != len(b):
        raise ValueError(f"paired scores must be of the same units, not of {len(a)} and {len(b)} units")
    differences = a - b
    p_value, exact = sign_flip_test(differences, seed=seed, n_resamples=n_resamples)
    return PairedTest(summary(differences, seed=seed, n_resamples=n_resamples), p_value, exact)


def sign_flip_test(
    differences: ArrayLike, *, seed: int = 0, n_resamples: int = RESAMPLES
) -> tuple[float | None, bool]:
    """Returns the p-value of `paired_permutation`, and whether it is exact, without an interval.

    Args:
        differences: [units]; NaN where a unit lacks a score.
        seed: seed of the drawn sign patterns.
        n_resamples: number of sign patterns.

    Returns:
        None as the p-value without any difference.
    """
    values = _scores(differences)
    present = np.sort(values[~np.isnan(values)])
    # Patterns are enumerated as bits of int64, so there can be at most 62 units.
    exact = len(present) < 63 and 2 ** len(present) <= n_resamples
    return (_sign_flip_p(present, exact, seed, n_resamples) if len(present) else None), exact


def exact_sign_flip_p(differences: Sequence[int]) -> float:
    """Returns the exact two-sided p-value of the sign-flip test for differences that are integers.

    The sum has few possible values, so that its distribution over all 2**n sign patterns is a product of
    polynomials: no pattern is enumerated or drawn. Multiply differences of ratings by the number of
    ratings per unit to make them integers.

    Args:
        differences: one per unit; the result does not depend on their order.

    Returns:
        1.0 without any difference.
    """
    # Zeros change no sum.
    sizes = sorted(abs(difference) for difference in differences if difference)
    distribution = np.ones(1)
    for size in sizes:
        # The sum plus `size`, for either sign: all indices stay above zero.
        step = np.zeros(2 * size + 1)
        step[0] = step[-1] = 0.5
        distribution = np.convolve(distribution, step)
    sums = np.arange(len(distribution)) - sum(sizes)
    return float(min(1.0, distribution[np.abs(sums) >= abs(sum(differences))].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns Holm's step-down corrected p-values, in the given order.

    They control the probability of at least one false rejection among all comparisons, under any
    dependence between them.

    Raises:
        ValueError: if a value is not in [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"p-values must be between 0 and 1: {list(p_values)}")
    order = np.argsort(p, kind="stable")
    # The smallest p-value times m, the next one times m - 1, ...; never below a smaller one's result.
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected.tolist()


def _scores(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"scores must be one-dimensional, not of shape {values.shape}")
    if np.isinf(values).any():
        raise ValueError("scores must be finite, or NaN for a unit without a score")
    return values


def _interval(values: NDArray[np.float64], seed: int, n_resamples: int) -> tuple[float, float]:
    """Returns the expanded percentile interval of the mean of at least two sorted values."""
    # Not scipy.stats, which has the same functions and takes much longer to import.
    from scipy import special

    n = len(values)
    # Quantiles of the expanded interval: Phi(-sqrt(n / (n - 1)) t) for the Student quantile t.
    half_width = math.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 + CONFIDENCE) / 2)
    tail = float(special.ndtr(-half_width))
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(n, size=(size, n))].mean(axis=1) for size in _batches(n_resamples, n)]
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _batches(n_resamples: int, n_units: int) -> Iterator[int]:
    """Splits resamples into batches that fit the memory budget."""
    # At least one: a layer may have more units than fit the budget.
    size = max(1, _CELLS_PER_BATCH // n_units)
    for start in range(0, n_resamples, size):
        yield min(size, n_resamples - start)


def _sign_flip_p(differences: NDArray[np.float64], exact: bool, seed: int, n_resamples: int) -> float:
    """Returns the two-sided p-value of the sum of differences under independent sign flips."""
    n = len(differences)
    # A flipped sum that equals the observed one in exact arithmetic may be smaller by rounding: the
    # tolerance counts it as equally extreme.
    observed = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    rng = np.random.default_rng(seed)
    total = 2**n if exact else n_resamples
    extreme = start = 0
    for size in _batches(total, n):
        if exact:
            flips = (np.arange(start, start + size)[:, None] >> np.arange(n)) & 1
        else:
            # int8 needs an eighth of the memory of the default int64.
            flips = rng.integers(0, 2, size=(size, n), dtype=np.int8)
        extreme += int(np.count_nonzero(np.abs((2.0 * flips - 1.0) @ differences) >= observed))
        start += size
    # The observed signs are one of the enumerated patterns; for drawn ones they are added.
    return extreme / total if exact else (extreme + 1) / (total + 1)
