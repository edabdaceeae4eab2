"""Decodes image files to RGB."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from ..harness.errors import UnreadableImageError

if TYPE_CHECKING:
    from PIL.Image import Image


def decode(source: str | bytes, name: str) -> Image:
    """Decodes an image file to RGB; a truncated file is an error.

    - The orientation in EXIF data is not applied: networks are trained on pixels as they are stored, and
      label planes refer to those.
    - Colour profiles are not applied, for the same reason.
    - Transparent pixels are composited on white, as image viewers do.
    - Of 16-bit greyscale the upper eight bits are kept; palette, CMYK and greyscale become RGB.
    - Of an animation, the first frame is used.

    Args:
        source: a path, or the content of the file.
        name: name of the image in error messages.

    Raises:
        UnreadableImageError: if the file is missing, truncated, or not an image.
    """
    from PIL import Image, ImageFile

    # A process-wide flag that some libraries set: the missing part of a truncated file is then filled
    # with grey, without an error.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            return _rgb(image)
    except FileNotFoundError:
        raise UnreadableImageError(name, "no such file") from None
    # Decoders raise many types of exceptions on damaged files: struct.error, IndexError, SyntaxError, ...
    except Exception as error:
        raise UnreadableImageError(name, _reason(error)) from error


def _rgb(image: Image) -> Image:
    from PIL import Image

    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    # 16-bit greyscale: I;16 and its byte orders, or I, depending on the format and Pillow's version.
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise ValueError("32-bit greyscale has no defined white; convert it to 8 or 16 bits")
        # Pillow clips at 255 when it converts 16 bits, which would make most images white.
        return Image.fromarray((pixels >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point greyscale has no defined white; convert it to 8 or 16 bits")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
