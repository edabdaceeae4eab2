"""What is in a picture, before it is painted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .words import ANY, OBJECTS, SCENES, TEXTURES


@dataclass(frozen=True)
class ObjectSpec:
    """One object of a picture.

    Attributes:
        kind: what it is, one of `OBJECTS`.
        colour: the paint of its surface.
        trim: the paints of its other parts.
        texture: the texture of its surface, or None.
        ink: the second colour of the texture, or None.
        x, y: its middle, in unit coordinates.
        size: half its extent, in unit coordinates.
        turn: rotation, radians.
        mirrored: it faces left.
    """

    kind: str
    colour: str
    part_colours: Mapping[str, str]
    texture: str | None
    ink: str | None
    x: float
    y: float
    size: float
    turn: float
    mirrored: bool


@dataclass(frozen=True)
class ImageSpec:
    """A picture in words and numbers.

    Attributes:
        scene: one of `SCENES`.
        things: the objects from the back to the front; the last one is what the picture is of.
    """

    scene: str
    objects: tuple[ObjectSpec, ...]

    @property
    def main(self) -> ObjectSpec:
        """The object that the picture is of; its kind is the picture's class."""
        return self.objects[-1]


@dataclass(frozen=True)
class ImageRequest:
    """What a picture must have; the rest is left to chance.

    Attributes:
        scene, kind, colour, texture: of the picture and its main object, or None. An object whose colour
            is wished for is plain, unless a texture is wished for as well.
        trim: paints of parts of the main object.
        beside: further objects as (kind, colour), the colour possibly None; None leaves them to chance.
    """

    scene: str | None = None
    kind: str | None = None
    colour: str | None = None
    texture: str | None = None
    part_colours: Mapping[str, str] = field(default_factory=dict)
    smaller_objects: tuple[tuple[str, str | None], ...] | None = None


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """Returns one of the options."""
    return options[int(rng.integers(len(options)))]


def sample_spec(rng: np.random.Generator, request: ImageRequest | None = None) -> ImageSpec:
    """Returns a random picture that has what is wished for."""
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
    aside = tuple(
        _thing(rng, scene, name, ImageRequest(colour=colour), 0.11, 0.17)
        for name, colour in smaller_objects
    )
    main = _thing(rng, scene, kind, request, 0.27, 0.42)
    return ImageSpec(scene, (*aside, main))


def _thing(
    rng: np.random.Generator, scene: str, name: str, request: ImageRequest, small: float, large: float
) -> ObjectSpec:
    """Returns an object called `name`, between `small` and `large`, with what is wished of its paint."""
    kind = OBJECTS[name]
    # An object in the colour of its scene would be lost in it; only a wish may ask for that.
    behind = SCENES[scene].colour
    visible = [colour for colour in ANY if colour != behind]
    colour = request.colour or pick(visible, rng)
    texture = request.texture
    if not request.texture and not request.colour and kind.shows_texture and rng.random() < 0.45:
        texture = pick(TEXTURES, rng)
    part_colours = {
        part: request.part_colours.get(part)
        or pick([c for c in paints if c not in (colour, behind)] or paints, rng)
        for part, paints in kind.part_colours.items()
    }
    size = rng.uniform(small, large)
    return ObjectSpec(
        kind=name,
        colour=colour,
        part_colours=part_colours,
        texture=texture,
        ink=pick([c for c in visible if c != colour], rng) if texture else None,
        x=float(rng.uniform(0.9 * size, 1 - 0.9 * size)),
        y=float(rng.uniform(0.9 * size, 1 - 0.9 * size)),
        size=float(size),
        turn=float(rng.uniform(-0.16, 0.16)),
        mirrored=bool(rng.random() < 0.5),
    )
