"""Parses English text into a request for an image."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .image_spec import ImageRequest, pick
from .words import COLOURS, NUMBER, OBJECTS, PARTS, SCENES, SYNONYMS, TEXTURES


def parse_request(text: str, rng: np.random.Generator) -> ImageRequest:
    """Returns the image that a text asks for; words outside the vocabulary are ignored.

    Adjectives refer to the next noun. The first object is the main one, the next two are smaller objects
    next to it. A part requests an object that has it, an object of a backdrop a scene that contains it.

    Args:
        text: any text.
        rng: chooses if several objects or scenes satisfy the text.
    """
    words = vocabulary_words(text)
    kinds = [(word, _colour_before(words, i)) for i, word in enumerate(words) if word in OBJECTS]
    parts = {word: _colour_before(words, i) for i, word in enumerate(words) if word in PARTS}
    texture = next((word for word in words if word in TEXTURES), None)
    kind, colour = kinds[0] if kinds else (_kind_with(tuple(parts), texture, rng), None)
    # A colour that belongs to no noun ("something red") is the colour of the main object.
    if colour is None and not any(parts.values()):
        colour = next((word for word in words if word in COLOURS), None)
    return ImageRequest(
        scene=_scene(words, rng),
        kind=kind,
        colour=colour or _colour_of_surface(kind, parts),
        # A texture that the object cannot show is ignored, like an unknown word.
        texture=texture if kind is None or OBJECTS[kind].shows_texture else None,
        part_colours={part: colour for part, colour in parts.items() if colour},
        # At most two, as in images without a request.
        smaller_objects=tuple(kinds[1:3]) if len(kinds) > 1 else None,
    )


def vocabulary_words(text: str) -> list[str]:
    """Returns the vocabulary words in a text, in order, with plurals and synonyms resolved."""
    return [word for token in re.findall(r"[a-z]+", text.lower()) if (word := _resolve(token))]


def _resolve(token: str) -> str | None:
    # The token itself comes first: "grass" is not a plural.
    for form in (token, token.removesuffix("s"), token.removesuffix("es")):
        form = SYNONYMS.get(form, form)
        if form in NUMBER:
            return form
    return None


def _colour_before(words: Sequence[str], position: int) -> str | None:
    """Returns the colour among the adjectives immediately before a noun."""
    for word in reversed(words[:position]):
        if word in COLOURS:
            return word
        if word not in TEXTURES:
            return None
    return None


def _kind_with(parts: tuple[str, ...], texture: str | None, rng: np.random.Generator) -> str | None:
    """Returns a kind of object that has the first part and, if possible, shows the texture."""
    if not parts:
        return None
    kinds = [kind for kind in OBJECTS if parts[0] in OBJECTS[kind].parts]
    textured = [kind for kind in kinds if OBJECTS[kind].shows_texture or not texture]
    return pick(textured or kinds, rng)


def _colour_of_surface(kind: str | None, parts: dict[str, str | None]) -> str | None:
    """Returns the colour of a part that has the colour of the object itself ("a red hull")."""
    surface = OBJECTS[kind].surface if kind else ()
    return next((colour for part, colour in parts.items() if colour and part in surface), None)


def _scene(words: Sequence[str], rng: np.random.Generator) -> str | None:
    named = next((word for word in words if word in SCENES), None)
    if named:
        return named
    for word in words:
        scenes = [name for name, scene in SCENES.items() if word in scene.backdrop]
        if scenes:
            return pick(scenes, rng)
    return None
