"""Writes the images that raters see, under opaque names and without metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..activations.exemplar_maps import exemplar_consumers, read_exemplar_maps
from ..activations.map_pass import run_map_pass
from ..errors import InputError, at_least, one_of
from ..files import explained
from ..probe import Region
from ..progress import Progress
from ..records import UnitId
from ..report import active_masks, region_thresholds, upsampling

if TYPE_CHECKING:
    from ..finished_run import FinishedRun
    from ..probe import ProbedLayer

Regions = Literal["none", "outline", "crop"]

_GAP = 4  # pixels between the images of a contact sheet
_COLUMNS = 5  # of a contact sheet


@dataclass(frozen=True)
class ImageSettings:
    """How the exemplars of a unit are shown.

    Attributes:
        count: number of exemplars per unit.
        size: height and width of an image in pixels.
        regions: "none": the part of the image that the target saw; "outline": with a line around the
            region where the unit is active; "crop": only this region.
        sheet: whether all exemplars of a unit are one image.
    """

    count: int = 10
    size: int = 224
    regions: Regions = "none"
    sheet: bool = False

    def __post_init__(self) -> None:
        at_least("--images", self.count, 1)
        at_least("--image-size", self.size, 32)
        if self.size > 1024:
            raise InputError(f"--image-size {self.size} must be at most 1024")
        one_of("--regions", self.regions, ("none", "outline", "crop"))


class ImageFolder:
    """Writes images as JPEG files that are named by their content, each once.

    Args:
        path: the folder.
        size: height and width of an image in pixels.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self._written: dict[tuple[str, object], Path] = {}

    def add(self, layer: ProbedLayer, index: int) -> Path:
        """Writes the part of an image that the target saw; returns the file."""
        key = (layer.probe.locate(index), layer.region(index))
        if key not in self._written:
            self._written[key] = self.write(self.pixels(layer, index))
        return self._written[key]

    def pixels(self, layer: ProbedLayer, index: int, part: Region | None = None) -> NDArray[np.uint8]:
        """Returns what the target saw of an image, or a part of that: uint8 [size, size, 3]."""
        from ...methods.milan.exemplars import exemplar_pixels

        region = layer.region(index)
        if part is not None:
            width, height = region.right - region.left, region.bottom - region.top
            region = Region(
                region.left + part.left * width,
                region.top + part.top * height,
                region.left + part.right * width,
                region.top + part.bottom * height,
            )
        pixels = exemplar_pixels(layer.probe.image(index), self.size, region)
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))

    def write(self, pixels: NDArray[np.uint8]) -> Path:
        """Writes an image, uint8 [h, w, 3]; returns the file."""
        from ...results.studies.design.image_files import jpeg
        from ...results.studies.study import image_name

        content = jpeg(pixels)
        path = self.path / image_name(content, ".jpg")
        with explained(path):
            path.write_bytes(content)
        return path


def write_exemplars(
    run: FinishedRun,
    layers: Mapping[str, ProbedLayer],
    units: Sequence[UnitId],
    settings: ImageSettings,
    folder: Path,
    progress: Progress | None = None,
) -> dict[UnitId, tuple[Path, ...]]:
    """Writes the exemplars of units and returns the files of each unit, strongest first.

    Args:
        run: the run of the layers.
        layers: the layers.
        units: the units.
        settings: how they are shown.
        folder: an existing folder.
        progress: shows the number of units.

    Raises:
        InputError: if an image cannot be read, or a region cannot be computed.
    """
    progress = progress or Progress("none")
    regions = _Regions(run, layers, units, settings, progress)
    images = ImageFolder(folder, settings.size)
    files: dict[UnitId, tuple[Path, ...]] = {}
    with progress.task("images of units", len(units)) as advance:
        for unit in units:
            layer, chosen = layers[unit.layer], regions.chosen[unit]
            masks = regions.masks(unit)
            if masks is None and not settings.sheet:
                # An image that several units share is decoded once.
                files[unit] = tuple(images.add(layer, index) for index in chosen)
            else:
                shown = [
                    images.pixels(layer, index)
                    if masks is None
                    else with_region(images, layer, index, masks[rank], settings.regions)
                    for rank, index in enumerate(chosen)
                ]
                sheets = [contact_sheet(shown)] if settings.sheet else shown
                files[unit] = tuple(images.write(pixels) for pixels in sheets)
            advance()
    return files


