"""Describes all images for one unit and description: what the analysis needs of the images not rated.

The analysis needs a function of activation and guess, averaged over all images. The images are grouped
into cells of similar activation and guess, so that a study stores some hundred rows instead of one per
image. A function that is constant within cells has an exact mean, so that the grouping adds no bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .sampling import GUESS_RANGE, clipped, standardized

_BINS = 16  # of the activation, and of the guess


@dataclass(frozen=True)
class Population:
    """All images for one unit and description, in cells.

    Attributes:
        count: int64 [cells], number of images.
        value: float64 [cells], mean of the standardized activation.
        evidence: float64 [cells], mean of the log odds of the guess.
    """

    count: NDArray[np.int64]
    value: NDArray[np.float64]
    evidence: NDArray[np.float64]

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.count.sum())


def log_odds(probability: ArrayLike) -> NDArray[np.float64]:
    """Returns log(p / (1 - p))."""
    p = np.asarray(probability, dtype=np.float64)
    return np.log(p / (1 - p))


def population(values: ArrayLike, guess: ArrayLike) -> tuple[Population, NDArray[np.int64]]:
    """Groups images by activation and guess.

    Args:
        values: [images] activations of the unit.
        guess: [images] a model's guess of the probability that the description fits.

    Returns:
        The cells, and int64 [images], the cell of each image.
    """
    z, evidence = standardized(values), log_odds(clipped(guess))
    low, high = log_odds(GUESS_RANGE)
    # Activations have a long upper tail; its few images are to have cells of their own.
    stretched = np.arcsinh(z)
    keys = _bin(stretched, stretched.min(), stretched.max()) * _BINS + _bin(evidence, low, high)
    _, cells, count = np.unique(keys, return_inverse=True, return_counts=True)
    means = [np.bincount(cells, column) / count for column in (z, evidence)]
    return Population(count, means[0], means[1]), cells.astype(np.int64)


def _bin(column: NDArray[np.float64], low: float, high: float) -> NDArray[np.int64]:
    width = (high - low) / _BINS or 1.0
    return np.clip((column - low) / width, 0, _BINS - 1).astype(np.int64)
