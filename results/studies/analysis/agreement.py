"""Agreement of raters: Krippendorff's alpha, weighted kappa, shares of equal ratings.

There may be any number of raters, and each may rate other things. A thing with one rating does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...clusters import resampled_weights
from ...statistics import CONFIDENCE, RESAMPLES, Summary

Level = Literal["nominal", "ordinal", "interval"]
MEASURES = (
    *("Pearson", "Spearman", "weighted kappa"),
    *("alpha (nominal)", "alpha (interval)", "alpha (ordinal)"),
    *("equal (%)", "within one (%)"),
)


class Pairs(NamedTuple):
    """All pairs of ratings of one thing by different raters, each pair once.

    Attributes:
        first: [pairs] ratings of the rater whose name sorts first.
        second: [pairs] ratings of the other.
        expected: [pairs] the mean squared difference of two ratings that these raters gave to any things.
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    expected: NDArray[np.float64]


def agreement(values: ArrayLike, things: ArrayLike, raters: ArrayLike) -> dict[str, float | None]:
    """Returns the measures of agreement by name.

    Pearson and Spearman (average ranks) correlation, which are defined for two raters only; Cohen's
    kappa with quadratic weights, pooled over the pairs of raters; Krippendorff's alpha for nominal,
    interval and ordinal ratings; the percentages of pairs of ratings that are equal and at most one
    apart. A measure is None where it is not defined: for ratings that do not differ, or that no two
    raters share.

    Args:
        values: [n] ratings; NaN for a missing one.
        things: [n] what is rated: labels.
        raters: [n] who rates: labels. A rater rates a thing at most once.
    """
    ratings, things, raters = np.asarray(values, np.float64), np.asarray(things), np.asarray(raters)
    present = ~np.isnan(ratings)
    ratings, things, raters = ratings[present], things[present], raters[present]
    pairs = rating_pairs(ratings, things, raters)
    measures: dict[str, float | None] = dict.fromkeys(MEASURES)
    if not len(pairs.first):
        return measures
    if len(np.unique(raters)) == 2:
        measures["Pearson"] = _correlation(pairs.first, pairs.second)
        measures["Spearman"] = _correlation(_ranks(pairs.first), _ranks(pairs.second))
    distance = np.abs(pairs.first - pairs.second)
    # One ratio of sums and no mean of ratios: pairs of raters with few common things have wild ratios.
    expected = float(pairs.expected.sum())
    measures["weighted kappa"] = 1 - float((distance**2).sum()) / expected if expected else None
    counts, levels = value_counts(ratings, things)
    for level in get_args(Level):
        measures[f"alpha ({level})"] = alpha(counts, level, levels)
    measures["equal (%)"] = 100 * float((distance == 0).mean())
    measures["within one (%)"] = 100 * float((distance <= 1).mean())
    return measures


def rating_pairs(values: NDArray[np.float64], things: ArrayLike, raters: ArrayLike) -> Pairs:
    """Returns the pairs of ratings, see `Pairs`; without missing ratings."""
    rater = np.unique(np.asarray(raters), return_inverse=True)[1]
    thing = np.unique(np.asarray(things), return_inverse=True)[1]
    order = np.lexsort((rater, thing))
    values, rater, thing = values[order], rater[order], thing[order]
    first, second = [], []
    for step in range(1, len(values)):
        # Ratings of a thing are adjacent: the partners of a rating are the next ones.
        same = np.flatnonzero(thing[step:] == thing[:-step])
        if not len(same):
            break
        first.append(same)
        second.append(same + step)
    a = np.concatenate([np.empty(0, np.int64), *first])
    b = np.concatenate([np.empty(0, np.int64), *second])
    counts = np.maximum(1, np.bincount(rater))
    mean = np.bincount(rater, weights=values) / counts
    square = np.bincount(rater, weights=values**2) / counts
    # E (x - y)^2 for independent ratings x and y of two raters.
    expected = (square[rater[a]] + square[rater[b]] - 2 * mean[rater[a]] * mean[rater[b]]).clip(min=0)
    return Pairs(values[a], values[b], expected)


