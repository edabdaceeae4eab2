"""What is in a picture, before it is painted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .words import ANY, OBJECTS, SCENES, TEXTURES


@dataclass(frozen=True)
class Thing:
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
    trim: Mapping[str, str]
    texture: str | None
    ink: str | None
    x: float
    y: float
    size: float
    turn: float
    mirrored: bool


@dataclass(frozen=True)
class Spec:
    """A picture in words and numbers.

    Attributes:
        scene: one of `SCENES`.
        things: the objects from the back to the front; the last one is what the picture is of.
    """

    scene: str
    things: tuple[Thing, ...]

    @property
    def main(self) -> Thing:
        """The object that the picture is of; its kind is the picture's class."""
        return self.things[-1]


@dataclass(frozen=True)
class Wish:
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
    trim: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[tuple[str, str | None], ...] | None = None


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """Returns one of the options."""
    return options[int(rng.integers(len(options)))]


def imagine(rng: np.random.Generator, wish: Wish | None = None) -> Spec:
    """Returns a random picture that has what is wished for."""
    wish = wish or Wish()
    kinds = tuple(OBJECTS)
    if wish.texture:
        kinds = tuple(kind for kind in OBJECTS if OBJECTS[kind].broad)
    scene = wish.scene or pick(tuple(SCENES), rng)
    kind = wish.kind or pick(kinds, rng)
    beside = wish.beside
    if beside is None:
        others = [other for other in OBJECTS if other != kind]
        beside = tuple((pick(others, rng), None) for _ in range(int(rng.integers(3))))
    aside = tuple(_thing(rng, scene, name, Wish(colour=colour), 0.11, 0.17) for name, colour in beside)
    main = _thing(rng, scene, kind, wish, 0.27, 0.42)
    return Spec(scene, (*aside, main))


def _thing(
    rng: np.random.Generator, scene: str, name: str, wish: Wish, small: float, large: float
) -> Thing:
    """Returns an object called `name`, between `small` and `large`, with what is wished of its paint."""
    kind = OBJECTS[name]
    # An object in the colour of its scene would be lost in it; only a wish may ask for that.
    behind = SCENES[scene].colour
    visible = [colour for colour in ANY if colour != behind]
    colour = wish.colour or pick(visible, rng)
    texture = wish.texture
    if not wish.texture and not wish.colour and kind.broad and rng.random() < 0.45:
        texture = pick(TEXTURES, rng)
    trim = {
        part: wish.trim.get(part) or pick([c for c in paints if c not in (colour, behind)] or paints, rng)
        for part, paints in kind.trim.items()
    }
    size = rng.uniform(small, large)
    return Thing(
        kind=name,
        colour=colour,
        trim=trim,
        texture=texture,
        ink=pick([c for c in visible if c != colour], rng) if texture else None,
        x=float(rng.uniform(0.9 * size, 1 - 0.9 * size)),
        y=float(rng.uniform(0.9 * size, 1 - 0.9 * size)),
        size=float(size),
        turn=float(rng.uniform(-0.16, 0.16)),
        mirrored=bool(rng.random() < 0.5),
    )