class _Regions:
    """The exemplars of units, and where the units are active in them.

    Attributes:
        chosen: the indices of the exemplars of each unit.
    """

    def __init__(
        self,
        run: FinishedRun,
        layers: Mapping[str, ProbedLayer],
        units: Sequence[UnitId],
        settings: ImageSettings,
        progress: Progress,
    ) -> None:
        self._size, self._how = settings.size, upsampling(run)
        self.chosen: dict[UnitId, list[int]] = {
            unit: layers[unit.layer].exemplars(unit.index, settings.count).indices.tolist()
            for unit in units
        }
        self._maps: dict[UnitId, NDArray[np.float32]] = {}
        self._thresholds: dict[str, NDArray[np.float64]] = {}
        if settings.regions == "none":
            return
        of_layers: dict[str, list[UnitId]] = {}
        for unit in units:
            # A map of one cell has no region: the whole image is shown.
            if layers[unit.layer].map_shape != (1, 1):
                of_layers.setdefault(unit.layer, []).append(unit)
        consumers = [
            consumer
            for name, chosen in of_layers.items()
            for consumer in exemplar_consumers(
                layers[name], [unit.index for unit in chosen], self._images(chosen)
            )
        ]
        run_map_pass(consumers, progress)
        for name, chosen in of_layers.items():
            self._thresholds[name] = region_thresholds(run, layers[name])
            self._read(layers[name], chosen)

    def masks(self, unit: UnitId) -> NDArray[np.bool_] | None:
        """Returns bool [exemplars, size, size]: the active regions; None if they are not shown."""
        if unit not in self._maps:
            return None
        maps = self._maps[unit]
        thresholds = np.full(len(maps), self._thresholds[unit.layer][unit.index])
        return active_masks(maps, thresholds, (self._size, self._size), self._how)

    def _images(self, units: Sequence[UnitId]) -> NDArray[np.int64]:
        return np.array([self.chosen[unit] for unit in units], np.int64)

    def _read(self, layer: ProbedLayer, units: Sequence[UnitId]) -> None:
        images = self._images(units)
        maps = np.empty((*images.shape, *layer.map_shape), np.float32)
        for _, positions, values in read_exemplar_maps(layer, [unit.index for unit in units], images):
            maps[np.divmod(positions, images.shape[1])] = values
        self._maps.update(zip(units, maps, strict=True))


def with_region(
    images: ImageFolder, layer: ProbedLayer, index: int, mask: NDArray[np.bool_], regions: Regions
) -> NDArray[np.uint8]:
    """Returns an image with a line around a region, or only the region: uint8 [size, size, 3].

    Args:
        images: the folder that the image is for.
        layer: the layer.
        index: index of the image.
        mask: bool [size, size], the region. Without a border the image is shown.
        regions: "outline" or "crop".
    """
    if not mask.any() or mask.all():
        return images.pixels(layer, index)
    if regions == "outline":
        return outlined(images.pixels(layer, index), mask)
    return images.pixels(layer, index, square_around(mask))


def outlined(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Returns an image, uint8 [h, w, 3], with a line around a region, white with black edges."""
    from scipy.ndimage import distance_transform_edt

    # Distance of each pixel to the border between region and rest, which is half a pixel outside.
    inside, outside = distance_transform_edt(np.pad(mask, 1, mode="edge")), distance_transform_edt(~mask)
    assert isinstance(inside, np.ndarray)
    assert isinstance(outside, np.ndarray)
    distance = np.maximum(inside[1:-1, 1:-1], outside)
    result = pixels.copy()
    # Visible on every background: two black lines with a white line of two pixels between them.
    result[distance <= 2] = 0
    result[distance <= 1] = 255
    return result


def square_around(mask: NDArray[np.bool_]) -> Region:
    """Returns the smallest square around a region with a margin, at least a quarter of the image wide.

    It is moved to be inside the image.
    """
    size = len(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    # A margin of a tenth on each side shows what the region is part of.
    side = min(size, max(1.2 * max(bottom - top, right - left), size / 4)) / size
    x = min(max((left + right) / 2 / size - side / 2, 0.0), 1 - side)
    y = min(max((top + bottom) / 2 / size - side / 2, 0.0), 1 - side)
    return Region(x, y, x + side, y + side)


def contact_sheet(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Returns images of equal size in rows of five on white: uint8 [h, w, 3]."""
    columns = min(_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    size = images[0].shape[0]
    step = size + _GAP
    sheet = np.full((rows * step - _GAP, columns * step - _GAP, 3), 255, np.uint8)
    for number, image in enumerate(images):
        y, x = (number // columns) * step, (number % columns) * step
        sheet[y : y + size, x : x + size] = image
    return sheet
