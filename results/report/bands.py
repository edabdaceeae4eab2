"""Chooses the images that show what a unit responds to, and what it does not respond to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOP, FIFTHS, LOWEST = 10, 5, 5
"""Number of images in each band."""


def choose_images(values: NDArray[np.floating]) -> tuple[NDArray[np.int64], ...]:
    """Returns the images of the three bands; their number depends on the number of images alone.

    Args:
        values: float [images], the values of a unit.

    Returns:
        The images with the highest values, highest first, ties by image index; one image from each fifth
        of all images in the order of their values, the middle one; and the images with the lowest
        values, of which many may be equal: they are then spread evenly over the image indices.
    """
    count = len(values)
    order = np.argsort(-values, kind="stable")
    middles = (np.arange(FIFTHS) + 0.5) / FIFTHS * count
    lowest = min(LOWEST, count)
    limit = values[order[count - lowest]]
    # Zero is the lowest value of most images after a ReLU; the first of them would show one class only.
    candidates = np.flatnonzero(~(values > limit))
    spread = np.linspace(0, len(candidates) - 1, lowest).round().astype(np.int64)
    weakest = candidates[spread]
    return order[:TOP], order[middles.astype(np.int64)], weakest
