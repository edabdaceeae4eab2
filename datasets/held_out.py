"""Splits a probing set into the images that methods see and held-out images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import InputError
from .probing_set import ProbingSet, Subset


def hold_out(probe: ProbingSet, share: float, seed: int) -> tuple[Subset, Subset]:
    """Returns the images for methods, and the images on which their descriptions are scored.

    The split is stratified by class where the images have classes: each class has its share in both
    parts, up to one image. It depends on the number of images, their classes, the share and the seed.

    Args:
        probe: the images.
        share: of the images that are held out, 0 < share < 1.
        seed: seed of the choice.

    Raises:
        InputError: if one part would be empty.
    """
    labels = np.zeros(len(probe), np.int64) if probe.labels is None else np.asarray(probe.labels)
    chosen = _chosen(labels, share, np.random.default_rng([seed, 1]))
    if chosen.all() or not chosen.any():
        raise InputError(
            f"held_out={share} leaves one part of the {len(probe)} images empty",
            "use a share such as 0.5, or more images",
        )
    indices = np.arange(len(probe))
    return Subset(probe, indices[~chosen].tolist()), Subset(probe, indices[chosen].tolist())


def _chosen(labels: NDArray[np.int64], share: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """Returns which images are held out, bool [images]."""
    chosen = np.zeros(len(labels), np.bool_)
    # In a random order of classes, the remainders of the shares add up: small classes, of which a share
    # is less than an image, still hold out the share of all images.
    due = 0.0
    for label in random.permutation(np.unique(labels)):
        members = random.permutation(np.flatnonzero(labels == label))
        due += share * len(members)
        count = int(due + 0.5)
        chosen[members[:count]] = True
        due -= count
    return chosen
