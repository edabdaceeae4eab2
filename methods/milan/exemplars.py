"""A unit's exemplars: its top images, each with a mask of where the unit is active.

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

from ...harness.probe import ProbedLayer, Region
from ..upsample import Upsampling, grid, upsample
from .settings import ExemplarSettings

if TYPE_CHECKING:
    from PIL.Image import Image

_COLUMNS = 64  # units whose maxima are read at once
_MASKS = 64  # masks made at once, 13 MB of floats at 224 x 224


@dataclass(frozen=True)
class TopImages:
    """The images with the highest spatial maximum of each unit, highest first, ties by image index.

    Attributes:
        units: int64 [n] unit indices.
        indices: int64 [n, k] image indices.
        values: float32 [n, k] spatial maxima.
    """

    units: NDArray[np.int64]
    indices: NDArray[np.int64]
    values: NDArray[np.float32]


def top_images(layer: ProbedLayer, units: Sequence[int], count: int = 15) -> TopImages:
    """Finds the (at most) `count` top images of each unit; reads the maxima of several units at a time.

    Raises:
        IndexError: if the layer has no such unit.
        ValueError: if a unit's values are not all finite; names the unit.
    """
    chosen = np.asarray(units, np.int64)
    if chosen.size and (chosen.min() < 0 or chosen.max() >= layer.n_units):
        raise IndexError(f"unit {chosen.max()} (or below 0) of {layer.n_units} units")
    shape = (len(chosen), min(count, len(layer.maxima)))
    indices, values = np.empty(shape, np.int64), np.empty(shape, np.float32)
    for start in range(0, len(chosen), _COLUMNS):
        block = chosen[start : start + _COLUMNS]
        columns = np.ascontiguousarray(layer.maxima[:, block].T)
        for row, (unit, column) in enumerate(zip(block.tolist(), columns, strict=True), start):
            if not np.isfinite(column).all():
                raise ValueError(f"the activations of unit {unit} are not all finite")
            indices[row] = _highest(column, shape[1])
            values[row] = column[indices[row]]
    return TopImages(chosen, indices, values)


def _highest(column: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    least = np.partition(column, len(column) - k)[len(column) - k]
    candidates = np.flatnonzero(column >= least)
    return candidates[np.argsort(-column[candidates], kind="stable")[:k]]


def levels(layer: ProbedLayer, settings: ExemplarSettings) -> NDArray[np.float64]:
    """Returns float64 [units]: the value that a map must exceed for a pixel to be in the mask.

    Of M sorted values it is the one at position (1 - q) M - 1/2, as in the published masks; the layer's
    own quantile is at (1 - q) (M - 1), half a value apart at most.

    Raises:
        InputError: if it lies beyond the tail of the activations that was kept.
    """
    # Asks the layer for the fraction that puts its quantile at the same place.
    last = len(layer.maxima) * layer.map_shape[0] * layer.map_shape[1] - 1
    fraction = (settings.quantile * (last + 1) - 0.5) / max(last, 1)
    return layer.threshold(min(max(fraction, sys.float_info.min), 1.0))


def masks(
    maps: NDArray[np.float32], limits: NDArray[np.floating], settings: ExemplarSettings
) -> NDArray[np.bool_]:
    """Up-samples feature maps to pictures and marks what lies above the limits (strictly).

    Args:
        maps: [n, h, w]; 1 x 1 for layers without spatial extent, whose masks are the whole picture.
        limits: [n].
        settings: side and up-sampling.

    Returns:
        bool [n, side, side].
    """
    import torch

    if maps.shape[1:] == (1, 1) and settings.variant == "paper":
        return np.ones((len(maps), settings.image_size, settings.image_size), np.bool_)
    mode = "half_pixel" if settings.variant == "paper" else "zero_padded"
    shape = (settings.image_size, settings.image_size)
    over = grid(shape, (maps.shape[1], maps.shape[2]), Region(), Upsampling(mode))
    with torch.inference_mode():
        above = upsample(torch.from_numpy(maps), over) > torch.from_numpy(limits)[:, None, None]
    return above.numpy()


def picture(image: Image, side: int = 224, region: Region | None = None) -> NDArray[np.uint8]:
    """Returns what an exemplar shows of an image, uint8 [3, side, side], RGB.

    Args:
        image: any picture.
        side: in pixels.
        region: the part to show; None: the central square after a resize of the shorter side to
            side * 8 / 7 (256 for 224), as in the annotated data sets. Padding beyond an image is black.
    """
    image = image.convert("RGB")
    shown = _central(image, side) if region is None else _part(image, side, region)
    return np.ascontiguousarray(np.asarray(shown).transpose(2, 0, 1))


def _central(image: Image, side: int) -> Image:
    from torchvision.transforms import functional

    resized = functional.resize(image, [side * 8 // 7])  # type: ignore[arg-type]
    return functional.center_crop(resized, [side, side])  # type: ignore[return-value]


def _part(image: Image, side: int, region: Region) -> Image:
    from PIL.Image import Resampling

    width, height = image.size
    left, right = region.left * width, region.right * width
    top, bottom = region.top * height, region.bottom * height
    outer = min(0, floor(left)), min(0, floor(top)), max(width, ceil(right)), max(height, ceil(bottom))
    if outer != (0, 0, width, height):
        image = image.crop(outer)  # what lies beyond the image becomes black
    x, y = outer[:2]
    box = (left - x, top - y, right - x, bottom - y)
    return image.resize((side, side), Resampling.BILINEAR, box=box)


@dataclass(frozen=True)
class Shown:
    """An image as an exemplar of some units.

    Attributes:
        index: of the image in the probing set.
        pixels: uint8 [3, side, side].
        rows: int64 [n] which units, as rows of the `TopImages`.
        ranks: int64 [n] its place among each unit's top images.
        masks: bool [n, side, side] where each of the units is active.
    """

    index: int
    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    ranks: NDArray[np.int64]
    masks: NDArray[np.bool_]


def exemplars(
    layer: ProbedLayer, top: TopImages, settings: ExemplarSettings, *, after: int = -1
) -> Iterator[Shown]:
    """Streams the exemplars of all units, image by image in ascending order.

    Every image is shown to the target once, however many units have it among their top images; of
    the maps and pictures only those of one batch are in memory. An image that is an exemplar of very
    many units comes several times in a row, each time for other units.

    Args:
        layer: whose maps are up-sampled.
        top: which images are exemplars of which units.
        settings: of the masks and pictures.
        after: only images with a higher index, to go on where an earlier stream broke off.
    """
    limits = levels(layer, settings)[top.units]
    order = np.argsort(top.indices, axis=None, kind="stable")
    wanted, starts = np.unique(top.indices.ravel()[order], return_index=True)
    places = dict(zip(wanted.tolist(), np.split(order, starts)[1:], strict=True))
    for batch in layer.maps(wanted[wanted > after].tolist()):
        for index, maps in zip(batch.indices.tolist(), batch.maps, strict=True):
            region = None if settings.variant == "official" else layer.region(index)
            pixels = picture(layer.probe.image(index), settings.image_size, region)
            for start in range(0, len(places[index]), _MASKS):
                rows, ranks = np.divmod(places[index][start : start + _MASKS], top.indices.shape[1])
                active = masks(maps[top.units[rows]], limits[rows], settings)
                yield Shown(index, pixels, rows, ranks, active)
