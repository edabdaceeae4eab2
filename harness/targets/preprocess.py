"""Preprocessing: what turns a picture into a target's input, and which part of the picture it shows."""

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
"""How far (as a fraction of the picture) a border may lie from the frame's to count as the frame's."""

_REPEATS = 8  # a preprocessing that flips every other picture at random passes once in 2 ** 7 tries
_TILT = (
    0.0618  # a ramp also rises a little across: lines then round differently, and average to fine levels
)


class ProcessorTransform:
    """A Hugging Face image processor as a function of one picture; goes to worker processes.

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
    """Measures which part of a picture a preprocessing shows, by showing it ramps of colour.

    A preprocessing that resizes and crops maps a ramp (0 at the left border, 1 at the right one) to a
    ramp; the straight line through it says where in the picture the output begins and ends. Borders
    that resizing clamps and padding that shows no picture are left out of the fit. A preprocessing
    that has a method `region(image_size)` of its own is believed.

    Args:
        preprocess: from a picture to [C, H, W].
    """

    def __init__(self, preprocess: Preprocess) -> None:
        self._preprocess = preprocess
        self._known: dict[tuple[int, int], Region] = {}

    def region(self, image_size: tuple[int, int]) -> Region:
        """Returns the part shown of pictures of `image_size` (width, height).

        Fractions of width and height; beyond 0 and 1 where padding is shown.

        Raises:
            InputError: if the preprocessing is no plain resize and crop, or is random.
        """
        size = (int(image_size[0]), int(image_size[1]))
        if size not in self._known:
            own: Callable[..., Region] | None = getattr(self._preprocess, "region", None)
            self._known[size] = self._measure(size) if own is None else own(size)
        return self._known[size]

    def _measure(self, size: tuple[int, int]) -> Region:
        if min(size) < 2:
            raise _unmeasurable(f"a picture of {size[0]} x {size[1]} pixels is too small to measure")
        x, y = _ramp(size, 1), _ramp(size, 0)
        ramps = np.stack([x + _TILT * y, y + _TILT * x]) / (1 + _TILT)
        light = np.ones((1, *x.shape))
        lit, dark = (
            self._seen(np.concatenate([ramps, light])),
            self._seen(1 - np.concatenate([ramps, light])),
        )
        # The difference is free of what rounding to 8 bits adds to both.
        ramps = (lit[:2] - dark[:2] + 1) / 2 * (1 + _TILT)
        places = (ramps - _TILT * ramps[::-1]) / (1 - _TILT**2)
        places[:, lit[2] - dark[2] < 0.9] = np.nan  # padding: nothing of the picture
        left, right = _edges(places[0], size[0])
        top, bottom = _edges(places[1].T, size[1])
        return Region(_snapped(left, 0), _snapped(top, 0), _snapped(right, 1), _snapped(bottom, 1))

    def _seen(self, planes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns [3, h, w]: what the preprocessing makes of three planes [3, H, W] in 0 to 1."""
        black, colours = self._response
        if np.linalg.matrix_rank(colours, tol=0.05 * np.abs(colours).max()) == 3:
            output = self._show(planes) - black[:, None, None]
            return np.einsum("kc,chw->khw", np.linalg.pinv(colours), output)
        grey = colours.sum(1)
        brightest = int(np.abs(grey).argmax())
        seen = [self._show(np.stack([plane] * 3))[brightest] for plane in planes]
        return (np.stack(seen) - black[brightest]) / grey[brightest]

    @cached_property
    def _response(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What black becomes [C], and what each colour of light adds to it [C, 3]."""
        self._check_steady()
        dark = np.zeros((3, 64, 64))
        shown = [self._show(dark)]
        for colour in range(3):
            lit = dark.copy()
            lit[colour] = 1
            shown.append(self._show(lit))
        added = np.stack(shown[1:]) - shown[0]
        light = np.abs(added).sum((0, 1))
        if not light.max() > 1e-6:
            raise _unmeasurable("black and white pictures look alike behind it")
        picture = light > light.max() / 2  # the rest is padding
        black = np.median(shown[0][:, picture], axis=1)
        colours = np.median(added[:, :, picture], axis=2).T
        return black, colours

    def _check_steady(self) -> None:
        size = (64, 64)
        image = np.stack([_ramp(size, 1), _ramp(size, 0), _ramp(size, 1)])
        first = self._show(image)
        for _ in range(_REPEATS - 1):
            again = self._show(image)
            if again.shape != first.shape or not np.array_equal(again, first):
                raise _unmeasurable("it is random: the same picture looks different each time")

    def _show(self, planes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns [C, h, w]: the preprocessing's output for the picture with these colours [3, H, W]."""
        from PIL import Image

        output = self._preprocess(Image.fromarray(_to_bytes(planes)))
        array = np.asarray(output, dtype=np.float64)
        if array.ndim != 3:
            raise _unmeasurable(
                f"it returns the shape {list(array.shape)}, not [channels, height, width]"
            )
        return array


def _ramp(size: tuple[int, int], axis: int) -> NDArray[np.float64]:
    """[H, W] rising along `axis` from the one border (0) to the other (1), by pixel centres."""
    width, height = size
    side = (height, width)[axis]
    line = (np.arange(side) + 0.5) / side
    return np.broadcast_to(line if axis else line[:, None], (height, width))


def _to_bytes(planes: NDArray[np.float64]) -> NDArray[np.uint8]:
    """[H, W, 3] from [3, H, W] in 0 to 1; dithered, so that 256 levels average to fine ones."""
    height, width = planes.shape[1:]
    rows, columns = np.arange(height, dtype=np.uint16), np.arange(width, dtype=np.uint16)
    dither = (193 * rows[:, None] + 146 * columns) & 255
    levels = (planes * (255 * 256)).astype(np.uint16)
    return np.ascontiguousarray(((levels + dither) >> 8).astype(np.uint8).transpose(1, 2, 0))


def _edges(places: NDArray[np.float64], side: int) -> tuple[float, float]:
    """Returns where in the picture the left and right border of the output lie.

    Args:
        places: [h, w], how far to the right in the picture (0 to 1) each output position shows; NaN
            for padding.
        side: the picture's extent in pixels.
    """
    known = ~np.isnan(places)
    position = np.flatnonzero(known.sum(0) > known.sum(0).max() / 2)
    line = np.nanmean(places[:, position], axis=0)
    step = float(np.median(np.abs(np.diff(line)))) if len(line) > 1 else 0.0
    # Lanczos, the widest filter in use, reaches three pixels of the coarser grid beyond the border.
    margin = min(3 * max(step, 1 / side), 0.25)
    inside = (line > margin) & (line < 1 - margin)
    if inside.sum() < 2:
        raise _unmeasurable("too little of the picture is left of it")
    slope, start = np.polyfit(position[inside] + 0.5, line[inside], 1)
    errors = np.abs(places - (slope * (np.arange(places.shape[1]) + 0.5) + start))
    if slope <= 0 or np.nanmax(errors[:, position[inside]]) > max(0.02, 2 / side):
        raise _unmeasurable("it does more than resize and crop")
    return float(start), float(start + slope * places.shape[1])


def _snapped(value: float, border: int) -> float:
    return float(border) if abs(value - border) <= TOLERANCE else value


def _unmeasurable(reason: str) -> InputError:
    return InputError(
        f"which part of a picture the preprocessing shows cannot be measured: {reason}",
        "use a resize and crop without randomness, or give the preprocessing a method "
        "region(image_size) that returns a Region",
    )
