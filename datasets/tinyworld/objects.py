"""Draws each kind of object from its parts.

Every object has its own coordinates: x and y from about -1 to 1, y down, the object facing right. `Brush`
rotates, mirrors and places it; `brush.vary` varies its proportions from image to image. Parts are drawn
from back to front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from .canvas import Points, bar, box, ellipse, polygon


class Brush(Protocol):
    """Draws the parts of one object."""

    def part(self, name: str, *shapes: Points) -> None:
        """Draws a part; what it covers is no longer annotated."""
        ...

    def detail(self, name: str, *shapes: Points) -> None:
        """Draws a part on top of another part, which stays annotated."""
        ...

    def vary(self, low: float, high: float) -> float:
        """Returns a random number between two bounds, the same for the same image."""
        ...


def _airplane(brush: Brush) -> None:
    width = brush.vary(0.18, 0.26)
    brush.part("tail", polygon((-0.98, -0.62), (-0.72, -0.62), (-0.45, -0.05), (-0.9, -0.05)))
    brush.part("body", ellipse(0, 0, 0.97, width))
    brush.detail("window", *(ellipse(x, -0.06, 0.065, 0.065) for x in (-0.45, -0.2, 0.05, 0.3, 0.55)))
    reach = brush.vary(0.55, 0.8)
    brush.part("wing", polygon((-0.1, 0.03), (0.28, 0.03), (-0.2, reach), (-0.48, reach)))


def _bicycle(brush: Brush) -> None:
    radius = brush.vary(0.36, 0.44)
    for x in (-0.56, 0.56):
        for a in range(0, 360, 60):  # the tyre, a ring of six segments: polygons have no holes
            brush.part("wheel", _arc(x, 0.35, radius, radius - 0.11, a, a + 60))
    rear, front, crank, post, head = (
        (-0.56, 0.35),
        (0.56, 0.35),
        (-0.05, 0.35),
        (-0.22, -0.3),
        (0.38, -0.3),
    )
    spans = ((rear, crank), (rear, post), (crank, post), (crank, head), (post, head), (head, front))
    brush.part("frame", *(bar(a, b, 0.11) for a, b in spans))
    brush.part("seat", ellipse(-0.24, -0.4, 0.22, 0.08))
    brush.part("handle", bar(head, (0.34, -0.62), 0.09), bar((0.2, -0.6), (0.58, -0.66), 0.1))


def _arc(x: float, y: float, outer: float, inner: float, start: float, end: float) -> Points:
    far, near = ellipse(x, y, outer, outer, start, end), ellipse(x, y, inner, inner, start, end)
    return np.concatenate([far, near[::-1]])


def _bird(brush: Brush) -> None:
    brush.part("leg", bar((-0.05, 0.3), (-0.05, 0.92), 0.08), bar((0.18, 0.3), (0.18, 0.92), 0.08))
    brush.part("tail", polygon((-0.35, 0.0), (-1.0, -0.28), (-0.9, 0.02), (-1.0, 0.25), (-0.35, 0.22)))
    brush.part("body", ellipse(0.0, 0.12, 0.56, brush.vary(0.36, 0.44)))
    brush.part("beak", polygon((0.66, -0.52), (1.0, -0.38), (0.66, -0.28)))
    brush.part("head", ellipse(0.48, -0.38, 0.29, 0.29))
    brush.detail("eye", ellipse(0.56, -0.44, 0.07, 0.07))
    tip = brush.vary(-0.15, 0.3)
    brush.detail("wing", polygon((0.25, -0.08), (0.05, 0.32), (-0.3, 0.34), (-0.7, tip), (-0.3, -0.06)))


def _boat(brush: Brush) -> None:
    top = brush.vary(-0.95, -0.8)
    brush.part("mast", box(-0.06, top, 0.04, 0.4))
    brush.part("flag", polygon((0.04, top), (0.36, top + 0.1), (0.04, top + 0.2)))
    reach = brush.vary(0.6, 0.85)
    brush.part("sail", polygon((-0.1, top + 0.08), (-0.1, 0.3), (-reach, 0.3)))
    brush.part("sail", polygon((0.08, top + 0.28), (0.08, 0.3), (reach - 0.1, 0.3)))
    brush.part("hull", polygon((-0.98, 0.38), (0.98, 0.38), (0.62, 0.85), (-0.7, 0.85)))


def _butterfly(brush: Brush) -> None:
    upper, lower = brush.vary(0.5, 0.64), brush.vary(0.36, 0.48)
    for side in (-1, 1):
        brush.part("antenna", bar((side * 0.03, -0.4), (side * 0.32, -0.95), 0.07))
        brush.part("wing", ellipse(side * 0.5, -0.25, 0.48, upper * 0.85))
        brush.part("wing", ellipse(side * 0.4, 0.45, 0.38, lower))
    brush.part("body", ellipse(0, 0.05, 0.11, 0.62))


def _car(brush: Brush) -> None:
    back = brush.vary(-0.7, -0.5)
    brush.part("bumper", box(-1.0, 0.2, -0.85, 0.38), box(0.85, 0.2, 1.0, 0.38))
    brush.part("body", polygon((back, -0.1), (back + 0.15, -0.55), (0.3, -0.55), (0.6, -0.1)))
    brush.part("body", box(-0.93, -0.12, 0.93, 0.36))
    brush.detail(
        "window", polygon((back + 0.14, -0.12), (back + 0.24, -0.44), (-0.1, -0.44), (-0.1, -0.12))
    )
    brush.detail("window", polygon((0.0, -0.12), (0.0, -0.44), (0.25, -0.44), (0.44, -0.12)))
    brush.detail("headlight", ellipse(0.82, 0.03, 0.1, 0.09))
    brush.part("wheel", ellipse(-0.52, 0.38, 0.23, 0.23), ellipse(0.52, 0.38, 0.23, 0.23))


def _castle(brush: Brush) -> None:
    wall, tower = brush.vary(-0.3, -0.1), brush.vary(-0.72, -0.6)
    for x in (-0.72, 0.72):
        brush.part("flag", polygon((x, tower - 0.32), (x + 0.28, tower - 0.22), (x, tower - 0.1)))
    brush.part("wall", box(-0.75, wall, 0.75, 0.9))
    # Battlements on the wall, and below on the towers.
    brush.part("wall", *(box(x, wall - 0.16, x + 0.16, wall) for x in (-0.4, -0.08, 0.24)))
    for x in (-0.72, 0.72):
        brush.part("tower", box(x - 0.25, tower, x + 0.25, 0.9))
        brush.part(
            "tower", *(box(x + d, tower - 0.15, x + d + 0.14, tower) for d in (-0.25, -0.07, 0.11))
        )
        brush.detail("window", box(x - 0.08, tower + 0.22, x + 0.08, tower + 0.5))
    brush.detail("gate", box(-0.2, 0.4, 0.2, 0.9), ellipse(0, 0.42, 0.2, 0.26, 180, 360))


def _chair(brush: Brush) -> None:
    top = brush.vary(-0.95, -0.8)
    brush.part("leg", *(box(x, 0.15, x + 0.12, 0.95) for x in (-0.6, 0.48)))
    brush.part("leg", *(box(x, 0.1, x + 0.1, 0.72) for x in (-0.28, 0.72)))
    brush.part("backrest", polygon((-0.62, top), (-0.34, top), (-0.3, 0.05), (-0.62, 0.05)))
    brush.part(
        "backrest", polygon((-0.62, top), (0.12, top + 0.08), (0.12, top + 0.62), (-0.62, top + 0.6))
    )
    brush.part("seat", polygon((-0.66, 0.08), (-0.3, -0.1), (0.86, -0.1), (0.62, 0.22), (-0.66, 0.22)))


def _clock(brush: Brush) -> None:
    brush.part("bell", ellipse(-0.55, -0.72, 0.26, 0.2), ellipse(0.55, -0.72, 0.26, 0.2))
    brush.part("frame", bar((-0.4, 0.6), (-0.62, 0.95), 0.16), bar((0.4, 0.6), (0.62, 0.95), 0.16))
    brush.part("frame", ellipse(0, 0.05, 0.85, 0.85))
    brush.detail("dial", ellipse(0, 0.05, 0.68, 0.68))
    # The hour hand and the minute hand, each at any angle.
    for length, angle in ((0.36, brush.vary(0, 6.28)), (0.58, brush.vary(0, 6.28))):
        tip = (length * np.sin(angle), 0.05 - length * np.cos(angle))
        brush.detail("hand", bar((0, 0.05), tip, 0.11))


def _fish(brush: Brush) -> None:
    height = brush.vary(0.42, 0.56)
    brush.part("fin", polygon((-0.25, -0.25), (0.25, -0.25), (-0.2, -height - 0.32)))
    brush.part("fin", polygon((-0.1, 0.25), (0.25, 0.25), (-0.2, height + 0.25)))
    brush.part("tail", polygon((-0.5, 0), (-0.98, -0.48), (-0.84, 0), (-0.98, 0.48)))
    brush.part("body", ellipse(0.12, 0, 0.78, height))
    brush.detail("eye", ellipse(0.58, -0.12, 0.11, 0.11))


def _flower(brush: Brush) -> None:
    lean = brush.vary(-0.15, 0.15)
    brush.part("stem", bar((lean, -0.3), (0, 0.98), 0.1))
    brush.part("leaf", polygon((0, 0.75), (0.3, 0.35), (0.7, 0.35), (0.42, 0.66)))
    brush.part("leaf", polygon((0, 0.85), (-0.3, 0.5), (-0.68, 0.5), (-0.4, 0.78)))
    petals, turn = 5 + int(brush.vary(0, 2.99)), brush.vary(0, 1)  # 5 to 7 petals
    for i in range(petals):
        angle = 2 * np.pi * (i + turn) / petals
        brush.part(
            "petal", ellipse(lean + 0.36 * np.sin(angle), -0.38 - 0.36 * np.cos(angle), 0.25, 0.25)
        )
    brush.part("pollen", ellipse(lean, -0.38, 0.2, 0.2))


def _house(brush: Brush) -> None:
    eaves = brush.vary(-0.25, -0.05)
    brush.part("chimney", box(0.38, -0.92, 0.6, eaves))
    brush.part("wall", box(-0.75, eaves, 0.75, 0.9))
    brush.part("roof", polygon((-0.95, eaves), (0, -0.95), (0.95, eaves)))
    brush.detail("door", box(-0.18, 0.35, 0.18, 0.9))
    brush.detail(
        "window", box(-0.6, eaves + 0.2, -0.3, eaves + 0.5), box(0.3, eaves + 0.2, 0.6, eaves + 0.5)
    )


def _lamp(brush: Brush) -> None:
    top, wide = brush.vary(0.22, 0.36), brush.vary(0.58, 0.72)
    brush.part("pole", box(-0.06, -0.2, 0.06, 0.88))
    brush.part("base", ellipse(0, 0.88, 0.44, 0.11))
    brush.part("bulb", ellipse(0, -0.14, 0.2, 0.18))
    brush.part("shade", polygon((-top, -0.95), (top, -0.95), (wide, -0.15), (-wide, -0.15)))


def _mushroom(brush: Brush) -> None:
    waist = brush.vary(0.16, 0.26)
    brush.part("stem", polygon((-waist, -0.1), (waist, -0.1), (waist + 0.1, 0.9), (-waist - 0.1, 0.9)))
    brush.part("cap", ellipse(0, 0.0, 0.92, brush.vary(0.75, 0.95), 180, 360))


def _rocket(brush: Brush) -> None:
    width = brush.vary(0.26, 0.34)
    brush.part("flame", polygon((-0.2, 0.55), (0.2, 0.55), (0.08, 0.8), (0, 1.0), (-0.08, 0.8)))
    brush.part("fin", polygon((-width, 0.1), (-0.7, 0.65), (-width, 0.55)))
    brush.part("fin", polygon((width, 0.1), (0.7, 0.65), (width, 0.55)))
    brush.part("nose", polygon((-width, -0.5), (0, -1.0), (width, -0.5)))
    brush.part("body", box(-width, -0.52, width, 0.58))
    brush.detail("window", ellipse(0, -0.25, 0.14, 0.14), ellipse(0, 0.15, 0.14, 0.14))


def _tree(brush: Brush) -> None:
    brush.part("trunk", polygon((-0.12, 0.0), (0.12, 0.0), (0.17, 0.95), (-0.17, 0.95)))
    spread = brush.vary(0.26, 0.36)
    for x, y, r in ((-spread, -0.15, 0.42), (spread, -0.15, 0.42), (0, -0.5, 0.46), (0, -0.1, 0.4)):
        brush.part("crown", ellipse(x, y, r, r * 0.92))


def _truck(brush: Brush) -> None:
    split = brush.vary(0.28, 0.4)
    brush.part("trailer", box(-1.0, -0.6, split - 0.06, 0.36))
    brush.part("cab", polygon((split, -0.36), (0.76, -0.36), (0.97, 0.0), (0.97, 0.36), (split, 0.36)))
    brush.detail(
        "window", polygon((split + 0.12, -0.26), (0.72, -0.26), (0.86, 0.0), (split + 0.12, 0.0))
    )
    brush.detail("headlight", ellipse(0.9, 0.17, 0.08, 0.08))
    brush.part("wheel", *(ellipse(x, 0.4, 0.2, 0.2) for x in (-0.7, -0.25, 0.66)))


def _umbrella(brush: Brush) -> None:
    brush.part("pole", box(-0.05, -0.85, 0.05, 0.7))
    brush.part("handle", _arc(0.17, 0.68, 0.24, 0.12, 0, 180))
    brush.part("canopy", ellipse(0, 0.0, 0.98, brush.vary(0.65, 0.85), 180, 360))


DRAWINGS: Mapping[str, Callable[[Brush], None]] = {
    "airplane": _airplane,
    "bicycle": _bicycle,
    "bird": _bird,
    "boat": _boat,
    "butterfly": _butterfly,
    "car": _car,
    "castle": _castle,
    "chair": _chair,
    "clock": _clock,
    "fish": _fish,
    "flower": _flower,
    "house": _house,
    "lamp": _lamp,
    "mushroom": _mushroom,
    "rocket": _rocket,
    "tree": _tree,
    "truck": _truck,
    "umbrella": _umbrella,
}
