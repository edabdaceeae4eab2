"""What the report shows of a method's illustrations: images by number, and masks as SVG paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...harness.illustrations import Mask
from ..pages.svg import outline

_SHORT = 24  # characters of a caption that fit below a thumbnail in two lines


@dataclass(frozen=True)
class ShownMask:
    """A mask as an SVG path over an image.

    Attributes:
        kind: see `Mask`.
        view_box: the shown part of the image in pixels of the mask: left, top, width, height.
        path: around the pixels; for "visible", around all other pixels.
    """

    kind: str
    view_box: str
    path: str


@dataclass(frozen=True)
class ShownEvidence:
    """An image of an illustration.

    Attributes:
        thumbnail: index into `RunImages.thumbnails`.
        caption: plain text.
        value: the unit's value or response; None if it is not known.
        share: the value between the lowest (0) and the highest (1) value of all images; None without one.
        masks: drawn on it, in this order.
    """

    thumbnail: int
    caption: str = ""
    value: float | None = None
    share: float | None = None
    masks: tuple[ShownMask, ...] = ()


@dataclass(frozen=True)
class ShownIllustration:
    """A titled row of images with a note."""

    title: str
    images: tuple[ShownEvidence, ...] = ()
    note: str = ""

    @property
    def long_captions(self) -> bool:
        """Whether a caption is a sentence, which needs more room than a number."""
        return any(len(image.caption) > _SHORT for image in self.images)

    def renumbered(self, numbers: Sequence[int]) -> ShownIllustration:
        """Returns the same with other numbers of thumbnails: `numbers` by the present ones."""
        images = (replace(image, thumbnail=numbers[image.thumbnail]) for image in self.images)
        return replace(self, images=tuple(images))


def shown_mask(mask: Mask) -> ShownMask | None:
    """Returns a mask as a path that covers exactly its pixels; None if there is nothing to draw."""
    height, width = mask.pixels.shape
    path = outline(~mask.pixels if mask.kind == "visible" else mask.pixels)
    if not path:
        return None
    left, top, right, bottom = mask.extent
    columns, rows = width / (right - left), height / (bottom - top)
    view_box = (-left * columns, -top * rows, columns, rows)
    return ShownMask(mask.kind, " ".join(f"{number:.6g}" for number in view_box), path)
