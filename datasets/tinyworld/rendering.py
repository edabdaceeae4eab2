"""Renders images and their label planes from a seed and an index, or from a specification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .canvas import SIZE, Canvas, Plane, Points, mix
from .image_spec import ImageRequest, ImageSpec, ObjectSpec, sample_spec
from .objects import DRAWINGS
from .scenes import PAINTERS
from .textures import random_texture
from .words import OBJECTS


@dataclass(frozen=True)
class RenderedImage:
    """An image with its specification and annotations.

    Attributes:
        spec: its content.
        pixels: uint8 [SIZE, SIZE, 3], RGB.
        colour, object, texture: uint8 [LABELS, LABELS] numbers of words (`words.NUMBER`), 0 for none.
        parts: uint8 [3, LABELS, LABELS], the topmost part and up to two parts below it.
    """

    spec: ImageSpec
    pixels: NDArray[np.uint8]
    colour: Plane
    object: Plane
    texture: Plane
    parts: Plane


def spec_of(seed: int, index: int, request: ImageRequest | None = None) -> ImageSpec:
    """Returns the content of image `index` of a seed, without rendering it."""
    return sample_spec(_stream(seed, 2 * index), request)


def render_image(seed: int, index: int, request: ImageRequest | None = None) -> RenderedImage:
    """Returns image `index` of a seed; the result depends on nothing but the arguments.

    Args:
        seed: a non-negative integer.
        index: a non-negative integer.
        request: constraints on the content; by default everything is random.
    """
    return render_spec(spec_of(seed, index, request), _stream(seed, 2 * index + 1))


def _stream(seed: int, number: int) -> np.random.Generator:
    # Philox is counter-based: every image has its own stream, whichever images were rendered before.
    # Content (even numbers) and appearance (odd ones) are separate, so that a caption needs no rendering.
    return np.random.Generator(np.random.Philox(key=[seed, number]))


def render_spec(spec: ImageSpec, rng: np.random.Generator) -> RenderedImage:
    """Renders a specification; `rng` chooses shades, proportions, light and noise."""
    canvas = Canvas()
    PAINTERS[spec.scene](canvas, rng)
    for each in spec.objects:
        DRAWINGS[each.kind](_Brush(canvas, each, rng))
    return RenderedImage(spec, _lit(canvas.pixels(), rng), *canvas.labels())


def _lit(rgb: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Applies a light that decreases in a random direction, and adds noise."""
    slope, direction = rng.uniform(0, 0.1), rng.uniform(0, 2 * np.pi)
    along = np.linspace(-1, 1, SIZE)
    ramp = np.cos(direction) * along[:, None] + np.sin(direction) * along
    light = rng.uniform(0.88, 1.06) + slope * ramp
    noise = rng.uniform(2, 8) * rng.standard_normal(rgb.shape, dtype=np.float32)
    return np.clip(np.rint(rgb * light[..., None] + noise), 0, 255).astype(np.uint8)


class _Brush:
    """Draws the parts of one object at its place; implements `objects.Brush`."""

    def __init__(self, canvas: Canvas, spec: ObjectSpec, rng: np.random.Generator) -> None:
        self._canvas, self._spec, self._rng = canvas, spec, rng
        second = mix(spec.second_colour, rng) if spec.second_colour else None
        texture = random_texture(spec.texture, rng) if spec.texture else None
        surface = mix(spec.colour, rng, texture, second)
        self._paints = {part: surface for part in OBJECTS[spec.kind].surface}
        self._paints |= {part: mix(colour, rng) for part, colour in spec.part_colours.items()}
        cos, sin = np.cos(spec.rotation), np.sin(spec.rotation)
        flip = np.array([-1.0 if spec.mirrored else 1.0, 1.0])
        # Points are rows, so the matrix is transposed: size, rotation and mirroring in one product.
        self._transform = spec.size * np.array([[cos, sin], [-sin, cos]]) * flip

    def part(self, name: str, *shapes: Points) -> None:
        self._fill(name, shapes, detail=False)

    def detail(self, name: str, *shapes: Points) -> None:
        self._fill(name, shapes, detail=True)

    def vary(self, low: float, high: float) -> float:
        return float(self._rng.uniform(low, high))

    def _fill(self, name: str, shapes: Sequence[Points], detail: bool) -> None:
        centre = np.array([self._spec.x, self._spec.y])
        for shape in shapes:
            points = shape @ self._transform + centre
            self._canvas.fill(points, self._paints[name], self._spec.kind, name, detail)
