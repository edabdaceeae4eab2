"""Attention cropping: the parts of a unit's top images in which the unit is active (step 1).

Where the published code departs from what the paper describes, `variant="official"` follows the code:

| | paper (default) | official |
|---|---|---|
| map to 8 bits | scaled from its own range to 0 ... 255 | times 255, wrapping around modulo 256 |
| map belongs to | the part that the preprocessing showed | all of the picture |
| cut from | the picture at its own resolution | the picture squashed to `size`, and squashed again |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...harness.probe import Region

if TYPE_CHECKING:
    from PIL.Image import Image

Variant = Literal["paper", "official"]

GRID = (375, 375)
"""(width, height) on which boxes are found: the published size of the pictures."""


class Box(NamedTuple):
    """A rectangle of pixels; `right` and `bottom` lie outside of it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """Number of pixels."""
        return max(self.right - self.left, 0) * max(self.bottom - self.top, 0)

    def iou(self, other: Box) -> float:
        """Intersection over union with `other`; neither is empty."""
        common = Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area
        return common / (self.area + other.area - common)


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of a picture.

    Attributes:
        image: the part.
        box: (left, top, right, bottom) in fractions of the picture's width and height.
    """

    image: Image
    box: tuple[float, float, float, float]


def attention_boxes(
    activation: NDArray[np.floating],
    size: tuple[int, int] = GRID,
    *,
    max_boxes: int = 4,
    max_iou: float = 0.5,
    max_frame_iou: float = 0.8,
    variant: Variant = "paper",
) -> list[Box]:
    """Boxes around the places where a unit is active.

    The map is brought to 8 bits, resized (bicubic) and split by Otsu's threshold; each connected region
    (8 neighbours) that does not lie in a hole of another one gives a box. Boxes are taken by area,
    largest first; of equally large ones the topmost, then the leftmost, comes first.

    Args:
        activation: [h, w], one unit's map of one image. A constant one gives no box.
        size: (width, height) of the pixel grid that the map covers.
        max_boxes: so many boxes at most.
        max_iou: a box may overlap each one taken before it by at most this much.
        max_frame_iou: a box must overlap the whole grid by less than this.
        variant: how the map becomes 8 bits, see the head of this file.

    Raises:
        ValueError: if the map is not [h, w] or not finite, or the variant is unknown.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    shown = _resized(_to_bytes(activation, variant), size)
    active = shown > threshold_otsu(shown)
    regions = np.asarray(label(ndimage.binary_fill_holes(active), connectivity=2))
    boxes = [
        Box(columns.start, rows.start, columns.stop, rows.stop)
        for rows, columns in ndimage.find_objects(regions)
    ]
    return accepted(boxes, size, max_boxes=max_boxes, max_iou=max_iou, max_frame_iou=max_frame_iou)


def accepted(
    boxes: Iterable[Box],
    size: tuple[int, int],
    *,
    max_boxes: int = 4,
    max_iou: float = 0.5,
    max_frame_iou: float = 0.8,
) -> list[Box]:
    """Goes through `boxes`, largest first, and keeps what `attention_boxes` describes."""
    frame = Box(0, 0, *size)
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda box: (-box.area, box.top, box.left, box)):
        if len(kept) >= max_boxes:
            break
        apart = all(box.iou(other) <= max_iou for other in kept)
        if apart and box.iou(frame) < max_frame_iou:
            kept.append(box)
    return kept


def crops(
    image: Image,
    activation: NDArray[np.floating],
    region: Region,
    *,
    size: tuple[int, int] = GRID,
    max_boxes: int = 4,
    max_iou: float = 0.5,
    max_frame_iou: float = 0.8,
    variant: Variant = "paper",
) -> list[Crop]:
    """Cuts out the parts of `image` in which the unit is active, largest first.

    Boxes are found on a grid of `size` laid over `region`, so that neither their number nor the time
    depends on the picture's resolution; then they are rounded to pixels of the picture, at least one.
    What lies beyond the picture (padding) is left out, and so is a part that was cut out before.

    Args:
        image: the picture as it is, before any preprocessing.
        activation: [h, w], the unit's map of it.
        region: the part of the picture that the map covers (`ProbedLayer.region`).
        size: (width, height) of the grid.
        max_boxes: see `attention_boxes`.
        max_iou: see `attention_boxes`.
        max_frame_iou: see `attention_boxes`; the frame is `region`.
        variant: see the head of this file. The official one ignores `region` and returns pictures
            of `size`; the map should be that of the squashed picture.

    Raises:
        ValueError: as `attention_boxes`.
    """
    official = variant == "official"
    picture, covered = (_squashed(image, size), Region()) if official else (image, region)
    boxes = attention_boxes(
        activation,
        size,
        max_boxes=max_boxes,
        max_iou=max_iou,
        max_frame_iou=max_frame_iou,
        variant=variant,
    )
    placed = (_placed(box, size, covered, picture.size) for box in boxes)
    parts = list(dict.fromkeys(box for box in placed if box is not None))
    return [_cut(picture, box, size if official else None) for box in parts]


def _to_bytes(activation: NDArray[np.floating], variant: Variant) -> NDArray[np.uint8]:
    """The map [h, w] in 8 bits; in float32 throughout, as the published code computes."""
    if activation.ndim != 2 or not activation.size or not np.isfinite(activation).all():
        raise ValueError(f"a map must be finite and [h, w], not {activation.shape}")
    values = activation.astype(np.float32)
    if variant == "paper":
        low, high = values.min(), values.max()
        values = (values - low) / (high - low) if high > low else np.zeros_like(values)
    elif variant != "official":
        raise ValueError(f"variant must be paper or official, not {variant!r}")
    return (np.trunc(values * np.float32(255)) % 256).astype(np.uint8)


def _resized(levels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(_squashed(Image.fromarray(levels), size))


def _squashed(image: Image, size: tuple[int, int]) -> Image:
    from PIL.Image import Resampling

    return image.resize(size, Resampling.BICUBIC)


def _placed(box: Box, grid: tuple[int, int], region: Region, picture: tuple[int, int]) -> Box | None:
    """Returns the pixels of the picture behind a box of the grid; None if there are none."""
    across = _pixels(box.left, box.right, grid[0], region.left, region.right, picture[0])
    down = _pixels(box.top, box.bottom, grid[1], region.top, region.bottom, picture[1])
    return Box(across[0], down[0], across[1], down[1]) if across and down else None


def _pixels(
    first: int, last: int, cells: int, low: float, high: float, pixels: int
) -> tuple[int, int] | None:
    """One side of `_placed`: cells first ... last of `cells`, which cover [low, high) of the picture."""
    start, stop = (pixels * (low + (high - low) * cell / cells) for cell in (first, last))
    if stop <= 0 or start >= pixels:
        return None
    begin = min(max(round(start), 0), pixels - 1)
    return begin, min(max(round(stop), begin + 1), pixels)


def _cut(picture: Image, box: Box, size: tuple[int, int] | None) -> Crop:
    width, height = picture.size
    part = picture.crop(box)
    place = (box.left / width, box.top / height, box.right / width, box.bottom / height)
    return Crop(part if size is None else _squashed(part, size), place)
