"""Thumbnails of the report: each image is decoded, scaled and stored once."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .illustrations import Box

if TYPE_CHECKING:
    from PIL.Image import Image

    from .probe import ProbedLayer

_QUALITY = 60  # of WebP: about 2 kB for a photograph
_DECODED = 32  # images in memory: several crops are cut from one image


class Thumbnails:
    """The thumbnails of all layers.

    Attributes:
        files: WebP files.
    """

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self._numbers: dict[tuple[str, Box | None], int] = {}
        self._image = lru_cache(_DECODED)(lambda layer, index: layer.probe.image(index))

    def of_image(self, layer: ProbedLayer, index: int, box: Box | None = None) -> int:
        """Returns the number of an image of the probing set.

        Args:
            layer: the layer.
            index: of the image.
            box: the part to show; None: the part that the target saw, scaled to a square.

        Raises:
            InputError: if the image cannot be read.
        """
        if box is not None and box == _seen(layer, index):
            box = None
        key = (layer.probe.locate(index), box)
        if key not in self._numbers:
            image = self._image(layer, index)
            self._add(key, _square(image, layer, index) if box is None else _part(image, box))
        return self._numbers[key]

    def of_file(self, path: Path) -> int | None:
        """Returns the number of an image file; None if it cannot be read."""
        from PIL import Image

        key = (str(path), None)
        if key not in self._numbers:
            try:
                with Image.open(path) as image:
                    self._add(key, image.convert("RGB"))
            # Pillow raises SyntaxError for damaged chunks of PNG files.
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                return None
        return self._numbers[key]

    def _add(self, key: tuple[str, Box | None], image: Image) -> None:
        from ..results.report.images import SIZE

        if image.width > SIZE or image.height > SIZE:
            image.thumbnail((SIZE, SIZE))
        file = io.BytesIO()
        image.save(file, "WEBP", quality=_QUALITY)
        self._numbers[key] = len(self.files)
        self.files.append(file.getvalue())


def _seen(layer: ProbedLayer, index: int) -> Box:
    region = layer.region(index)
    return region.left, region.top, region.right, region.bottom


def _square(image: Image, layer: ProbedLayer, index: int) -> Image:
    """Returns the part of an image that the target saw, SIZE x SIZE."""
    from PIL import Image

    from ..methods.milan.exemplars import exemplar_pixels
    from ..results.report.images import SIZE

    pixels = exemplar_pixels(image, SIZE, layer.region(index))
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _part(image: Image, box: Box) -> Image:
    """Returns a part of an image, given in fractions of its size, of at least one pixel."""
    left, right = round(box[0] * image.width), round(box[2] * image.width)
    top, bottom = round(box[1] * image.height), round(box[3] * image.height)
    return image.convert("RGB").crop((left, top, max(right, left + 1), max(bottom, top + 1)))
