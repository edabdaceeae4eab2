"""Checks activations, finds dead units, and orders images by activation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .cosines import ArrayCosines, Cosines


def checked_cosines(
    activations: NDArray[np.floating], cosines: Cosines | NDArray[np.floating]
) -> Cosines:
    """Returns the cosines after checking that they and the activations are finite and fit each other.

    Raises:
        ValueError: if the numbers of images differ, or an activation or a cosine is not finite.
    """
    cosines = ArrayCosines(cosines) if isinstance(cosines, np.ndarray) else cosines
    if activations.ndim != 2 or len(activations) != cosines.shape[0]:
        raise ValueError(
            f"activations {activations.shape} and cosines {cosines.shape} have different images"
        )
    if not np.isfinite(activations).all():
        raise ValueError("activations are not finite")
    if not cosines.finite:
        raise ValueError("cosines of images and concepts are not finite")
    return cosines


def dead_units(activations: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Returns bool [units]: the units whose activation is constant."""
    return np.asarray(activations.max(axis=0) == activations.min(axis=0))


def most_activating(activations: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Returns int64 [units, k]: the most activating images of each unit, ties by image index.

    Raises:
        ValueError: if there are fewer than `k` images, or `k` is 0.
    """
    if not 1 <= k <= len(activations):
        raise ValueError(f"cannot take the {k} most activating of {len(activations)} images")
    return strongest(activations, k)


def strongest(columns: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Returns int64 [columns, k]: the rows with the largest values of each column, ties by row index.

    Raises:
        ValueError: if there are fewer than `k` rows, or `k` is 0.
    """
    if not 1 <= k <= len(columns):
        raise ValueError(f"cannot take the {k} largest of {len(columns)} values")
    # NumPy copies: torch warns about memory-mapped values, which it could write to. Torch transposes the
    # copy: in NumPy this takes twice as long.
    by_column = torch.from_numpy(np.array(columns)).T.contiguous()
    # topk is several times faster than a full sort, but takes any of the values that equal the k-th.
    values, top = by_column.topk(k)
    smallest = values[:, -1:]
    for index in ((by_column >= smallest).sum(dim=1) > k).nonzero().flatten().tolist():
        above = (by_column[index] > smallest[index]).nonzero().flatten()
        equal = (by_column[index] == smallest[index]).nonzero().flatten()
        top[index] = torch.cat([above, equal])[:k]
    # Sorted by row first, so that the stable sort by value keeps equal values in row order.
    top = top.sort(dim=1).values
    order = by_column.gather(1, top).argsort(dim=1, descending=True, stable=True)
    return top.gather(1, order).numpy()
