"""The innermost loops of Network Dissection, compiled by numba.

A mask pixel is one whose up-sampled activation is strictly greater than the unit's threshold. Between
four neighbouring cells an up-sampled value never exceeds the largest of the four, so pixels are
computed only between cells of which at least one exceeds the threshold. Multiplication and addition
are separate operations, so that the values are those of `upsample.upsample`, bit by bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

NONE = -1  # fills the places of a pattern that have no label


class Placement(NamedTuple):
    """Positions of a map [h, w] over label planes [H, W]; bands are those of `upsample.Axis`.

    Attributes:
        row_bands: int64 [H] the band of each row of pixels.
        row_weights: float32 [H] weight of the lower of the two rows of cells.
        column_starts: int64 [w + 2] the first column of pixels of each band, then their number.
        column_weights: float32 [W] weight of the right one of the two columns of cells.
        zero_padded: whether the value outside of the outermost cells is 0, or that of the border.
    """

    row_bands: NDArray[np.int64]
    row_weights: NDArray[np.float32]
    column_starts: NDArray[np.int64]
    column_weights: NDArray[np.float32]
    zero_padded: bool


class Patterns(NamedTuple):
    """The combinations of labels that occur at the pixels of an image; most images have a few hundred.

    Counting mask pixels by pattern and adding the labels of each pattern once is faster than adding the
    labels of all planes at every pixel.

    Attributes:
        of_pixel: int32 [pixels] pattern of each pixel of the label planes, row-major.
        labels: int64 [patterns, places] label of each plane, then the whole-image labels; `NONE` where
            there is none.
        repeated: bool [patterns, places] whether the same label also occurs at an earlier place.
        area: int64 [patterns] number of pixels.
        category: int64 [labels of the data set + 1] category of each label.
    """

    of_pixel: NDArray[np.int32]
    labels: NDArray[np.int64]
    repeated: NDArray[np.bool_]
    area: NDArray[np.int64]
    category: NDArray[np.int64]


class Sums(NamedTuple):
    """The arrays of a `Tally` with an axis of units, changed in place."""

    intersection: NDArray[np.int64]
    intersection_unique: NDArray[np.int64]
    activation: NDArray[np.int64]
    activation_paper: NDArray[np.int64]
    activation_lite: NDArray[np.int64]


def _compiled(function: Any) -> Any:
    """Compiles a function on its first call, with an on-disk cache where a folder is writable."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache folder is writable
        return njit(nogil=True)(function)


