"""Draws polygons and their label planes at the same time.

Polygons are in unit coordinates (x to the right, y down; the image is [0, 1] x [0, 1]). They are filled
by a scan-line rule that uses only IEEE additions, multiplications and divisions: image libraries change
their drawing rules at edges between versions, and images must be identical on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .textures import Texture
from .words import COLOURS, NUMBER

Points = NDArray[np.float64]
Plane = NDArray[np.uint8]

SIZE = 96  # side of an image, pixels
SUPER = 2  # canvas pixels per image pixel and axis: averaging them smooths the edges
LABELS = 48  # side of the label planes: half the image, as in Broden


@dataclass(frozen=True)
class Paint:
    """The colour of a surface and, on a textured surface, the texture and its second colour."""

    colour: str
    rgb: NDArray[np.float32]
    texture: Texture | None = None
    second: Paint | None = None


def mix(
    colour: str, rng: np.random.Generator, texture: Texture | None = None, second: Paint | None = None
) -> Paint:
    """Returns paint of a basic colour: one of its shades with a small random deviation."""
    shade = COLOURS[colour][int(rng.integers(len(COLOURS[colour])))]
    rgb = np.asarray(shade) * rng.uniform(0.92, 1.05) + rng.uniform(-8, 8, size=3)
    return Paint(colour, np.clip(rgb, 0, 255).astype(np.float32), texture, second)


class Canvas:
    """An image while it is being drawn.

    Each polygon with its paint is a stroke. Every pixel stores the number of the stroke that covers it
    and of up to two strokes below it that stay annotated; colours and labels are looked up at the end.
    """

    def __init__(self) -> None:
        self.side = SIZE * SUPER
        self._strokes = np.zeros((3, self.side, self.side), np.uint16)
        self._rgb: list[NDArray[np.float32]] = [np.zeros(3, np.float32)]
        self._labels = [[0, 0, 0, 0]]

    def fill(
        self, points: Points, paint: Paint, thing: str, part: str | None = None, detail: bool = False
    ) -> None:
        """Draws a polygon on top of everything drawn before.

        Args:
            points: float [n, 2] corners in unit coordinates.
            paint: its paint.
            thing: the object, or object of the backdrop, that it belongs to.
            part: the part of the object that it is.
            detail: whether it is on top of another part (a window on a wall) that stays annotated below
                it; otherwise what it covers is no longer annotated.
        """
        area, inside = rasterise(points * self.side, self.side)
        top, middle, bottom = self._strokes[(slice(None), *area)]
        # From the bottom up: each level takes the value of the one above before that is overwritten.
        np.copyto(bottom, middle if detail else 0, where=inside)
        np.copyto(middle, top if detail else 0, where=inside)
        texture = paint.texture.word if paint.texture else None
        np.copyto(top, self._stroke(paint, thing, texture, part), where=inside)
        if paint.texture and paint.second:
            y, x = np.ogrid[area]
            in_second = inside & paint.texture(x + 0.5, y + 0.5)
            np.copyto(top, self._stroke(paint.second, thing, texture, part), where=in_second)

    def _stroke(self, paint: Paint, thing: str, texture: str | None, part: str | None) -> np.uint16:
        words = (paint.colour, thing, texture, part)
        self._rgb.append(paint.rgb)
        self._labels.append([NUMBER[word] if word else 0 for word in words])
        return np.uint16(len(self._rgb) - 1)

    def pixels(self) -> NDArray[np.float32]:
        """Returns the image, float32 [SIZE, SIZE, 3], 0 to 255: the averaged pixels of the canvas."""
        rgb, top = np.stack(self._rgb), self._strokes[0]
        samples = (rgb[top[y::SUPER, x::SUPER]] for y in range(SUPER) for x in range(SUPER))
        return np.sum(list(samples), axis=0) / np.float32(SUPER**2)

    def labels(self) -> tuple[Plane, Plane, Plane, Plane]:
        """Returns numbers of words: colour, object, texture [LABELS, LABELS], and parts [3, ...]."""
        step = self.side // LABELS
        # Labels cannot be averaged: each takes one canvas pixel near the middle of its cell.
        middle = slice(step // 2, None, step)
        labels = np.array(self._labels, np.uint8)[self._strokes[:, middle, middle]]
        colour, thing, texture, _ = labels[0].transpose(2, 0, 1)
        # A detail that extends beyond its object (a window over the sky) has no part of it below.
        parts = labels[..., 3] * (labels[..., 1] == thing)
        return colour, thing, texture, parts


def rasterise(points: Points, side: int) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Returns the bounding box of a polygon in a side x side raster, and its pixels inside the polygon.

    A pixel is inside if its centre is inside by the even-odd rule.

    Args:
        points: float [n, 2] corners (x, y) in pixels.
        side: width and height of the raster.
    """
    # Rounded to 1/16 pixel: sine and cosine differ between machines in their last bits.
    points = np.rint(points * 16) / 16
    (x0, y0), (x1, y1) = points.T, np.concatenate([points[1:], points[:1]]).T
    left, top = (min(max(math.floor(v), 0), side) for v in points.min(axis=0))
    right, bottom = (min(max(math.ceil(v), 0), side) for v in points.max(axis=0))
    # For each row of pixel centres, the edges that cross it, and the first pixel right of each crossing.
    middles = np.arange(top, bottom)[:, None] + 0.5
    # Half-open intervals: a line that crosses a row at a corner is counted once.
    row, edge = np.nonzero((y0 <= middles) != (y1 <= middles))
    crossing = x0[edge] + (middles[row, 0] - y0[edge]) * (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    column = np.minimum(np.maximum(np.ceil(crossing - 0.5), left), right).astype(np.intp) - left
    crossings = np.zeros((bottom - top, right - left + 1), np.uint8)
    np.add.at(crossings, (row, column), 1)
    # Inside where the number of crossings to the left is odd; uint8 may overflow, the last bit is right.
    inside = (np.cumsum(crossings, axis=1, dtype=np.uint8)[:, :-1] & 1).astype(bool)
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
    """Returns a straight bar of the given width between two points."""
    a, b = np.array(start), np.array(end)
    along = (b - a) / np.hypot(*(b - a))
    across = np.array([-along[1], along[0]]) * width / 2
    return np.stack([a + across, b + across, b - across, a - across])


def polygon(*points: tuple[float, float]) -> Points:
    """Returns the polygon with the given corners."""
    return np.array(points, dtype=np.float64)
