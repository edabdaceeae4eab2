"""Draws each scene, the background of the objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .canvas import Canvas, bar, box, ellipse, mix, polygon
from .textures import random_texture
from .words import ANY, TEXTURES

Rng = np.random.Generator


def _sky(canvas: Canvas, rng: Rng, colour: str = "blue") -> None:
    canvas.fill(box(0, 0, 1, 1), mix(colour, rng), "sky")


def _sun(canvas: Canvas, rng: Rng) -> None:
    if rng.random() < 0.5:
        radius = rng.uniform(0.06, 0.1)
        spot = ellipse(rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.25), radius, radius)
        canvas.fill(spot, mix("yellow", rng), "sun")


def _clouds(canvas: Canvas, rng: Rng) -> None:
    white = mix("white", rng)
    for _ in range(int(rng.integers(3))):
        x, y, wide = rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.06, 0.11)
        for shift, lift, grow in ((-0.9, 0.1, 0.8), (0, 0, 1), (0.9, 0.15, 0.75)):
            puff = ellipse(x + shift * wide, y + lift * wide, grow * wide, 0.6 * grow * wide)
            canvas.fill(puff, white, "cloud")


def _hill(canvas: Canvas, rng: Rng, colour: str, horizon: float) -> None:
    for x in (rng.uniform(0.0, 0.35), rng.uniform(0.65, 1.0)):
        mound = ellipse(x, horizon + 0.05, rng.uniform(0.3, 0.5), rng.uniform(0.12, 0.22))
        canvas.fill(mound, mix(colour, rng), "hill")


def _sea(canvas: Canvas, rng: Rng) -> None:
    horizon = rng.uniform(0.4, 0.6)
    _sky(canvas, rng, "white" if rng.random() < 0.3 else "blue")
    _sun(canvas, rng)
    _clouds(canvas, rng)
    canvas.fill(box(0, horizon, 1, 1), mix("blue", rng), "water")
    foam = mix("white", rng)
    for _ in range(int(rng.integers(6, 14))):
        x, y, wide = rng.random(), rng.uniform(horizon + 0.04, 1), rng.uniform(0.04, 0.1)
        crest = polygon((x - wide, y), (x, y - 0.022), (x + wide, y), (x, y - 0.006))
        canvas.fill(crest, foam, "water")


def _meadow(canvas: Canvas, rng: Rng) -> None:
    horizon = rng.uniform(0.45, 0.65)
    _sky(canvas, rng)
    _sun(canvas, rng)
    _clouds(canvas, rng)
    _hill(canvas, rng, "green", horizon)
    canvas.fill(box(0, horizon, 1, 1), mix("green", rng), "grass")
    blade = mix("green", rng)
    for _ in range(int(rng.integers(15, 30))):
        x, y = rng.random(), rng.uniform(horizon + 0.06, 1.03)
        canvas.fill(polygon((x - 0.012, y), (x, y - 0.06), (x + 0.012, y)), blade, "grass")


def _desert(canvas: Canvas, rng: Rng) -> None:
    horizon = rng.uniform(0.45, 0.6)
    _sky(canvas, rng)
    _sun(canvas, rng)
    canvas.fill(box(0, horizon, 1, 1), mix("yellow", rng), "sand")
    for _ in range(3):
        dune = ellipse(rng.random(), rng.uniform(horizon, 1), rng.uniform(0.2, 0.45), 0.07, 180, 360)
        canvas.fill(dune, mix("yellow", rng), "sand")
    for _ in range(int(rng.integers(3))):
        x, foot, tall = rng.random(), horizon + rng.uniform(0.05, 0.2), rng.uniform(0.16, 0.26)
        _cactus(canvas, rng, x, foot, tall)


def _cactus(canvas: Canvas, rng: Rng, x: float, foot: float, tall: float) -> None:
    green, thick = mix("green", rng), 0.2 * tall
    canvas.fill(bar((x, foot), (x, foot - tall), thick), green, "cactus")
    for side, low, high in ((-1, 0.4, 0.8), (1, 0.5, 0.9)):
        elbow, tip = (
            (x + side * 0.35 * tall, foot - low * tall),
            (x + side * 0.35 * tall, foot - high * tall),
        )
        canvas.fill(bar((x, foot - low * tall), elbow, 0.7 * thick), green, "cactus")
        canvas.fill(bar(elbow, tip, 0.7 * thick), green, "cactus")


def _night(canvas: Canvas, rng: Rng) -> None:
    _sky(canvas, rng, "black")
    star = mix("white", rng)
    for _ in range(int(rng.integers(10, 25))):
        x, y, r = rng.random(), rng.uniform(0, 0.7), rng.uniform(0.008, 0.018)
        canvas.fill(polygon((x - r, y), (x, y - r), (x + r, y), (x, y + r)), star, "star")
    if rng.random() < 0.6:
        x, y, r = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.25), rng.uniform(0.07, 0.1)
        canvas.fill(ellipse(x, y, r, r), mix("yellow", rng), "moon")
        # A disc in the colour of the sky cuts the crescent.
        canvas.fill(ellipse(x + 0.6 * r, y - 0.2 * r, 0.8 * r, 0.8 * r), mix("black", rng), "sky")
    _hill(canvas, rng, "grey", 1.0)


def _city(canvas: Canvas, rng: Rng) -> None:
    _sky(canvas, rng, "white" if rng.random() < 0.5 else "blue")
    street, left = rng.uniform(0.75, 0.88), -0.05  # starts outside, so that buildings reach the edge
    while left < 1:
        wide, top = rng.uniform(0.14, 0.24), rng.uniform(0.08, 0.5)
        canvas.fill(box(left, top, left + wide, street), mix("grey", rng), "building")
        lit = mix("yellow" if rng.random() < 0.3 else "white", rng)
        for x in np.arange(left + 0.03, left + wide - 0.04, 0.06):
            for y in np.arange(top + 0.04, street - 0.05, 0.09):
                canvas.fill(box(x, y, x + 0.025, y + 0.045), lit, "building")
        left += wide
    canvas.fill(box(0, street, 1, 1), mix("black", rng), "road")


def _forest(canvas: Canvas, rng: Rng) -> None:
    # Between the trees is forest too: every pixel must have an object.
    canvas.fill(box(0, 0, 1, 1), mix("green", rng), "pine")
    for foot in (0.55, 0.7, 0.85):
        for x in np.arange(-0.05, 1.1, 0.16):
            _pine(canvas, rng, x + rng.uniform(-0.05, 0.05), foot, rng.uniform(0.35, 0.55))
    canvas.fill(box(0, 0.84, 1, 1), mix("brown" if rng.random() < 0.5 else "green", rng), "grass")


def _pine(canvas: Canvas, rng: Rng, x: float, foot: float, tall: float) -> None:
    green = mix("green", rng)
    canvas.fill(box(x - 0.015, foot - 0.05, x + 0.015, foot + 0.05), mix("brown", rng), "pine")
    for level, wide in ((0.0, 0.11), (0.25, 0.09), (0.5, 0.065)):
        y = foot - level * tall
        canvas.fill(polygon((x - wide, y), (x, y - 0.5 * tall), (x + wide, y)), green, "pine")


def _mountain(canvas: Canvas, rng: Rng) -> None:
    _sky(canvas, rng)
    _clouds(canvas, rng)
    for x in (rng.uniform(0.0, 0.3), rng.uniform(0.7, 1.0), rng.uniform(0.3, 0.7)):
        top, wide = rng.uniform(0.08, 0.35), rng.uniform(0.35, 0.6)
        canvas.fill(polygon((x - wide, 1), (x, top), (x + wide, 1)), mix("grey", rng), "rock")
        down = rng.uniform(0.2, 0.35)
        left, right, low = x - down * wide, x + down * wide, top + down * (1 - top)
        middle = (left + x) / 2, low - 0.05
        cap = polygon(
            (x, top), (right, low), ((right + x) / 2, low - 0.05), (x, low + 0.02), middle, (left, low)
        )
        canvas.fill(cap, mix("white", rng), "snow")


def _room(canvas: Canvas, rng: Rng) -> None:
    floor, colours = rng.uniform(0.65, 0.8), list(ANY)
    wall = colours.pop(int(rng.integers(len(colours))))
    second = mix(colours[int(rng.integers(len(colours)))], rng)
    textured = rng.random() < 0.5
    texture = random_texture(TEXTURES[int(rng.integers(len(TEXTURES)))], rng) if textured else None
    canvas.fill(box(0, 0, 1, 1), mix(wall, rng, texture, second), "wallpaper")
    canvas.fill(box(0, floor, 1, 1), mix("brown", rng), "floor")
    if rng.random() < 0.5:
        rug = ellipse(rng.uniform(0.3, 0.7), (1 + floor) / 2, rng.uniform(0.25, 0.45), 0.08)
        canvas.fill(rug, mix(ANY[int(rng.integers(len(ANY)))], rng), "rug")


PAINTERS: Mapping[str, Callable[[Canvas, Rng], None]] = {
    "city": _city,
    "desert": _desert,
    "forest": _forest,
    "meadow": _meadow,
    "mountain": _mountain,
    "night": _night,
    "room": _room,
    "sea": _sea,
}
