"""Draws the images of a description: inclusion probabilities and seeded samples without replacement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rule = Literal["variance", "product", "uniform"]

GUESS_RANGE = (0.001, 0.999)
"""A model's guess is clipped to this range, so that answers can always overrule it."""

NO_GUESS = 0.05
"""The guess for every image where there is no model."""

# Variance of an image's presence around the guess that remains where the model is certain, because models
# are wrong and raters err. It keeps images that the model is sure about in the sample.
_DOUBT = 0.05


def standardized(values: ArrayLike) -> NDArray[np.float64]:
    """Returns values with mean 0 and (population) standard deviation 1; zeros if they are constant."""
    array = np.asarray(values, dtype=np.float64)
    centred = array - array.mean()
    spread = float(np.sqrt(np.mean(centred**2)))
    return centred / spread if spread else centred


def clipped(guess: ArrayLike) -> NDArray[np.float64]:
    """Returns guesses of presence, float64, clipped to `GUESS_RANGE`."""
    return np.clip(np.asarray(guess, dtype=np.float64), *GUESS_RANGE)


def inclusion_probabilities(
    values: ArrayLike, guess: ArrayLike, images: int, *, mix: float = 0.2, rule: Rule = "variance"
) -> NDArray[np.float64]:
    """Returns the probability of each image to be rated; they add up to `images`.

    Args:
        values: [images] activations of the unit over the whole probing set.
        guess: [images] a model's guess of the probability that the description fits.
        images: expected number of images; all of them if there are not more.
        mix: share that is spread uniformly over all images.
        rule: what the remaining share is proportional to: "variance", the activation's distance from its
            mean times the standard deviation of presence given the guess, which minimizes the variance of
            the covariance (Neyman allocation); "product", abs(activation x guess), both standardized, as
            published; "uniform", nothing.
    """
    z, presence = standardized(values), clipped(guess)
    if images >= len(z):
        return np.ones(len(z))
    if rule == "variance":
        size = np.abs(z) * np.sqrt(presence * (1 - presence) + _DOUBT)
    elif rule == "product":
        size = np.abs(z * standardized(presence))
    else:
        size = np.zeros(len(z))
    # A constant guess has no product: all images are equal.
    total = size.sum()
    share = size / total if total else np.full(len(z), 1 / len(z))
    return _scaled((1 - mix) * share + mix / len(z), images)


def combined(probabilities: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Returns the probabilities of one sample that serves several units with the same description.

    The largest of an image's probabilities: no unit is estimated worse than with a sample of its own,
    and an image that several samples would contain is rated once. They add up to an integer.
    """
    largest = np.max(probabilities, axis=0)
    # The sum of rounded numbers that should be an integer may be slightly larger.
    return _scaled(largest, min(len(largest), math.ceil(largest.sum() - 1e-9)))


def draw(probabilities: NDArray[np.float64], numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draws images without replacement, in ascending order, by Pareto sampling (Rosen, 1997).

    A fixed number of images, each with (very nearly) its inclusion probability, and nearly
    independently, so that the variance of independent draws applies. Without replacement, because the
    answers of a second draw of an image would add nothing.

    Args:
        probabilities: [images], with an integer sum; 1 for images that are always drawn.
        numbers: [images] permanent random numbers in (0, 1). Samples drawn with the same numbers have
            as many images in common as their probabilities allow.
    """
    size = round(float(probabilities.sum()))
    certain = probabilities >= 1 - 1e-12
    odds = np.where(certain, 1.0, probabilities / np.where(certain, 1.0, 1 - probabilities))
    ranks = numbers / (1 - numbers) / odds
    ranks[certain] = -1
    return np.sort(np.argsort(ranks, kind="stable")[:size]).astype(np.int64)


def _scaled(share: NDArray[np.float64], total: int) -> NDArray[np.float64]:
    """Returns probabilities proportional to `share` that add up to `total`, none above 1."""
    probabilities = share * (total / share.sum())
    while (probabilities > 1).any():
        certain = probabilities >= 1
        rest = share[~certain]
        probabilities[certain] = 1
        probabilities[~certain] = rest * ((total - certain.sum()) / rest.sum())
    return probabilities
