"""Decodes image files to RGB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ..harness.errors import UnreadableImageError

if TYPE_CHECKING:
    from PIL.Image import Image


_FORMAT = 2  # of decoded pixels; a change of `decode` that changes pixels needs another number

_SMALLEST_SIDE = 2
"""Pixels of width and height. The part that a preprocessing shows of a thinner image cannot be measured
(`RegionGauge`), and resizing its shorter side would need gigabytes."""

_ORIENTATION = 0x0112  # EXIF tag


def decoding_identity(upright: bool = True) -> dict[str, Any]:
    """Returns what decoded pixels depend on besides the file, for fingerprints; JSON-able."""
    return {"format": _FORMAT, "upright": upright}


def decode(source: str | bytes, name: str, *, upright: bool = True) -> Image:
    """Decodes an image file to RGB; a truncated file is an error.

    - Photographs are turned upright, as image viewers show them: cameras store many of them rotated, and
      record that as the orientation in EXIF data. torchvision's `ImageFolder` ignores it.
    - Colour profiles are not applied, as in the training of most networks.
    - Transparent pixels are composited on white, as image viewers do.
    - Of 16-bit greyscale the upper eight bits are kept; palette, CMYK and greyscale become RGB.
    - Of an animation, the first frame is used.
    - An image that is thinner than two pixels, or larger than twice `PIL.Image.MAX_IMAGE_PIXELS` (by
      default 179 million pixels), is refused.

    Args:
        source: a path, or the content of the file.
        name: name of the image in error messages.
        upright: whether to apply the orientation in EXIF data; False where label planes or masks refer
            to the pixels as they are stored. Pillow applies it to TIFF files in any case.

    Raises:
        UnreadableImageError: if the file is missing, truncated, too thin, too large, or not an image.
    """
    from PIL import Image, ImageFile

    # A process-wide flag that some libraries set: the missing part of a truncated file is then filled
    # with grey, without an error.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with (
            _without_size_warning(),
            Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image,
        ):
            if min(image.size) < _SMALLEST_SIDE:
                size = f"{image.width} x {image.height} pixels"
                raise ValueError(f"{size} are too few; {_SMALLEST_SIDE} on each side are needed")
            return _upright(_rgb(image), _orientation(image)) if upright else _rgb(image)
    except FileNotFoundError:
        raise UnreadableImageError(name, "no such file") from None
    # Decoders raise many types of exceptions on damaged files: struct.error, IndexError, SyntaxError, ...
    except Exception as error:
        raise UnreadableImageError(name, _reason(error)) from error


@contextmanager
def _without_size_warning() -> Iterator[None]:
    """Hides Pillow's warning about large images, which names no file; larger ones raise an error."""
    from PIL.Image import DecompressionBombWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DecompressionBombWarning)
        yield


def _orientation(image: Image) -> int:
    """Returns the orientation in EXIF data, 1 to 8; 1 (upright) if there is none or it is damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    # Damaged metadata raise many types of exceptions, but the pixels can be used.
    except Exception:
        return 1


def _upright(image: Image, orientation: int) -> Image:
    """Turns and mirrors an image that was stored with an EXIF orientation."""
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(methods[orientation]) if orientation in methods else image


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
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image file"
    if isinstance(error, Image.DecompressionBombError):
        limit = f" than {2 * Image.MAX_IMAGE_PIXELS:,}" if Image.MAX_IMAGE_PIXELS else ""
        return f"it has more pixels{limit}; scale it down"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
