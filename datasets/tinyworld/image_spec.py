"""Specifications of images: which objects, colours, textures and scene, before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .words import ANY, OBJECTS, SCENES, TEXTURES


@dataclass(frozen=True)
class ObjectSpec:
    """One object of an image.

    Attributes:
        kind: one of `OBJECTS`.
        colour: the colour of its surface.
        part_colours: the colours of its other parts.
        texture: the texture of its surface, or None.
        second_colour: the second colour of the texture, or None.
        x, y: its centre, in unit coordinates.
        size: half its extent, in unit coordinates.
        rotation: in radians.
        mirrored: whether it faces left.
    """

    kind: str
    colour: str
    part_colours: Mapping[str, str]
    texture: str | None
    second_colour: str | None
    x: float
    y: float
    size: float
    rotation: float
    mirrored: bool


@dataclass(frozen=True)
class ImageSpec:
    """The content of an image.

    Attributes:
        scene: one of `SCENES`.
        objects: the objects from back to front; the last one is the main object.
    """

    scene: str
    objects: tuple[ObjectSpec, ...]

    @property
    def main(self) -> ObjectSpec:
        """The main object; its kind is the class of the image."""
        return self.objects[-1]


@dataclass(frozen=True)
class ImageRequest:
    """Constraints on an image; everything else is chosen at random.

    Attributes:
        scene: the scene, or None.
        kind, colour, texture: of the main object, or None. An object with a requested colour has no
            texture unless one is requested too.
        part_colours: colours of parts of the main object.
        smaller_objects: (kind, colour or None) of each further object; None chooses them at random.
    """

    scene: str | None = None
    kind: str | None = None
    colour: str | None = None
    texture: str | None = None
    part_colours: Mapping[str, str] = field(default_factory=dict)
    smaller_objects: tuple[tuple[str, str | None], ...] | None = None


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """Returns one of the options at random."""
    # Not rng.choice, which returns NumPy strings.
    return options[int(rng.integers(len(options)))]


def sample_spec(rng: np.random.Generator, request: ImageRequest | None = None) -> ImageSpec:
    """Returns a random specification that satisfies a request.

    The order of the random draws is part of the format: changing it changes every image.
    """
    request = request or ImageRequest()
    kinds = tuple(OBJECTS)
    if request.texture:
        kinds = tuple(kind for kind in OBJECTS if OBJECTS[kind].shows_texture)
    scene = request.scene or pick(tuple(SCENES), rng)
    kind = request.kind or pick(kinds, rng)
    smaller_objects = request.smaller_objects
    if smaller_objects is None:
        others = [other for other in OBJECTS if other != kind]
        smaller_objects = tuple((pick(others, rng), None) for _ in range(int(rng.integers(3))))
    # The sizes do not overlap, so that the main object is always the largest one.
    smaller = tuple(
        _sample_object(rng, scene, name, ImageRequest(colour=colour), 0.11, 0.17)
        for name, colour in smaller_objects
    )
    main = _sample_object(rng, scene, kind, request, 0.27, 0.42)
    return ImageSpec(scene, (*smaller, main))


def _sample_object(
    rng: np.random.Generator, scene: str, name: str, request: ImageRequest, small: float, large: float
) -> ObjectSpec:
    """Returns an object of kind `name` with a size in [`small`, `large`] and the requested colours."""
    kind = OBJECTS[name]
    # An object in the main colour of its scene would be hard to see; only a request may choose it.
    background = SCENES[scene].colour
    visible = [colour for colour in ANY if colour != background]
    colour = request.colour or pick(visible, rng)
    texture = request.texture
    if not request.texture and not request.colour and kind.shows_texture and rng.random() < 0.45:
        texture = pick(TEXTURES, rng)
    part_colours = {
        part: request.part_colours.get(part)
        # A part with one possible colour keeps it, even where it is hard to see.
        or pick([c for c in colours if c not in (colour, background)] or colours, rng)
        for part, colours in kind.part_colours.items()
    }
    size = rng.uniform(small, large)
    return ObjectSpec(
        kind=name,
        colour=colour,
        part_colours=part_colours,
        texture=texture,
        second_colour=pick([c for c in visible if c != colour], rng) if texture else None,
        # A margin of 0.9 sizes keeps nearly all of the object inside the image.
        x=float(rng.uniform(0.9 * size, 1 - 0.9 * size)),
        y=float(rng.uniform(0.9 * size, 1 - 0.9 * size)),
        size=float(size),
        rotation=float(rng.uniform(-0.16, 0.16)),
        mirrored=bool(rng.random() < 0.5),
    )
