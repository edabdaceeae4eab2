"""The innermost loops of Network Dissection, compiled by numba.

A mask pixel is one whose up-sampled activation is strictly greater than the unit's threshold. Between
four neighbouring cells an up-sampled value never exceeds the largest of the four, so pixels are looked
at only between cells of which one is above the threshold. Multiplication and addition stay separate
operations, so that the values are those of `upsample.upsample`, bit by bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

NONE = -1  # fills the places of a pattern that carry no label


class Placement(NamedTuple):
    """How a map [h, w] lies over label planes [H, W]; bands are those of `upsample.Axis`.

    Attributes:
        row_bands: int64 [H] the band of each row of pixels.
        row_weights: float32 [H] weight of the lower of the two rows of cells.
        column_starts: int64 [w + 2] the first column of pixels of each band, then their number.
        column_weights: float32 [W] weight of the right one of the two columns of cells.
        zero_padded: whether 0 lies beyond the outermost cells, or their own value.
    """

    row_bands: NDArray[np.int64]
    row_weights: NDArray[np.float32]
    column_starts: NDArray[np.int64]
    column_weights: NDArray[np.float32]
    zero_padded: bool


class Patterns(NamedTuple):
    """The combinations of labels that occur at the pixels of an image; most images have a few hundred.

    Attributes:
        of_pixel: int32 [pixels] pattern of each pixel of the label planes, row-major.
        labels: int64 [patterns, places] label of each plane, then the whole-image labels; `NONE` where
            there is none.
        again: bool [patterns, places] whether the same label stands further left, too.
        area: int64 [patterns] number of pixels.
        category: int64 [labels of the data set + 1] category of each label.
    """

    of_pixel: NDArray[np.int32]
    labels: NDArray[np.int64]
    again: NDArray[np.bool_]
    area: NDArray[np.int64]
    category: NDArray[np.int64]


class Sums(NamedTuple):
    """The arrays of a `Tally` that belong to units, changed in place."""

    intersection: NDArray[np.int64]
    intersection_unique: NDArray[np.int64]
    activation: NDArray[np.int64]
    activation_paper: NDArray[np.int64]
    activation_lite: NDArray[np.int64]


def _compiled(function: Any) -> Any:
    """Compiles when first called; what was compiled is kept on disk if there is a place for it."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        return njit(nogil=True)(function)


