"""Preprocessing: what turns a picture into a target's input, and which part of the picture it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .probe import Region

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Preprocess = Callable[["Image"], "Tensor"]

TOLERANCE = 1e-3
"""How far (as a fraction of the picture) a border may lie from the frame's to count as the frame's."""

_REPEATS = 8  # a preprocessing that flips every other picture at random passes once in 2 ** 7 tries


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
    """Measures which part of a picture a preprocessing shows, by showing it ramps of grey.

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
        self._steady = False

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
        if not self._steady:
            self._check_steady(size)
        black, white = (self._show(np.full(size[::-1], level)) for level in (0.0, 1.0))
        contrast = white - black
        shown = np.abs(contrast) > 0.5 * np.abs(contrast).max()
        if not shown.any():
            raise _unmeasurable("black and white pictures look alike behind it")
        edges: list[float] = []
        for axis, side in ((1, size[0]), (0, size[1])):
            ramp = self._show(_ramp(size, axis))
            places = np.where(shown, (ramp - black) / np.where(shown, contrast, 1), np.nan)
            edges += _edges(_profile(places, axis), side)
        left, right, top, bottom = edges
        return Region(_snapped(left, 0), _snapped(top, 0), _snapped(right, 1), _snapped(bottom, 1))

    def _check_steady(self, size: tuple[int, int]) -> None:
        image = _ramp(size, 1) * 0.5 + _ramp(size, 0) * 0.5
        first = self._show(image)
        for _ in range(_REPEATS - 1):
            again = self._show(image)
            if again.shape != first.shape or not np.array_equal(again, first):
                raise _unmeasurable("it is random: the same picture looks different each time")
        self._steady = True

    def _show(self, grey: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns [H, W], the mean over the channels of what the preprocessing makes of a picture."""
        from PIL import Image

        levels = np.floor(grey * 255 + _dither(grey.shape)).clip(0, 255).astype(np.uint8)
        output = self._preprocess(Image.fromarray(levels).convert("RGB"))
        array = np.asarray(output, dtype=np.float64)
        if array.ndim != 3:
            raise _unmeasurable(
                f"it returns the shape {list(array.shape)}, not [channels, height, width]"
            )
        return array.mean(0)


def _ramp(size: tuple[int, int], axis: int) -> NDArray[np.float64]:
    """[H, W] rising along `axis` from the one border (0) to the other (1), by pixel centres."""
    width, height = size
    side = (height, width)[axis]
    line = (np.arange(side) + 0.5) / side
    return np.broadcast_to(line if axis else line[:, None], (height, width))


def _dither(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """[H, W] in [0, 1), spread evenly over rows and columns: 256 levels then average to fine ones."""
    rows, columns = np.indices(shape)
    return (0.7548776662466927 * rows + 0.5698402909980532 * columns) % 1


def _profile(places: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The mean across `axis`; NaN where padding covers half of a line."""
    across = 1 - axis
    seen = ~np.isnan(places)
    enough = seen.sum(across) >= 0.5 * seen.sum(across).max()
    return np.where(enough, np.nansum(places, across) / np.maximum(seen.sum(across), 1), np.nan)


def _edges(profile: NDArray[np.float64], side: int) -> tuple[float, float]:
    """Returns where in the picture the output's first and last border lie.

    Args:
        profile: the place in the picture (0 to 1) that each output position shows.
        side: the picture's extent in pixels.
    """
    position = np.arange(len(profile)) + 0.5
    with np.errstate(invalid="ignore"):
        step = abs(float(np.nanmedian(np.diff(profile)))) if len(profile) > 1 else 0.0
        # Lanczos, the widest filter in use, reaches three pixels of the coarser grid beyond the border.
        margin = min(3 * max(step, 1 / side), 0.25)
        inside = (profile > margin) & (profile < 1 - margin)
    if inside.sum() < 2:
        raise _unmeasurable("too little of the picture is left of it")
    slope, start = np.polyfit(position[inside], profile[inside], 1)
    error = np.abs(slope * position[inside] + start - profile[inside]).max()
    if slope <= 0 or error > max(0.01, 1.5 / side):
        raise _unmeasurable("it does more than resize and crop")
    return float(start), float(start + slope * len(profile))


def _snapped(value: float, border: int) -> float:
    return float(border) if abs(value - border) <= TOLERANCE else value


def _unmeasurable(reason: str) -> InputError:
    return InputError(
        f"which part of a picture the preprocessing shows cannot be measured: {reason}",
        "use a resize and crop without randomness, or give the preprocessing a method "
        "region(image_size) that returns a Region",
    )