@_compiled
def find_patterns(
    planes: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Numbers the distinct columns of `planes` [P, pixels] in the order of their first occurrence.

    Returns:
        int32 [pixels], the number of each pixel's column; int64 [patterns], the first pixel of each
        pattern; and int64 [patterns], its number of pixels.
    """
    n_planes, pixels = planes.shape
    of_pixel, first = np.zeros(pixels, np.int32), np.empty(pixels, np.int64)
    area = np.zeros(pixels, np.int64)
    n_patterns, size = 0, 1
    while size < 2 * pixels:  # a power of two, at most half full
        size *= 2
    slots = np.full(size, -1, np.int32)  # hash table with open addressing: the pattern in each slot
    for pixel in range(pixels):
        # Most pixels have the labels of their left neighbour.
        if pixel and _equal_columns(planes, pixel, pixel - 1):
            of_pixel[pixel] = of_pixel[pixel - 1]
            area[of_pixel[pixel]] += 1
            continue
        code = np.uint64(0)
        for plane in range(n_planes):
            # Multiplicative hashing by 2^64 / golden ratio; the high bits are the well-mixed ones.
            code = (code ^ np.uint64(planes[plane, pixel])) * np.uint64(0x9E3779B97F4A7C15)
        slot = (code >> np.uint64(20)) % np.uint64(size)
        while slots[slot] >= 0 and not _equal_columns(planes, pixel, first[slots[slot]]):
            slot = (slot + np.uint64(1)) % np.uint64(size)
        if slots[slot] < 0:
            slots[slot], first[n_patterns] = n_patterns, pixel
            n_patterns += 1
        of_pixel[pixel] = slots[slot]
        area[of_pixel[pixel]] += 1
    return of_pixel, first[:n_patterns].copy(), area[:n_patterns].copy()


@_compiled
def tabulate(
    planes: NDArray[np.int32], first: NDArray[np.int64], whole: NDArray[np.int64], limit: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], int]:
    """Lists the labels of each pattern.

    Args:
        planes: int32 [P, pixels].
        first: int64 [patterns] one pixel of each pattern.
        whole: int64 [W] labels of the whole image.
        limit: label numbers must be less than this.

    Returns:
        labels and repeated, [patterns, P + W], as in `Patterns`; and a label out of range, or 0.
    """
    n_planes, places = len(planes), len(planes) + len(whole)
    labels = np.full((len(first), places), NONE, np.int64)
    repeated = np.zeros((len(first), places), np.bool_)
    for pattern in range(len(first)):
        for place in range(places):
            label = planes[place, first[pattern]] if place < n_planes else whole[place - n_planes]
            if label < 0 or label >= limit:
                return labels, repeated, label
            # 0 in a plane means unlabelled; as a whole-image label it is counted if it was passed.
            if label or place >= n_planes:
                labels[pattern, place] = label
                for earlier in range(place):
                    repeated[pattern, place] |= labels[pattern, earlier] == label
    return labels, repeated, 0


@_compiled
def _equal_columns(planes: NDArray[np.int32], a: int, b: int) -> bool:
    for plane in range(len(planes)):  # noqa: SIM110 (a compiled loop is faster than all())
        if planes[plane, a] != planes[plane, b]:
            return False
    return True


@_compiled
def add_labels(
    patterns: Patterns,
    chosen: NDArray[np.int64],
    pixels: NDArray[np.int64],
    total: NDArray[np.int64],
    total_unique: NDArray[np.int64],
    has_category: NDArray[np.bool_],
) -> None:
    """Adds the labels of some pixels of an image.

    Args:
        patterns: patterns of the image.
        chosen: int64 [n] the patterns of these pixels.
        pixels: int64 [patterns] number of these pixels by pattern.
        total: int64 [labels + 1] counts each label once per place, changed in place.
        total_unique: int64 [labels + 1] counts each label once per pixel, changed in place.
        has_category: bool [categories], set to True for the categories of the labels.
    """
    labels, repeated, category = patterns.labels, patterns.repeated, patterns.category
    for pattern in chosen:
        for place in range(labels.shape[1]):
            label = labels[pattern, place]
            if label != NONE:
                total[label] += pixels[pattern]
                has_category[category[label]] = True
                if not repeated[pattern, place]:
                    total_unique[label] += pixels[pattern]


@_compiled
def add_masks(
    maps: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    placement: Placement,
    patterns: Patterns,
    in_image: NDArray[np.bool_],
    sums: Sums,
    units: tuple[int, int],
) -> None:
    """Adds the mask pixels of one image.

    Args:
        maps: float32 [units, h, w].
        thresholds: float32 [units]; mask pixels are strictly above.
        placement: positions of the maps over the label planes.
        patterns: patterns of the image.
        in_image: bool [categories] whether the image contains a label of the category.
        sums: arrays to add to.
        units: half-open range of units; the rows of other units are not changed.
    """
    padded = np.zeros((maps.shape[1] + 2, maps.shape[2] + 2), np.float32)
    pixels, in_mask = np.zeros(len(patterns.area), np.int64), np.zeros(len(in_image), np.bool_)
    mask_patterns = np.empty(len(patterns.area), np.int64)
    for unit in range(units[0], units[1]):
        # Zeros around the map exceed a negative threshold even if no cell does.
        zeros_above = placement.zero_padded and thresholds[unit] < 0
        if not zeros_above and not _any_above(maps[unit], thresholds[unit]):
            continue
        _pad(maps[unit], placement.zero_padded, padded)
        area, n = _add_mask(padded, thresholds[unit], placement, patterns.of_pixel, pixels, mask_patterns)
        in_mask[:], chosen = False, mask_patterns[:n]
        add_labels(
            patterns, chosen, pixels, sums.intersection[unit], sums.intersection_unique[unit], in_mask
        )
        sums.activation[unit] += area
        for category in range(len(in_image)):
            sums.activation_paper[unit, category] += area * in_image[category]
            sums.activation_lite[unit, category] += area * in_mask[category]
        for pattern in chosen:  # resets only what was counted: most patterns were not in the mask
            pixels[pattern] = 0


@_compiled
def _add_mask(
    padded: NDArray[np.float32],
    threshold: float,
    placement: Placement,
    of_pixel: NDArray[np.int32],
    pixels: NDArray[np.int64],
    mask_patterns: NDArray[np.int64],
) -> tuple[int, int]:
    """Counts a mask's pixels by pattern in `pixels`, and lists its patterns in `mask_patterns`.

    Returns:
        The number of pixels, and the number of patterns.
    """
    row_bands, row_weights, starts, weights = placement[:4]
    area, n, band, begin, end, width = 0, 0, -1, 0, 0, len(weights)
    for y in range(len(row_bands)):
        if row_bands[y] != band:
            band = row_bands[y]
            begin, end = _active_bands(padded[band], padded[band + 1], threshold)
        for column in range(begin, end):
            left = padded[band, column]
            left += (padded[band + 1, column] - left) * row_weights[y]
            right = padded[band, column + 1]
            right += (padded[band + 1, column + 1] - right) * row_weights[y]
            if left > threshold or right > threshold:
                for x in range(starts[column], starts[column + 1]):
                    if (right - left) * weights[x] + left > threshold:
                        pattern = of_pixel[y * width + x]
                        if pixels[pattern] == 0:
                            mask_patterns[n] = pattern
                            n += 1
                        pixels[pattern] += 1
                        area += 1
    return area, n


@_compiled
def _any_above(cells: NDArray[np.float32], threshold: float) -> bool:
    for value in cells.flat:  # noqa: SIM110 (a compiled loop is faster than any())
        if value > threshold:
            return True
    return False


@_compiled
def _pad(cells: NDArray[np.float32], zero_padded: bool, padded: NDArray[np.float32]) -> None:
    """Writes a map [h, w] into the middle of `padded` [h + 2, w + 2], and the values around it."""
    padded[1:-1, 1:-1] = cells
    if not zero_padded:
        padded[0, 1:-1], padded[-1, 1:-1] = cells[0], cells[-1]
        padded[:, 0], padded[:, -1] = padded[:, 1], padded[:, -2]


@_compiled
def _active_bands(
    upper: NDArray[np.float32], lower: NDArray[np.float32], threshold: float
) -> tuple[int, int]:
    """Returns the half-open range of column bands that contains all cells above the threshold."""
    begin, end = len(upper) - 1, 0
    for column in range(len(upper)):
        if upper[column] > threshold or lower[column] > threshold:
            begin, end = min(begin, max(column - 1, 0)), min(column + 1, len(upper) - 1)
    return begin, end