@_compiled
def find_patterns(
    planes: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Numbers the distinct columns of `planes` [P, pixels] in the order in which they appear.

    Returns:
        int32 [pixels], the number of each column; int64 [patterns], where each occurs first; and int64
        [patterns], how often it does.
    """
    n_planes, pixels = planes.shape
    index, first, known, size = np.zeros(pixels, np.int32), np.empty(pixels, np.int64), 0, 1
    area = np.zeros(pixels, np.int64)
    while size < 2 * pixels:
        size *= 2
    slots = np.full(size, -1, np.int32)  # a hash table: the pattern in each slot
    for pixel in range(pixels):
        if pixel and _equal(planes, pixel, pixel - 1):  # labels hardly change from a pixel to the next
            index[pixel] = index[pixel - 1]
            area[index[pixel]] += 1
            continue
        code = np.uint64(0)
        for plane in range(n_planes):
            code = (code ^ np.uint64(planes[plane, pixel])) * np.uint64(0x9E3779B97F4A7C15)
        slot = (code >> np.uint64(20)) % np.uint64(size)
        while slots[slot] >= 0 and not _equal(planes, pixel, first[slots[slot]]):
            slot = (slot + np.uint64(1)) % np.uint64(size)
        if slots[slot] < 0:
            slots[slot], first[known] = known, pixel
            known += 1
        index[pixel] = slots[slot]
        area[index[pixel]] += 1
    return index, first[:known].copy(), area[:known].copy()


@_compiled
def tabulate(
    planes: NDArray[np.int32], first: NDArray[np.int64], whole: NDArray[np.int64], base: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], int]:
    """Lists the labels of patterns.

    Args:
        planes: int32 [P, pixels].
        first: int64 [patterns] a pixel of each.
        whole: int64 [W] labels of the whole image.
        base: label numbers lie below it.

    Returns:
        labels and again, [patterns, P + W], as in `Patterns`; and a label out of range, or 0.
    """
    n_planes, places = len(planes), len(planes) + len(whole)
    labels = np.full((len(first), places), NONE, np.int64)
    again = np.zeros((len(first), places), np.bool_)
    for pattern in range(len(first)):
        for place in range(places):
            label = planes[place, first[pattern]] if place < n_planes else whole[place - n_planes]
            if label < 0 or label >= base:
                return labels, again, label
            if label or place >= n_planes:
                labels[pattern, place] = label
                for earlier in range(place):
                    again[pattern, place] |= labels[pattern, earlier] == label
    return labels, again, 0


@_compiled
def _equal(planes: NDArray[np.int32], one: int, other: int) -> bool:
    for plane in range(len(planes)):  # noqa: SIM110 (compiled, a loop is the fastest)
        if planes[plane, one] != planes[plane, other]:
            return False
    return True


@_compiled
def add_labels(
    patterns: Patterns,
    chosen: NDArray[np.int64],
    pixels: NDArray[np.int64],
    total: NDArray[np.int64],
    total_unique: NDArray[np.int64],
    met: NDArray[np.bool_],
) -> None:
    """Adds the labels of some of an image's pixels.

    Args:
        patterns: of the image.
        chosen: int64 [n] the patterns of these pixels.
        pixels: int64 [patterns] how many pixels of each pattern.
        total: int64 [labels + 1] once per place, changed in place.
        total_unique: int64 [labels + 1] once per label, changed in place.
        met: bool [categories], set where one of the labels belongs to.
    """
    labels, again, category = patterns.labels, patterns.again, patterns.category
    for pattern in chosen:
        for place in range(labels.shape[1]):
            label = labels[pattern, place]
            if label != NONE:
                total[label] += pixels[pattern]
                met[category[label]] = True
                if not again[pattern, place]:
                    total_unique[label] += pixels[pattern]


@_compiled
def add_masks(
    maps: NDArray[np.float32],
    limits: NDArray[np.float32],
    over: Placement,
    patterns: Patterns,
    shown: NDArray[np.bool_],
    sums: Sums,
    units: tuple[int, int],
) -> None:
    """Adds the mask pixels of one image.

    Args:
        maps: float32 [units, h, w].
        limits: float32 [units]; a mask pixel is strictly above.
        over: how the maps lie over the label planes.
        patterns: of the image.
        shown: bool [categories] of which the image shows a label.
        sums: to be added to.
        units: the first, and the one after the last: rows of others are left alone.
    """
    padded = np.zeros((maps.shape[1] + 2, maps.shape[2] + 2), np.float32)
    pixels, met = np.zeros(len(patterns.area), np.int64), np.zeros(len(shown), np.bool_)
    met_patterns = np.empty(len(patterns.area), np.int64)
    for unit in range(units[0], units[1]):
        if not _exceeds(maps[unit], limits[unit]):
            continue
        _pad(maps[unit], over.zero_padded, padded)
        area, n = _add_mask(padded, limits[unit], over, patterns.of_pixel, pixels, met_patterns)
        met[:], chosen = False, met_patterns[:n]
        add_labels(patterns, chosen, pixels, sums.intersection[unit], sums.intersection_unique[unit], met)
        sums.activation[unit] += area
        for category in range(len(shown)):
            sums.activation_paper[unit, category] += area * shown[category]
            sums.activation_lite[unit, category] += area * met[category]
        for pattern in chosen:
            pixels[pattern] = 0


@_compiled
def _add_mask(
    padded: NDArray[np.float32],
    limit: float,
    over: Placement,
    index: NDArray[np.int32],
    pixels: NDArray[np.int64],
    met: NDArray[np.int64],
) -> tuple[int, int]:
    """Counts a mask's pixels by pattern, in `pixels`, and lists the patterns it meets in `met`.

    Returns:
        How many pixels, and how many patterns.
    """
    row_bands, row_weights, starts, weights = over[:4]
    area, n, band, begin, end, width = 0, 0, -1, 0, 0, len(weights)
    for y in range(len(row_bands)):
        if row_bands[y] != band:
            band = row_bands[y]
            begin, end = _active(padded[band], padded[band + 1], limit)
        for column in range(begin, end):
            left = padded[band, column]
            left += (padded[band + 1, column] - left) * row_weights[y]
            right = padded[band, column + 1]
            right += (padded[band + 1, column + 1] - right) * row_weights[y]
            if left > limit or right > limit:
                for x in range(starts[column], starts[column + 1]):
                    if (right - left) * weights[x] + left > limit:
                        pattern = index[y * width + x]
                        if pixels[pattern] == 0:
                            met[n] = pattern
                            n += 1
                        pixels[pattern] += 1
                        area += 1
    return area, n


@_compiled
def _exceeds(cells: NDArray[np.float32], limit: float) -> bool:
    for value in cells.flat:  # noqa: SIM110
        if value > limit:
            return True
    return False


@_compiled
def _pad(cells: NDArray[np.float32], zero_padded: bool, padded: NDArray[np.float32]) -> None:
    """Writes a map [h, w] into the middle of `padded` [h + 2, w + 2], and what lies beyond around it."""
    padded[1:-1, 1:-1] = cells
    if not zero_padded:
        padded[0, 1:-1], padded[-1, 1:-1] = cells[0], cells[-1]
        padded[:, 0], padded[:, -1] = padded[:, 1], padded[:, -2]


@_compiled
def _active(upper: NDArray[np.float32], lower: NDArray[np.float32], limit: float) -> tuple[int, int]:
    """Returns the first band of columns with a cell above the limit, and the one after the last."""
    begin, end = len(upper) - 1, 0
    for column in range(len(upper)):
        if upper[column] > limit or lower[column] > limit:
            begin, end = min(begin, max(column - 1, 0)), min(column + 1, len(upper) - 1)
    return begin, end
