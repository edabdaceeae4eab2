"""From plain English to what a picture must show."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .image_spec import ImageRequest, pick
from .words import COLOURS, NUMBER, OBJECTS, PARTS, SCENES, SYNONYMS, TEXTURES


def parse_request(text: str, rng: np.random.Generator) -> ImageRequest:
    """Returns what a text asks for; words that the world does not know are passed over.

    Adjectives belong to the next noun. The first object is the main one, further objects stand beside
    it; a part asks for an object that has it, a thing of the backdrop for a scene that has it.

    Args:
        text: any text.
        rng: chooses where several objects or scenes would do.
    """
    words = vocabulary_words(text)
    kinds = [(word, _colour_before(words, i)) for i, word in enumerate(words) if word in OBJECTS]
    parts = {word: _colour_before(words, i) for i, word in enumerate(words) if word in PARTS}
    texture = next((word for word in words if word in TEXTURES), None)
    kind, colour = kinds[0] if kinds else (_kind_with(tuple(parts), texture, rng), None)
    if colour is None and not any(parts.values()):
        colour = next((word for word in words if word in COLOURS), None)
    return ImageRequest(
        scene=_scene(words, rng),
        kind=kind,
        colour=colour or _colour_of_surface(kind, parts),
        texture=texture if kind is None or OBJECTS[kind].shows_texture else None,
        part_colours={part: paint for part, paint in parts.items() if paint},
        smaller_objects=tuple(kinds[1:3]) if len(kinds) > 1 else None,
    )


def vocabulary_words(text: str) -> list[str]:
    """Returns the world's words in a text, in order, plurals and synonyms resolved."""
    return [word for token in re.findall(r"[a-z]+", text.lower()) if (word := _resolve(token))]


def _resolve(token: str) -> str | None:
    singular = token.removesuffix("s")
    for form in (token, singular, token.removesuffix("es")):
        form = SYNONYMS.get(form, form)
        if form in NUMBER:
            return form
    return None


def _colour_before(words: Sequence[str], position: int) -> str | None:
    """Returns the colour among the adjectives right before a noun."""
    for word in reversed(words[:position]):
        if word in COLOURS:
            return word
        if word not in TEXTURES:
            return None
    return None


def _kind_with(parts: tuple[str, ...], texture: str | None, rng: np.random.Generator) -> str | None:
    if not parts:
        return None
    having = [kind for kind in OBJECTS if parts[0] in OBJECTS[kind].parts]
    suitable = [kind for kind in having if OBJECTS[kind].shows_texture or not texture]
    return pick(suitable or having, rng)


def _colour_of_surface(kind: str | None, parts: dict[str, str | None]) -> str | None:
    """Returns the paint asked for a part that has the object's own colour ("a red hull")."""
    surface = OBJECTS[kind].surface if kind else ()
    return next((paint for part, paint in parts.items() if paint and part in surface), None)


def _scene(words: Sequence[str], rng: np.random.Generator) -> str | None:
    named = next((word for word in words if word in SCENES), None)
    if named:
        return named
    for word in words:
        having = [scene for scene, setting in SCENES.items() if word in setting.backdrop]
        if having:
            return pick(having, rng)
    return None
