"""Encodes images for raters, without metadata."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....harness.errors import InputError

_QUALITY = 90  # of JPEG: about 12 kB for a photograph of 224 x 224 pixels


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Returns an image, uint8 [h, w, 3], as JPEG."""
    from PIL import Image

    file = io.BytesIO()
    # An image made of an array has no metadata that could be written.
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Returns an image file as uint8 [h, w, 3], turned as its metadata say.

    Raises:
        InputError: if it is no image.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read image {path}: {error}") from error
