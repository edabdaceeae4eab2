"""Attention cropping: cuts out the parts of an image in which a unit is active (step 1).

`variant="official"` follows the published code where it differs from the paper:

| | paper (default) | official |
|---|---|---|
| map to 8 bits | scaled from its own range to 0 ... 255 | times 255, modulo 256 |
| map covers | the part shown to the target | the whole image |
| crops from | the image at its own resolution | the image resized to `size`; crops are resized again |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...harness.probe import Region

if TYPE_CHECKING:
    from PIL.Image import Image

Variant = Literal["paper", "official"]

_HALF_LARGEST = np.finfo(np.float32).max / 2

GRID = (375, 375)
"""(width, height) of the grid on which boxes are found: the image size of the published code."""


class Box(NamedTuple):
    """A rectangle of pixels; `right` and `bottom` are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """Number of pixels."""
        return max(self.right - self.left, 0) * max(self.bottom - self.top, 0)

    def iou(self, other: Box) -> float:
        """Intersection over union with `other`; neither may be empty."""
        common = Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area
        return common / (self.area + other.area - common)


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of an image.

    Attributes:
        image: the pixels.
        box: (left, top, right, bottom) in fractions of the image's width and height.
    """

    image: Image
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxLimits:
    """Which boxes are accepted; the defaults are the published ones.

    Attributes:
        count: maximum number of boxes.
        iou: maximum IoU of a box with each one accepted before.
        frame_iou: the IoU of a box with the whole grid must be less than this: a larger crop would
            repeat the image.
    """

    count: int = 4
    iou: float = 0.5
    frame_iou: float = 0.8


_LIMITS = BoxLimits()


def attention_boxes(
    activation: NDArray[np.floating],
    size: tuple[int, int] = GRID,
    *,
    limits: BoxLimits = _LIMITS,
    variant: Variant = "paper",
) -> list[Box]:
    """Returns boxes around the regions in which a unit is active.

    The map is converted to 8 bits, resized (bicubic) and split by Otsu's threshold. Each connected
    region (8 neighbours) gives a box, unless it is in a hole of another one. Boxes are accepted in
    descending order of area; ties: the topmost, then the leftmost.

    Args:
        activation: [h, w], one unit's map of one image. A constant map gives no box.
        size: (width, height) of the pixel grid that the map covers.
        limits: which boxes are accepted.
        variant: conversion to 8 bits, see the module's docstring.

    Raises:
        ValueError: if the map is not [h, w] or not finite, or the variant is unknown.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    levels = _resized(_to_bytes(activation, variant), size)
    active = levels > threshold_otsu(levels)
    # Filling the holes merges regions inside them with the region around.
    regions = np.asarray(label(ndimage.binary_fill_holes(active), connectivity=2))
    boxes = [
        Box(columns.start, rows.start, columns.stop, rows.stop)
        for rows, columns in ndimage.find_objects(regions)
    ]
    return accepted(boxes, size, limits)


def accepted(boxes: Iterable[Box], size: tuple[int, int], limits: BoxLimits = _LIMITS) -> list[Box]:
    """Returns the boxes within `limits` on a grid of `size`, largest first."""
    frame = Box(0, 0, *size)
    kept: list[Box] = []
    # The box itself is the last key, so that the result does not depend on the order of `boxes`.
    for box in sorted(boxes, key=lambda box: (-box.area, box.top, box.left, box)):
        if len(kept) >= limits.count:
            break
        separate = all(box.iou(other) <= limits.iou for other in kept)
        if separate and box.iou(frame) < limits.frame_iou:
            kept.append(box)
    return kept


def crops(
    image: Image,
    activation: NDArray[np.floating],
    region: Region,
    *,
    size: tuple[int, int] = GRID,
    variant: Variant = "paper",
) -> list[Crop]:
    """Returns the parts of `image` in which the unit is active, largest first.

    Boxes are found on a grid of `size` over `region`, so that neither their number nor the time depends
    on the image's resolution. They are then rounded to at least one pixel of the image. Parts outside of
    the image (padding) are left out, as are duplicates.

    Args:
        image: the image before any preprocessing.
        activation: [h, w], the unit's map of it.
        region: the part of the image that the map covers (`ProbedLayer.region`).
        size: (width, height) of the grid.
        variant: see the module's docstring. "official" ignores `region` and returns crops of `size`;
            the map should be that of the resized image.

    Raises:
        ValueError: as `attention_boxes`.
    """
    official = variant == "official"
    source, covered = (_resized_image(image, size), Region()) if official else (image, region)
    boxes = attention_boxes(activation, size, variant=variant)
    placed = (_placed(box, size, covered, source.size) for box in boxes)
    distinct = list(dict.fromkeys(box for box in placed if box is not None))
    return [_cut(source, box, size if official else None) for box in distinct]


def _to_bytes(activation: NDArray[np.floating], variant: Variant) -> NDArray[np.uint8]:
    """Converts a map [h, w] to 8 bits. In float32, as the published code: float64 rounds differently."""
    if activation.ndim != 2 or not activation.size or not np.isfinite(activation).all():
        raise ValueError(f"a map must be finite and [h, w], not {activation.shape}")
    values = activation.astype(np.float32)
    if variant == "paper":
        if np.abs(values).max() > _HALF_LARGEST:
            values /= 2  # exact, so that only the overflow of high - low is avoided
        low, high = values.min(), values.max()
        values = (values - low) / (high - low) if high > low else np.zeros_like(values)
    elif variant == "official":
        # From 2**32 on all float32 values are multiples of 256, so 0 has the same remainder as a product
        # that may overflow.
        values[np.abs(values) >= 2**32] = 0
    else:
        raise ValueError(f"variant must be paper or official, not {variant!r}")
    # Modulo 256 is what a cast to uint8 does in the published code; scaled maps are not affected.
    return (np.trunc(values * np.float32(255)) % 256).astype(np.uint8)


def _resized(levels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(_resized_image(Image.fromarray(levels), size))


def _resized_image(image: Image, size: tuple[int, int]) -> Image:
    from PIL.Image import Resampling

    return image.resize(size, Resampling.BICUBIC)


def _placed(box: Box, grid: tuple[int, int], region: Region, size: tuple[int, int]) -> Box | None:
    """Converts a box of the grid to pixels of an image of `size`; None if it is outside of the image."""
    columns = _pixels(box.left, box.right, grid[0], region.left, region.right, size[0])
    rows = _pixels(box.top, box.bottom, grid[1], region.top, region.bottom, size[1])
    return Box(columns[0], rows[0], columns[1], rows[1]) if columns and rows else None


def _pixels(
    first: int, last: int, cells: int, low: float, high: float, pixels: int
) -> tuple[int, int] | None:
    """One axis of `_placed`: the range [first, last) of `cells`, which cover [low, high) of the image."""
    start, stop = (pixels * (low + (high - low) * cell / cells) for cell in (first, last))
    if stop <= 0 or start >= pixels:
        return None
    begin = min(max(round(start), 0), pixels - 1)
    return begin, min(max(round(stop), begin + 1), pixels)


def _cut(image: Image, box: Box, size: tuple[int, int] | None) -> Crop:
    width, height = image.size
    part = image.crop(box)
    fractions = (box.left / width, box.top / height, box.right / width, box.bottom / height)
    return Crop(part if size is None else _resized_image(part, size), fractions)
