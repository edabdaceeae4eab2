"""Exemplars of units: their top images, with masks of where the unit is active.

Hernandez, Schwettmann, Bau, Bagashvili, Torralba and Andreas, "Natural Language Descriptions of Deep
Visual Features", ICLR 2022, section 3.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...harness.activations.exemplar_maps import read_exemplar_maps
from ...harness.errors import InputError
from ...harness.probe import ProbedLayer, Region
from ..upsample import Upsampling, grid, upsample
from .settings import ExemplarSettings

if TYPE_CHECKING:
    from PIL.Image import Image

_COLUMNS = 64  # units whose maxima are read at once
_MASKS = 64  # masks computed at once, 13 MB of floats at 224 x 224


@dataclass(frozen=True)
class TopImages:
    """The images with the highest spatial maxima of each unit, highest first, ties by image index.

    Attributes:
        units: int64 [n] unit indices.
        indices: int64 [n, count] image indices.
        values: float32 [n, count] spatial maxima.
    """

    units: NDArray[np.int64]
    indices: NDArray[np.int64]
    values: NDArray[np.float32]

    def rows(self, rows: Sequence[int]) -> TopImages:
        """Returns the top images of some of the units, given by their rows."""
        chosen = np.asarray(rows, np.int64)
        return TopImages(self.units[chosen], self.indices[chosen], self.values[chosen])


def top_images(layer: ProbedLayer, units: Sequence[int], count: int = 15) -> TopImages:
    """Finds the (at most) `count` top images of each unit; reads the maxima of several units at a time.

    Raises:
        IndexError: if the layer has no such unit.
        ValueError: if a unit's values are not all finite; names the unit.
    """
    chosen = np.asarray(units, np.int64)
    outside = chosen[(chosen < 0) | (chosen >= layer.n_units)]
    if outside.size:
        raise IndexError(f"unit {outside[0]} of a layer with {layer.n_units} units")
    shape = (len(chosen), min(count, len(layer.maxima)))
    indices, values = np.empty(shape, np.int64), np.empty(shape, np.float32)
    for start in range(0, len(chosen), _COLUMNS):
        block = chosen[start : start + _COLUMNS]
        # Maxima are stored image by image: one strided read per block instead of one per unit.
        columns = np.ascontiguousarray(layer.maxima[:, block].T)
        for row, (unit, column) in enumerate(zip(block.tolist(), columns, strict=True), start):
            if not np.isfinite(column).all():
                raise ValueError(f"the activations of unit {unit} are not all finite")
            indices[row] = _highest(column, shape[1])
            values[row] = column[indices[row]]
    return TopImages(chosen, indices, values)


def _highest(column: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    # Only the values from the count-th highest upwards are sorted, all ties with it included: a stable
    # sort of these keeps the order of the image indices, which a partition does not.
    least = np.partition(column, len(column) - count)[len(column) - count]
    candidates = np.flatnonzero(column >= least)
    return candidates[np.argsort(-column[candidates], kind="stable")[:count]]


def mask_thresholds(layer: ProbedLayer, settings: ExemplarSettings) -> NDArray[np.float64]:
    """Returns float64 [units]: a pixel is in a mask if its up-sampled value exceeds this.

    It is the upper quantile over all M positions of all images, at position (1 - q) M - 1/2 of the sorted
    values, as in the published masks. `ProbedLayer.threshold` has it at (1 - q) (M - 1), at most half a
    position away.

    Raises:
        InputError: if the activations that were kept do not reach down to it.
    """
    # The layer's own quantile, for the fraction that moves it to the published position.
    last = len(layer.maxima) * layer.map_shape[0] * layer.map_shape[1] - 1
    fraction = (settings.quantile * (last + 1) - 0.5) / max(last, 1)
    fraction = min(max(fraction, sys.float_info.min), 1.0)
    try:
        return layer.threshold(fraction)
    except InputError as error:
        # Its message has the fraction; the setting is the quantile.
        raise InputError(
            f"layer {layer.name}: masks with quantile={settings.quantile} need a larger upper fraction "
            "of all positions than was kept",
            f"set activations.quantile_tail={settings.quantile} (this repeats the pass over the images)",
        ) from error


def masks(
    maps: NDArray[np.float32], thresholds: NDArray[np.floating], settings: ExemplarSettings
) -> NDArray[np.bool_]:
    """Up-samples feature maps to the size of exemplar images and marks values above the thresholds.

    Args:
        maps: [n, h, w]; 1 x 1 for layers without spatial extent, whose masks are the whole image.
        thresholds: [n].
        settings: image size and variant.

    Returns:
        bool [n, image_size, image_size].
    """
    import torch

    shape = (settings.image_size, settings.image_size)
    if maps.shape[1:] == (1, 1) and settings.variant == "paper":
        return np.ones((len(maps), *shape), np.bool_)
    mode = "half_pixel" if settings.variant == "paper" else "zero_padded"
    cells = grid(shape, (maps.shape[1], maps.shape[2]), Region(), Upsampling(mode))
    with torch.inference_mode():
        upsampled = upsample(torch.from_numpy(maps), cells)
        return (upsampled > torch.from_numpy(thresholds)[:, None, None]).numpy()


def exemplar_pixels(image: Image, size: int = 224, region: Region | None = None) -> NDArray[np.uint8]:
    """Crops and resizes an image for an exemplar; returns uint8 [3, size, size], RGB.

    Args:
        image: any image.
        size: height and width in pixels.
        region: the part to show; padding beyond the image is black. None: the central square after a
            resize of the shorter side to size * 8 / 7 (256 for 224), as in MILANNOTATIONS.
    """
    image = image.convert("RGB")
    cropped = _central_part(image, size) if region is None else _part(image, size, region)
    return np.ascontiguousarray(np.asarray(cropped).transpose(2, 0, 1))


def _central_part(image: Image, size: int) -> Image:
    from torchvision.transforms import functional

    resized = functional.resize(image, [size * 8 // 7])  # type: ignore[arg-type]
    return functional.center_crop(resized, [size, size])  # type: ignore[return-value]


def _part(image: Image, size: int, region: Region) -> Image:
    from PIL.Image import Resampling

    width, height = image.size
    left, right = region.left * width, region.right * width
    top, bottom = region.top * height, region.bottom * height
    outer = min(0, floor(left)), min(0, floor(top)), max(width, ceil(right)), max(height, ceil(bottom))
    if outer != (0, 0, width, height):
        image = image.crop(outer)  # pads with black: `resize` accepts no box beyond the image
    x, y = outer[:2]
    box = (left - x, top - y, right - x, bottom - y)
    return image.resize((size, size), Resampling.BILINEAR, box=box)


@dataclass(frozen=True)
class ExemplarImage:
    """An image that is an exemplar of some units, with their masks.

    Attributes:
        index: of the image in the probing set.
        pixels: uint8 [3, image_size, image_size].
        rows: int64 [n] rows of the units in the `TopImages`.
        ranks: int64 [n] rank of the image among each unit's top images.
        masks: bool [n, image_size, image_size] where each unit is active.
    """

    index: int
    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    ranks: NDArray[np.int64]
    masks: NDArray[np.bool_]


def stream_exemplars(
    layer: ProbedLayer, top: TopImages, settings: ExemplarSettings, *, after: int = -1
) -> Iterator[ExemplarImage]:
    """Yields the exemplars of all units, image by image in ascending order.

    Maps are read from the cache if the second pass of a run has gathered them. Otherwise the target
    processes each image once, however many units have it among their top images. Only the maps and images
    of one batch are in memory. An image that is an exemplar of very many units is yielded
    several times in a row, each time with other units.

    Args:
        layer: provides the feature maps.
        top: which images are exemplars of which units.
        settings: of masks and images.
        after: only images with a higher index, to resume an interrupted stream.
    """
    thresholds = mask_thresholds(layer, settings)[top.units]
    stream = read_exemplar_maps(layer, top.units.tolist(), top.indices, after=after)
    for index, positions, maps in stream:
        region = None if settings.variant == "official" else layer.region(index)
        pixels = exemplar_pixels(layer.probe.image(index), settings.image_size, region)
        for start in range(0, len(positions), _MASKS):
            block = slice(start, start + _MASKS)
            rows, ranks = np.divmod(positions[block], top.indices.shape[1])
            active = masks(maps[block], thresholds[rows], settings)
            yield ExemplarImage(index, pixels, rows, ranks, active)
