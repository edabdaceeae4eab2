"""Painting flat shapes, and at the same time writing down what each of them is.

Shapes are polygons in unit coordinates (x to the right, y down, the picture is [0, 1] x [0, 1]). They
are filled with this file's own scan-line rule, which uses nothing but IEEE additions, products and
quotients: the drawing rules of image libraries change at the edges from one version to the next, and
the world must look the same everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .textures import Weave
from .words import COLOURS, NUMBER

Points = NDArray[np.float64]
Plane = NDArray[np.uint8]

SIZE = 96  # side of a picture, pixels
SUPER = 2  # canvas pixels per picture pixel
LABELS = 48  # side of the label planes: half the picture, as in Broden


@dataclass(frozen=True)
class Coat:
    """The paint of a surface: its colour and, on a patterned surface, the weave and the second colour."""

    colour: str
    rgb: NDArray[np.float32]
    weave: Weave | None = None
    ink: Coat | None = None


def mix(
    colour: str, rng: np.random.Generator, weave: Weave | None = None, ink: Coat | None = None
) -> Coat:
    """Returns a coat of a basic colour: one of its shades, a little off."""
    shade = COLOURS[colour][int(rng.integers(len(COLOURS[colour])))]
    rgb = np.asarray(shade) * rng.uniform(0.92, 1.05) + rng.uniform(-8, 8, size=3)
    return Coat(colour, np.clip(rgb, 0, 255).astype(np.float32), weave, ink)


class Canvas:
    """A picture in the making.

    Every pixel holds the number of the stroke that covers it, and of the two strokes that this one lies
    on as a detail; colours and labels are looked up when the picture is finished.
    """

    def __init__(self) -> None:
        self.side = SIZE * SUPER
        self._strokes = np.zeros((3, self.side, self.side), np.uint16)
        self._rgb: list[NDArray[np.float32]] = [np.zeros(3, np.float32)]
        self._labels = [[0, 0, 0, 0]]

    def fill(
        self, points: Points, coat: Coat, thing: str, part: str | None = None, detail: bool = False
    ) -> None:
        """Paints a polygon over what is there.

        Args:
            points: float [n, 2] corners in unit coordinates.
            coat: what it is painted with.
            thing: the object that it belongs to.
            part: the part of the object that it is.
            detail: it lies on another part (a window on a wall), which stays annotated beneath it;
                otherwise it hides what it covers.
        """
        area, inside = rasterise(points * self.side, self.side)
        top, middle, bottom = self._strokes[(slice(None), *area)]
        np.copyto(bottom, middle if detail else 0, where=inside)
        np.copyto(middle, top if detail else 0, where=inside)
        texture = coat.weave.texture if coat.weave else None
        np.copyto(top, self._stroke(coat, thing, texture, part), where=inside)
        if coat.weave and coat.ink:
            y, x = np.ogrid[area]
            inked = inside & coat.weave(x + 0.5, y + 0.5)
            np.copyto(top, self._stroke(coat.ink, thing, texture, part), where=inked)

    def _stroke(self, coat: Coat, thing: str, texture: str | None, part: str | None) -> np.uint16:
        words = (coat.colour, thing, texture, part)
        self._rgb.append(coat.rgb)
        self._labels.append([NUMBER[word] if word else 0 for word in words])
        return np.uint16(len(self._rgb) - 1)

    def pixels(self) -> NDArray[np.float32]:
        """Returns the picture, float32 [SIZE, SIZE, 3], 0 to 255, averaged down from the canvas."""
        rgb, shown = np.stack(self._rgb), self._strokes[0]
        corners = (rgb[shown[y::SUPER, x::SUPER]] for y in range(SUPER) for x in range(SUPER))
        return np.sum(list(corners), axis=0) / np.float32(SUPER**2)

    def labels(self) -> tuple[Plane, Plane, Plane, Plane]:
        """Returns numbers of words: colour, object, texture [LABELS, LABELS], and parts [3, ...]."""
        step = self.side // LABELS
        middle = slice(step // 2, None, step)
        found = np.array(self._labels, np.uint8)[self._strokes[:, middle, middle]]
        colour, thing, texture, _ = found[0].transpose(2, 0, 1)
        parts = found[..., 3] * (found[..., 1] == thing)
        return colour, thing, texture, parts


def rasterise(points: Points, side: int) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Returns the window of a side x side raster that a polygon touches, and its pixels inside.

    A pixel is inside if its centre is, by the even-odd rule.

    Args:
        points: float [n, 2] corners (x, y) in pixels.
        side: width and height of the raster.
    """
    # A grid of 1/16 pixel: the last bits of a sine do not reach the picture.
    points = np.rint(points * 16) / 16
    (x0, y0), (x1, y1) = points.T, np.concatenate([points[1:], points[:1]]).T
    left, top = (min(max(math.floor(v), 0), side) for v in points.min(axis=0))
    right, bottom = (min(max(math.ceil(v), 0), side) for v in points.max(axis=0))
    middles = np.arange(top, bottom)[:, None] + 0.5
    row, edge = np.nonzero((y0 <= middles) != (y1 <= middles))
    crossing = x0[edge] + (middles[row, 0] - y0[edge]) * (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    column = np.minimum(np.maximum(np.ceil(crossing - 0.5), left), right).astype(np.intp) - left
    turns = np.zeros((bottom - top, right - left + 1), np.uint8)
    np.add.at(turns, (row, column), 1)
    inside = (np.cumsum(turns, axis=1, dtype=np.uint8)[:, :-1] & 1).astype(bool)
    return (slice(top, bottom), slice(left, right)), inside


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 360.0) -> Points:
    """Returns an ellipse, or its segment between two angles (degrees, clockwise from the right)."""
    corners = 24
    angle = np.radians(np.linspace(start, end, corners, endpoint=end - start < 360))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """Returns an upright rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def bar(start: tuple[float, float], end: tuple[float, float], width: float) -> Points:
    """Returns a straight bar of a width between two points."""
    a, b = np.array(start), np.array(end)
    along = (b - a) / np.hypot(*(b - a))
    across = np.array([-along[1], along[0]]) * width / 2
    return np.stack([a + across, b + across, b - across, a - across])


def polygon(*points: tuple[float, float]) -> Points:
    """Returns the polygon with these corners."""
    return np.array(points, dtype=np.float64)
