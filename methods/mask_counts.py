"""Counts the mask pixels of every unit in every label pattern of a few images.

A mask pixel is one whose up-sampled activation is strictly greater than the unit's threshold. Both ways
of counting here give the same integers: `by_blocks` on the CPU looks only where a mask can be, `densely`
up-samples whole maps, which suits a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .label_patterns import LabelPatterns
from .upsample import Grid, upsample

if TYPE_CHECKING:
    import torch

# Pixels worked on at once: their float32 values stay in a core's own cache.
_PIXELS = 1 << 17
# Up-sampled values held at once on a GPU.
_DENSE_VALUES = 1 << 27


@dataclass(frozen=True)
class MaskCounts:
    """Mask pixels, for the (image, unit) pairs that may have any.

    Attributes:
        image: int64 [pairs] position of the image among those counted.
        unit: int64 [pairs].
        pair: int64 [entries] which pair an entry belongs to.
        pattern: int64 [entries] number of the pattern in the table of all images.
        pixels: int64 [entries] mask pixels of that pair in that pattern, never 0.
    """

    image: NDArray[np.int64]
    unit: NDArray[np.int64]
    pair: NDArray[np.int64]
    pattern: NDArray[np.int64]
    pixels: NDArray[np.int64]


def round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns the largest float32 not above each threshold.

    A float32 value exceeds it exactly if it exceeds the float64 threshold.
    """
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def by_blocks(
    maps: NDArray[np.float32], thresholds: NDArray[np.float32], over: Grid, labels: LabelPatterns
) -> MaskCounts:
    """Counts mask pixels block by block.

    Args:
        maps: float32 [images, units, h, w].
        thresholds: float32 [units], from `round_down`.
        over: how the maps lie over the label planes of all these images.
        labels: the label patterns of these images, inside the grid's window.
    """
    peaks = maps.reshape(*maps.shape[:2], -1).max(axis=2)
    image, unit = np.nonzero(peaks > thresholds)
    padded = over.pad(maps[image, unit])
    limits = thresholds[unit]
    corners = _active_corners(padded, limits)
    width = max(1, labels.most)
    kind = np.int32 if len(image) * width < 2**31 else np.int64
    shift = (np.arange(len(image)) * width - labels.first[image]).astype(kind)
    patterns = _patterns_by_block(over, labels)
    rows, columns = over.block_shape
    step = max(1, _PIXELS // max(1, rows * columns))
    keys = [np.zeros(0, kind)]
    for start in range(0, len(corners), step):
        pair, block, row, hit = _hits(padded, limits, over, corners[start : start + step])
        key = patterns.take((image[pair] * over.blocks + block) * rows + row, axis=0)
        key = key.astype(kind, copy=False)
        key += shift[pair][:, None]
        keys.append(key[hit])
    counts = np.bincount(np.concatenate(keys), minlength=len(image) * width)
    entry = np.flatnonzero(counts)
    of_pair, pattern = np.divmod(entry, width)
    return MaskCounts(image, unit, of_pair, pattern + labels.first[image[of_pair]], counts[entry])


def _active_corners(padded: NDArray[np.float32], limits: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns the blocks with a corner above the limit, each by the position of its first cell."""
    active = padded > limits[:, None, None]
    active[:, :-1] |= active[:, 1:]
    active[:, :, :-1] |= active[:, :, 1:]
    active[:, -1] = active[:, :, -1] = False  # no block begins there
    return np.flatnonzero(active)


def _patterns_by_block(over: Grid, labels: LabelPatterns) -> NDArray[np.int32]:
    """Returns int32 [images * blocks * rows, columns]: the pattern of each pixel of each block."""
    pixels = over.block_pixels()
    found = np.empty((len(labels.index), *pixels.shape), np.int32)
    for image, index in enumerate(labels.index):
        index.take(pixels, out=found[image], mode="clip")
    rows, columns = over.block_shape
    return found.reshape(len(found) * over.blocks * rows, columns)


def _hits(
    padded: NDArray[np.float32], limits: NDArray[np.float32], over: Grid, corner: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Finds the mask pixels of some blocks, row of pixels by row of pixels.

    Down the sides of the blocks first; along a row, values lie between those at its ends, so only rows
    with an end above the limit are looked at. Pixels that a block does not have carry the weight NaN
    and are never above a limit. Blocks and rows run along the last axis while values are computed:
    long axes are what the processor is fast at.

    Returns:
        pair, block, row: int64 [n] each; the rows of pixels with an end above the limit, in the order
            (pair of the maps, block of the grid, row of the block).
        hit: bool [n, columns] which of a row's pixels belong to the mask.
    """
    height, width = padded.shape[1:]
    pair, cell = np.divmod(corner, height * width)
    band, column = np.divmod(cell, width)
    values, limit = padded.ravel(), limits.take(pair)
    down = over.rows.weights.take(band, axis=1)
    left = _between(values.take(corner), values.take(corner + width), down)
    right = _between(values.take(corner + 1), values.take(corner + width + 1), down)
    live = np.flatnonzero(np.maximum(left, right) > limit)
    row, which = np.divmod(live, len(corner))
    across = over.columns.weights.take(column.take(which), axis=1)
    hit = _between(left.take(live), right.take(live), across) > limit.take(which)
    block = band * (width - 1) + column
    return pair.take(which), block.take(which), row, np.ascontiguousarray(hit.T)


def _between(
    start: NDArray[np.float32], end: NDArray[np.float32], weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    value = (end - start) * weight
    value += start
    return value


def densely(
    maps: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    over: Grid,
    labels: LabelPatterns,
    device: torch.device,
) -> MaskCounts:
    """Counts mask pixels by up-sampling whole maps on `device`; arguments as for `by_blocks`."""
    import torch

    values, limits = torch.from_numpy(maps).to(device), torch.from_numpy(thresholds).to(device)
    image, unit = torch.nonzero(values.amax(dim=(2, 3)) > limits, as_tuple=True)
    index = labels.index - labels.first[:, None]
    patterns = torch.from_numpy(index).to(device)
    counts = torch.zeros(len(image), max(1, labels.most), dtype=torch.int64, device=device)
    step = max(1, _DENSE_VALUES // max(1, index.shape[1]))
    for start in range(0, len(image), step):
        rows = slice(start, start + step)
        masks = upsample(values[image[rows], unit[rows]], over) > limits[unit[rows], None, None]
        counts[rows].scatter_add_(1, patterns[image[rows]], masks.flatten(1).long())
    pair, pattern = (found.cpu().numpy() for found in torch.nonzero(counts, as_tuple=True))
    where = image.cpu().numpy()
    pixels = counts.cpu().numpy()[pair, pattern]
    return MaskCounts(where, unit.cpu().numpy(), pair, pattern + labels.first[where[pair]], pixels)
