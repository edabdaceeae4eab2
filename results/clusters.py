"""Means of scores that are not independent: ratings of one rater, units of one layer.

Scores of a cluster resemble each other, so the standard error of independent scores is too small.
Clusters may cross: every rating belongs to a rater and to a unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .statistics import CONFIDENCE, RESAMPLES, Summary


def clustered_summary(
    scores: ArrayLike,
    clusters: Sequence[ArrayLike],
    *,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> Summary:
    """Returns the mean of scores that belong to clusters, with its uncertainty.

    The standard error adds up the covariances within clusters of each kind, minus those counted twice
    (Cameron, Gelbach and Miller, 2011), each with the factor G / (G - 1) for G clusters. The interval is
    the percentile bootstrap that draws the clusters of each kind independently (Owen's pigeonhole
    bootstrap, 2007). It is slightly too wide and never too narrow for crossed clusters.

    Args:
        scores: [n]; NaN for a missing score.
        clusters: for each kind, such as raters and units, [n] the cluster of each score.
        seed: seed of the bootstrap.
        n_resamples: number of resamples.

    Raises:
        ValueError: if lengths differ or there is no kind of cluster.

    Example:
        >>> ratings, raters, units = [4, 5, 2, 3], ["a", "b", "a", "b"], [0, 0, 1, 1]
        >>> round(clustered_summary(ratings, [raters, units]).standard_error, 3)
        1.118
    """
    values = np.asarray(scores, dtype=np.float64)
    if not clusters:
        raise ValueError("no kind of cluster is given")
    labels = [np.unique(np.asarray(kind), return_inverse=True)[1] for kind in clusters]
    if any(len(kind) != len(values) for kind in labels):
        raise ValueError("every score must have a cluster of each kind")
    present = ~np.isnan(values)
    n, n_missing = int(present.sum()), int((~present).sum())
    values = values[present]
    labels = [np.unique(kind[present], return_inverse=True)[1] for kind in labels]
    if n == 0:
        return Summary(None, None, None, None, 0, n_missing, "no unit has a score")
    mean = math.fsum(values) / n
    smallest = min(int(kind.max()) + 1 for kind in labels)
    if smallest < 2:
        return Summary(mean, None, None, None, n, n_missing, "one cluster has no spread")
    variance = _variance(values - mean, labels) / n**2
    low, high = _pigeonhole(values, labels, seed, n_resamples)
    return Summary(mean, math.sqrt(variance), low, high, n, n_missing)


def _variance(residuals: NDArray[np.float64], labels: Sequence[NDArray[np.int64]]) -> float:
    """Returns the variance of the sum: by inclusion and exclusion over the kinds of clusters."""
    total, largest = 0.0, 0.0
    for size in range(1, len(labels) + 1):
        for kinds in combinations(labels, size):
            cells = np.unique(np.stack(kinds), axis=1, return_inverse=True)[1].ravel()
            sums = np.bincount(cells, weights=residuals)
            n_cells = len(sums)
            part = float(sums @ sums) * n_cells / (n_cells - 1)
            total += part if size % 2 else -part
            largest = max(largest, part) if size == 1 else largest
    # The difference can be negative in small samples; the largest one-way variance is conservative.
    return total if total > 0 else largest


def _pigeonhole(
    values: NDArray[np.float64], labels: Sequence[NDArray[np.int64]], seed: int, n_resamples: int
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    means = np.empty(n_resamples)
    for row in range(n_resamples):
        weights = np.zeros(len(values))
        # A resample may miss every cell of the table if few clusters cross: it is drawn again.
        while not weights.any():
            weights = np.ones(len(values))
            for kind in labels:
                n_clusters = int(kind.max()) + 1
                drawn = np.bincount(rng.integers(n_clusters, size=n_clusters), minlength=n_clusters)
                weights *= drawn[kind]
        means[row] = weights @ values / weights.sum()
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
