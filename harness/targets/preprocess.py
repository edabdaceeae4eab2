"""Preprocessing of images, and measuring which part of an image it shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..probe import Region

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Preprocess = Callable[["Image"], "Tensor"]

TOLERANCE = 1e-3
"""Distance (as a fraction of the image) below which a measured border is taken for the image's border."""

# A preprocessing that flips images at random with probability 1/2 goes unnoticed once in 2 ** 7 times.
_REPEATS = 8

# Slope of a ramp across its direction. Neighbouring lines then round to 8 bits at different positions, so
# that their average is finer than 8 bits.
_TILT = 0.0618


class ProcessorTransform:
    """A Hugging Face image processor as a function of one image; can be sent to worker processes.

    Args:
        processor: as `AutoImageProcessor.from_pretrained` returns it.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, image: Image) -> Tensor:
        """Returns [C, H, W]."""
        return self.processor(images=image, return_tensors="pt")["pixel_values"][0]

    @property
    def identity(self) -> dict[str, Any]:
        """The processor's class and settings."""
        return {"class": type(self.processor).__qualname__, **self.processor.to_dict()}


class RegionGauge:
    """Measures which part of an image a preprocessing shows, by applying it to ramps of colour.

    A preprocessing that resizes and crops maps a ramp (0 at the left border, 1 at the right one) to a
    ramp; the straight line fitted to it says where in the image the output begins and ends. The borders,
    which resizing distorts, and padding are left out of the fit. If the preprocessing has a method
    `region(image_size)`, that is used instead.

    Args:
        preprocess: from an image to [C, H, W].
    """

    def __init__(self, preprocess: Preprocess) -> None:
        self._preprocess = preprocess
        self._regions: dict[tuple[int, int], Region] = {}

    def region(self, image_size: tuple[int, int]) -> Region:
        """Returns the part that is shown of images of `image_size` (width, height).

        Fractions of width and height; below 0 or above 1 where padding is shown.

        Raises:
            InputError: if the preprocessing is not a plain resize and crop, or is random.
        """
        size = (int(image_size[0]), int(image_size[1]))
        if size not in self._regions:
            method: Callable[..., Region] | None = getattr(self._preprocess, "region", None)
            self._regions[size] = self._measure(size) if method is None else method(size)
        return self._regions[size]

    def _measure(self, size: tuple[int, int]) -> Region:
        if min(size) < 2:
            raise _unmeasurable(f"an image of {size[0]} x {size[1]} pixels is too small to measure")
        x, y = _ramp(size, 1), _ramp(size, 0)
        ramps = np.stack([x + _TILT * y, y + _TILT * x]) / (1 + _TILT)
        planes = np.concatenate([ramps, np.ones((1, *x.shape))])
        bright, dark = self._shown(planes), self._shown(1 - planes)
        # The difference is free of the offset that rounding to 8 bits adds to both.
        ramps = (bright[:2] - dark[:2] + 1) / 2 * (1 + _TILT)
        # Solves the two equations of the tilted ramps for x and y.
        coordinates = (ramps - _TILT * ramps[::-1]) / (1 - _TILT**2)
        # White and black differ everywhere except in padding, which shows nothing of the image.
        coordinates[:, bright[2] - dark[2] < 0.9] = np.nan
        left, right = _edges(coordinates[0], size[0])
        top, bottom = _edges(coordinates[1].T, size[1])
        return Region(_snapped(left, 0), _snapped(top, 0), _snapped(right, 1), _snapped(bottom, 1))

    def _shown(self, planes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns [3, h, w]: three planes [3, H, W] in 0 to 1 after resizing and cropping alone.

        Shows them as the colours of one image and undoes the (linear) change of colours, if it can be
        undone; else, for example behind a conversion to grey, shows one plane after the other.
        """
        black, colours = self._response
        if np.linalg.matrix_rank(colours, tol=0.05 * np.abs(colours).max()) == 3:
            output = self._apply(planes) - black[:, None, None]
            return np.einsum("kc,chw->khw", np.linalg.pinv(colours), output)
        grey = colours.sum(1)
        channel = int(np.abs(grey).argmax())
        outputs = [self._apply(np.stack([plane] * 3))[channel] for plane in planes]
        return (np.stack(outputs) - black[channel]) / grey[channel]

    @cached_property
    def _response(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The output for black [C], and what full red, green and blue add to it [C, 3]."""
        self._check_deterministic()
        black_image = np.zeros((3, 64, 64))
        outputs = [self._apply(black_image)]
        for colour in range(3):
            image = black_image.copy()
            image[colour] = 1
            outputs.append(self._apply(image))
        added = np.stack(outputs[1:]) - outputs[0]
        light = np.abs(added).sum((0, 1))
        if not light.max() > 1e-6:
            raise _unmeasurable("its outputs for black and white images are the same")
        inside = light > light.max() / 2  # the rest is padding
        black = np.median(outputs[0][:, inside], axis=1)
        colours = np.median(added[:, :, inside], axis=2).T
        return black, colours

    def _check_deterministic(self) -> None:
        size = (64, 64)
        image = np.stack([_ramp(size, 1), _ramp(size, 0), _ramp(size, 1)])
        first = self._apply(image)
        for _ in range(_REPEATS - 1):
            again = self._apply(image)
            if again.shape != first.shape or not np.array_equal(again, first):
                raise _unmeasurable("it is random: its outputs for the same image differ")

    def _apply(self, planes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns [C, h, w]: the preprocessing's output for the image with these colours [3, H, W]."""
        from PIL import Image

        output = self._preprocess(Image.fromarray(_to_bytes(planes)))
        array = np.asarray(output, dtype=np.float64)
        if array.ndim != 3:
            raise _unmeasurable(
                f"it returns the shape {list(array.shape)}, not [channels, height, width]"
            )
        return array


def _ramp(size: tuple[int, int], axis: int) -> NDArray[np.float64]:
    """Returns [H, W] that rises along `axis` from one border (0) to the other (1), at pixel centres."""
    width, height = size
    side = (height, width)[axis]
    line = (np.arange(side) + 0.5) / side
    return np.broadcast_to(line if axis else line[:, None], (height, width))


def _to_bytes(planes: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Returns [H, W, 3] from [3, H, W] in 0 to 1; dithered, so that averages are finer than 8 bits."""
    height, width = planes.shape[1:]
    rows, columns = np.arange(height, dtype=np.uint16), np.arange(width, dtype=np.uint16)
    # Ordered dithering: the thresholds 0 to 255 are spread evenly over neighbouring pixels.
    dither = (193 * rows[:, None] + 146 * columns) & 255
    levels = (planes * (255 * 256)).astype(np.uint16)
    return np.ascontiguousarray(((levels + dither) >> 8).astype(np.uint8).transpose(1, 2, 0))


def _edges(coordinates: NDArray[np.float64], side: int) -> tuple[float, float]:
    """Returns the positions in the image (0 to 1) of the left and right border of the output.

    Args:
        coordinates: [h, w], the horizontal position in the image (0 to 1) that each output position
            shows; NaN for padding.
        side: width of the image in pixels.
    """
    filled = ~np.isnan(coordinates)
    position = np.flatnonzero(filled.sum(0) > filled.sum(0).max() / 2)
    line = np.nanmean(coordinates[:, position], axis=0)
    step = float(np.median(np.abs(np.diff(line)))) if len(line) > 1 else 0.0
    # Lanczos, the widest filter in use, reaches three pixels of the coarser grid beyond the border.
    margin = min(3 * max(step, 1 / side), 0.25)
    inside = (line > margin) & (line < 1 - margin)
    if inside.sum() < 2:
        raise _unmeasurable("too little of the image is left after it")
    slope, start = np.polyfit(position[inside] + 0.5, line[inside], 1)
    errors = np.abs(coordinates - (slope * (np.arange(coordinates.shape[1]) + 0.5) + start))
    # Nearest-neighbour resizing and dithering move single positions by about a pixel.
    if slope <= 0 or np.nanmax(errors[:, position[inside]]) > max(0.02, 2 / side):
        raise _unmeasurable("it does more than resize and crop")
    return float(start), float(start + slope * coordinates.shape[1])


def _snapped(value: float, border: int) -> float:
    return float(border) if abs(value - border) <= TOLERANCE else value


def _unmeasurable(reason: str) -> InputError:
    return InputError(
        f"cannot measure which part of an image the preprocessing shows: {reason}",
        "use a resize and crop without randomness, or give the preprocessing a method "
        "region(image_size) that returns a Region",
    )
