"""Agreement between two raters."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def agreement(first: ArrayLike, second: ArrayLike) -> dict[str, float | None]:
    """Returns measures of agreement between the ratings that two raters gave the same things.

    Pearson and Spearman (average ranks) correlation, Cohen's kappa with quadratic weights,
    Krippendorff's alpha for interval and ordinal ratings, and the percentages of ratings that are equal
    and at most one apart. A measure is None where it is not defined: for ratings that do not differ.

    Args:
        first: [n] ratings of the first rater.
        second: [n] ratings of the second rater, in the same order.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    both = np.concatenate([a, b])
    # An ordinal distance is an interval distance between mean ranks.
    ranks_of_all = _ranks(both)
    distance = np.abs(a - b)
    expected = ((a[:, None] - b[None, :]) ** 2).mean()
    return {
        "Pearson": _correlation(a, b),
        "Spearman": _correlation(_ranks(a), _ranks(b)),
        "weighted kappa": float(1 - (distance**2).mean() / expected) if expected else None,
        "alpha (interval)": _alpha(a, b),
        "alpha (ordinal)": _alpha(ranks_of_all[: len(a)], ranks_of_all[len(a) :]),
        "equal (%)": 100 * float((distance == 0).mean()),
        "within one (%)": 100 * float((distance <= 1).mean()),
    }


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns average ranks from 1."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _alpha(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Returns Krippendorff's alpha of two raters without missing ratings, for squared distances."""
    both = np.concatenate([a, b])
    # The mean over all ordered pairs of different ratings is twice the unbiased variance.
    expected = 2 * both.var(ddof=1)
    return float(1 - ((a - b) ** 2).mean() / expected) if expected else None
