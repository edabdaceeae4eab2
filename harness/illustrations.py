"""Images with masks and captions that show why a method describes a unit as it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in fractions of an image's width and height."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Mask:
    """Pixels of an image, with the way they are drawn.

    Attributes:
        pixels: bool [H, W].
        kind: "unit": an outline of where the unit is active; "label": a coloured area; "visible":
            everything else is darkened.
        extent: the part of the image, as it is shown, that the pixels cover.
    """

    pixels: NDArray[np.bool_]
    kind: Literal["unit", "label", "visible"] = "unit"
    extent: Box = WHOLE


@dataclass(frozen=True, eq=False)
class EvidenceImage:
    """One image of an illustration.

    Attributes:
        source: index of an image of the probing set, or the file of another image.
        caption: what is written below it; plain text, may come from a language model.
        value: the unit's value or response; None if it is not known.
        box: the part of an image of the probing set to show; None: the part that the target saw.
        masks: drawn on the image in this order.
    """

    source: int | Path
    caption: str = ""
    value: float | None = None
    box: Box | None = None
    masks: tuple[Mask, ...] = ()


@dataclass(frozen=True, eq=False)
class Illustration:
    """A titled row of images.

    Attributes:
        title: what they show; plain text.
        images: the images; may be empty.
        note: what a reader should know, such as which images are no longer stored.
    """

    title: str
    images: tuple[EvidenceImage, ...] = ()
    note: str = ""
