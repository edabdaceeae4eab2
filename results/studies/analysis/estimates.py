"""Means by layer and method, with standard errors and intervals over units and raters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...clusters import resampled_weights
from ...statistics import CONFIDENCE, RESAMPLES, Summary
from .ratings import Ratings

MEAN_OF_LAYERS = "All layers (mean of layers)"
POOLED = "All layers (pooled)"
FEW_CLUSTERS = "an interval needs two units and two raters"
Estimates = Mapping[tuple[str, int], Summary]
"""By row (a layer, `MEAN_OF_LAYERS` or `POOLED`) and column of the values."""


@dataclass(frozen=True)
class Resampling:
    """How intervals are computed.

    Attributes:
        seed: seed of all draws.
        n_resamples: number of resamples.
    """

    seed: int = 0
    n_resamples: int = RESAMPLES


def row_names(ratings: Ratings) -> list[str]:
    """Returns the rows of tables: the layers and, if there are several, both ways to combine them."""
    return [*ratings.layers, *([MEAN_OF_LAYERS, POOLED] if len(ratings.layers) > 1 else [])]


def estimates(
    ratings: Ratings, values: NDArray[np.float64], reason: str, resampling: Resampling | None = None
) -> Estimates:
    """Returns the mean of every column of values, per layer and over all layers.

    The standard error is that of the published tables: standard deviation (ddof = 1) / sqrt(n) over
    judgements, as if they were independent; for the mean of layers sqrt(sum of squares) / number of
    layers. The interval is the percentile interval of the two-way bootstrap: units are drawn within their
    layer and raters over all layers, independently; the weight of a judgement is how often its unit was
    drawn times how often its rater was (Owen's pigeonhole bootstrap).

    Args:
        ratings: the judgements.
        values: float64 [judgements, columns]; NaN for what does not count.
        reason: why a mean without any value is undefined.
        resampling: seed and number of resamples.
    """
    present = ~np.isnan(values)
    sums = _by_layer(ratings, np.nan_to_num(values))
    counts = _by_layer(ratings, present.astype(np.float64))
    intervals = _intervals(ratings, sums, counts, resampling or Resampling())
    result: dict[tuple[str, int], Summary] = {}
    for column in range(values.shape[1]):
        of_layer = []
        for number, layer in enumerate(ratings.layers):
            rows = ratings.layer == number
            known = values[rows & present[:, column], column]
            missing = int(rows.sum()) - len(known)
            of_layer.append(_summary(known, missing, intervals.get((layer, column)), reason))
            result[layer, column] = of_layer[-1]
        if len(ratings.layers) > 1:
            interval = intervals.get((MEAN_OF_LAYERS, column))
            result[MEAN_OF_LAYERS, column] = _mean_of(of_layer, interval, ratings.layers)
            known = values[present[:, column], column]
            pooled = intervals.get((POOLED, column))
            result[POOLED, column] = _summary(known, len(values) - len(known), pooled, reason)
    return result


def _by_layer(ratings: Ratings, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns [judgements, layers, columns]: the values in the judgement's own layer, else 0."""
    of_layer = np.zeros((len(ratings), len(ratings.layers), values.shape[1]))
    of_layer[np.arange(len(ratings)), ratings.layer] = values
    return of_layer


def _intervals(
    ratings: Ratings, sums: NDArray[np.float64], counts: NDArray[np.float64], resampling: Resampling
) -> dict[tuple[str, int], tuple[float, float]]:
    """Returns the interval of every row and column that has two units and two raters."""
    n, n_layers, n_columns = sums.shape
    if n == 0:
        return {}
    units, unit = np.unique(ratings.unit, return_inverse=True)
    rater = np.unique(ratings.rater, return_inverse=True)[1]
    flat = np.concatenate([sums.reshape(n, -1), counts.reshape(n, -1)], axis=1)
    draws = []
    for weights in resampled_weights(
        [unit, rater], strata=[ratings.layer_of_unit[units]], **vars(resampling)
    ):
        totals = (weights @ flat).reshape(-1, 2, n_layers, n_columns)
        draws.append(totals)
    drawn = np.concatenate(draws)
    numerators, denominators = drawn[:, 0], drawn[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(
            denominators > 0, numerators / denominators, np.nan
        )  # [resamples, layers, columns]
        pooled = numerators.sum(axis=1) / denominators.sum(axis=1)
    result: dict[tuple[str, int], tuple[float, float]] = {}
    for column in range(n_columns):
        enough = [_enough(ratings, counts[:, layer, column] > 0) for layer in range(n_layers)]
        for number, layer in enumerate(ratings.layers):
            if enough[number]:
                result[layer, column] = _quantiles(means[:, number, column])
        if all(enough):
            result[MEAN_OF_LAYERS, column] = _quantiles(means[:, :, column].mean(axis=1))
        if _enough(ratings, counts[:, :, column].max(axis=1) > 0):
            result[POOLED, column] = _quantiles(pooled[:, column])
    return result


def _enough(ratings: Ratings, counted: NDArray[np.bool_]) -> bool:
    return min(len(np.unique(ratings.unit[counted])), len(np.unique(ratings.rater[counted]))) > 1


def _quantiles(draws: NDArray[np.float64]) -> tuple[float, float]:
    # A resample may miss every judgement of a small layer: it does not count.
    low, high = np.nanquantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _summary(
    known: NDArray[np.float64], missing: int, interval: tuple[float, float] | None, reason: str
) -> Summary:
    n = len(known)
    if n == 0:
        return Summary(None, None, None, None, 0, missing, reason)
    mean = math.fsum(known) / n
    if n == 1:
        return Summary(mean, None, None, None, 1, missing, "one judgement has no spread")
    error = float(known.std(ddof=1)) / math.sqrt(n)
    if interval is None:
        return Summary(mean, error, None, None, n, missing, FEW_CLUSTERS)
    return Summary(mean, error, *interval, n, missing)


def _mean_of(
    layers: Sequence[Summary], interval: tuple[float, float] | None, names: Sequence[str]
) -> Summary:
    """Returns the unweighted mean of the layers."""
    n, missing = sum(layer.n for layer in layers), sum(layer.n_missing for layer in layers)
    empty = [name for name, layer in zip(names, layers, strict=True) if layer.mean is None]
    if empty:
        return Summary(None, None, None, None, n, missing, f"no value in {', '.join(empty)}")
    mean = math.fsum(layer.mean for layer in layers if layer.mean is not None) / len(layers)
    errors = [layer.standard_error for layer in layers if layer.standard_error is not None]
    if len(errors) < len(layers):
        return Summary(mean, None, None, None, n, missing, "a layer has one judgement")
    error = math.sqrt(math.fsum(error**2 for error in errors)) / len(layers)
    if interval is None:
        return Summary(mean, error, None, None, n, missing, FEW_CLUSTERS)
    return Summary(mean, error, *interval, n, missing)
