"""From a specification, or from words, to a picture with its label planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .canvas import SIZE, Canvas, Plane, Points, mix
from .image_spec import ImageRequest, ImageSpec, ObjectSpec, sample_spec
from .objects import DRAWINGS
from .scenes import PAINTERS, weave
from .words import OBJECTS


@dataclass(frozen=True)
class RenderedImage:
    """A rendered picture.

    Attributes:
        spec: what is in it.
        pixels: uint8 [SIZE, SIZE, 3], RGB.
        colour, object, texture: uint8 [LABELS, LABELS] numbers of words (`words.NUMBER`), 0 for none.
        parts: uint8 [3, LABELS, LABELS]; a pixel may show a part that lies on others.
    """

    spec: ImageSpec
    pixels: NDArray[np.uint8]
    colour: Plane
    object: Plane
    texture: Plane
    parts: Plane


def spec_of(seed: int, index: int, request: ImageRequest | None = None) -> ImageSpec:
    """Returns what is in picture `index` of the world `seed`, without painting it."""
    return sample_spec(_stream(seed, 2 * index), request)


def render_image(seed: int, index: int, request: ImageRequest | None = None) -> RenderedImage:
    """Returns picture `index` of the world `seed`; a function of its arguments alone.

    Args:
        seed: the world, a non-negative integer.
        index: the picture, a non-negative integer.
        request: what it must show; by default everything is left to chance.
    """
    return paint(spec_of(seed, index, request), _stream(seed, 2 * index + 1))


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, number]))


def paint(spec: ImageSpec, rng: np.random.Generator) -> RenderedImage:
    """Returns the picture of a specification; `rng` decides on shades, proportions, light and noise."""
    canvas = Canvas()
    PAINTERS[spec.scene](canvas, rng)
    for thing in spec.objects:
        DRAWINGS[thing.kind](_Brush(canvas, thing, rng))
    return RenderedImage(spec, _develop(canvas.pixels(), rng), *canvas.labels())


def _develop(rgb: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Puts the picture under a light that falls off to one side, and adds noise."""
    slope, side = rng.uniform(0, 0.1), rng.uniform(0, 2 * np.pi)
    along = np.linspace(-1, 1, SIZE)
    light = rng.uniform(0.88, 1.06) + slope * (np.cos(side) * along[:, None] + np.sin(side) * along)
    noise = rng.uniform(2, 8) * rng.standard_normal(rgb.shape, dtype=np.float32)
    return np.clip(np.rint(rgb * light[..., None] + noise), 0, 255).astype(np.uint8)


class _Brush:
    """Paints one object at its place; see `objects.Brush`."""

    def __init__(self, canvas: Canvas, thing: ObjectSpec, rng: np.random.Generator) -> None:
        self._canvas, self._thing, self._rng = canvas, thing, rng
        ink = mix(thing.ink, rng) if thing.ink else None
        pattern = weave(thing.texture, rng) if thing.texture else None
        surface = mix(thing.colour, rng, pattern, ink)
        self._coats = {part: surface for part in OBJECTS[thing.kind].surface}
        self._coats |= {part: mix(colour, rng) for part, colour in thing.part_colours.items()}
        cos, sin = np.cos(thing.turn), np.sin(thing.turn)
        flip = np.array([-1.0 if thing.mirrored else 1.0, 1.0])
        self._turn = thing.size * np.array([[cos, sin], [-sin, cos]]) * flip

    def part(self, name: str, *shapes: Points) -> None:
        self._fill(name, shapes, detail=False)

    def detail(self, name: str, *shapes: Points) -> None:
        self._fill(name, shapes, detail=True)

    def vary(self, low: float, high: float) -> float:
        return float(self._rng.uniform(low, high))

    def _fill(self, name: str, shapes: Sequence[Points], detail: bool) -> None:
        middle = np.array([self._thing.x, self._thing.y])
        for shape in shapes:
            self._canvas.fill(
                shape @ self._turn + middle, self._coats[name], self._thing.kind, name, detail
            )