def value_counts(
    values: NDArray[np.float64], things: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns float64 [things, distinct values], how often each thing got each value; and the values."""
    levels, level = np.unique(values, return_inverse=True)
    n_things, thing = np.unique(np.asarray(things), return_inverse=True)
    counts = np.zeros((len(n_things), len(levels)))
    np.add.at(counts, (thing, level), 1.0)
    return counts, levels


def alpha(
    counts: NDArray[np.float64], level: Level, values: Sequence[float] | NDArray[np.float64] | None = None
) -> float | None:
    """Returns Krippendorff's alpha; None if no thing has two ratings, or all ratings are equal.

    Args:
        counts: [things, values] how often a thing got a value, the values in ascending order.
        level: the distance of two values: "nominal": 0 or 1; "interval": squared difference; "ordinal":
            squared number of ratings between them, each of the two values counting half.
        values: [values] the values, for "interval"; default: consecutive integers.
    """
    coincidences = _coincidences(counts).sum(axis=0)
    result = _alphas(coincidences[None], level, values)[0]
    return None if np.isnan(result) else float(result)


def alpha_summary(
    values: ArrayLike,
    things: ArrayLike,
    units: ArrayLike,
    *,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> Summary:
    """Returns ordinal alpha with the percentile bootstrap interval over units.

    Args:
        values: [n] ratings; NaN for a missing one.
        things: [n] what is rated: labels.
        units: [n] the unit of each: labels. The descriptions of a unit are resampled together.
        seed: seed of the bootstrap.
        n_resamples: number of resamples.

    Returns:
        `n` counts the ratings of things with two or more; no standard error.
    """
    ratings, things, units = np.asarray(values, np.float64), np.asarray(things), np.asarray(units)
    present = ~np.isnan(ratings)
    missing = int((~present).sum())
    ratings, things, units = ratings[present], things[present], units[present]
    counts, levels = value_counts(ratings, things)
    n = int(counts[counts.sum(axis=1) > 1].sum())
    observed = alpha(counts, "ordinal", levels)
    if observed is None:
        reason = "all ratings are equal" if n else "no two raters rated the same description"
        return Summary(None, None, None, None, n, missing, reason)
    of_thing = dict(zip(things.tolist(), units.tolist(), strict=True))
    unit = np.unique([of_thing[thing] for thing in np.unique(things).tolist()], return_inverse=True)[1]
    n_units = int(unit.max()) + 1
    if n_units < 2:
        return Summary(observed, None, None, None, n, missing, "one unit has no spread")
    size = len(levels) ** 2
    by_unit = np.zeros((n_units, size))
    np.add.at(by_unit, unit, _coincidences(counts).reshape(len(counts), size))
    draws = [
        _alphas((weights @ by_unit).reshape(-1, len(levels), len(levels)), "ordinal", levels)
        for weights in resampled_weights([np.arange(n_units)], seed=seed, n_resamples=n_resamples)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(np.concatenate(draws), [tail, 1 - tail])
    return Summary(observed, None, float(low), float(high), n, missing)


def _coincidences(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns [things, values, values]: ordered pairs of ratings by two raters, over (ratings - 1)."""
    totals = counts.sum(axis=1)
    # A thing with one rating has no pair.
    weights = np.where(totals > 1, 1 / np.maximum(1, totals - 1), 0.0)
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs -= counts[:, :, None] * np.eye(counts.shape[1])
    return pairs * weights[:, None, None]


def _alphas(
    coincidences: NDArray[np.float64], level: Level, values: ArrayLike | None
) -> NDArray[np.float64]:
    """Returns [n] alpha of [n, values, values] coincidences; NaN where it is not defined."""
    totals = coincidences.sum(axis=2)  # [n, values]
    n = totals.sum(axis=1)
    size = totals.shape[1]
    if level == "nominal":
        distance = np.broadcast_to(1 - np.eye(size), coincidences.shape)
    else:
        if level == "ordinal":
            # Mean ranks: their differences are the numbers of ratings in between.
            place = np.cumsum(totals, axis=1) - totals / 2
        else:
            place = np.broadcast_to(
                np.arange(size) if values is None else np.asarray(values), totals.shape
            )
        distance = (place[:, :, None] - place[:, None, :]) ** 2
    observed = (coincidences * distance).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * distance).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - (n - 1) * observed / expected, np.nan)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns average ranks from 1."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
