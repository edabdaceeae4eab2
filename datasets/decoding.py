"""Image files to RGB pictures, whole or not at all."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from ..harness.errors import UnreadableImageError

if TYPE_CHECKING:
    from PIL.Image import Image


def decode(source: str | bytes, name: str) -> Image:
    """Decodes an image file completely, as RGB.

    - The orientation in EXIF data is not applied: the networks were trained on pixels as they are
      stored, and label planes refer to those.
    - Colour profiles are not applied, for the same reason.
    - Transparent pixels are shown over white, as a viewer of pictures would.
    - 16-bit greyscale keeps its upper eight bits; palette, CMYK and greyscale become RGB.
    - Of an animation, the first picture is taken.

    Args:
        source: a path, or the content of the file.
        name: what the image is called in an error.

    Raises:
        UnreadableImageError: if it is missing, cut off, or no image.
    """
    from PIL import Image, ImageFile

    # Process-wide, and some libraries switch it on: then the missing part of a file is grey, silently.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            return _rgb(image)
    except FileNotFoundError:
        raise UnreadableImageError(name, "no such file") from None
    except (
        Exception
    ) as error:  # damaged data makes decoders raise anything: struct.error, IndexError, ...
        raise UnreadableImageError(name, _reason(error)) from error


def _rgb(image: Image) -> Image:
    from PIL import Image

    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode.startswith("I"):  # I;16 and its byte orders; I is how some versions open 16 bits
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise ValueError("32-bit greyscale has no defined white; convert it to 8 or 16 bits")
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
