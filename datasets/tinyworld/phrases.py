"""Phrases about images for training, each with the facts that must hold for it to be true."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .captions import article, caption
from .image_spec import ImageSpec, pick
from .words import COLOURS, NUMBER, OBJECTS, SCENES, WORDS

# Minimum share of an image that a word must cover to be true of it: about ten pixels of a label plane.
# More for colours, because nearly every image contains a few pixels of every colour.
VISIBLE, COLOURED = 0.004, 0.03

# The bare phrase three times: most concepts and descriptions are not sentences.
FRAMES = (
    "{}",
    "{}",
    "{}",
    "a photo of {}",
    "a picture of {}",
    "an image of {}",
    "this is {}",
    "there is {}",
    "you can see {}",
)


@dataclass(frozen=True)
class Phrase:
    """A text, and the facts that must all hold for an image for the text to be true of it."""

    text: str
    facts: frozenset[str]


def facts(spec: ImageSpec, areas: NDArray[np.float32]) -> frozenset[str]:
    """Returns the facts that hold for an image: words, and pairs such as "red boat" and "sail of boat".

    Args:
        spec: content of the image.
        areas: float32 [words + 1], the share of the image that each word covers.
    """
    true = {word for word in WORDS if areas[NUMBER[word]] >= (COLOURED if word in COLOURS else VISIBLE)}
    for each in spec.objects:
        if each.kind in true:
            true |= {f"{adjective} {each.kind}" for adjective in (each.colour, each.texture) if adjective}
    main = spec.main
    colours = {**main.part_colours, **dict.fromkeys(OBJECTS[main.kind].surface, main.colour)}
    for part, colour in colours.items():
        if part in true:
            true |= {f"{colour} {part}", f"{part} of {main.kind}"}
    return frozenset(true)


def phrase(spec: ImageSpec, true: Set[str], rng: np.random.Generator) -> Phrase:
    """Returns a random phrase about the main object, one of its parts, or the scene."""
    roll = rng.random()
    if roll < 0.2:
        return Phrase(caption(spec), _about(spec) | {spec.scene})
    if roll < 0.3:
        return _framed(pick(SCENE_PHRASES[spec.scene], rng), {spec.scene}, rng)
    parts = [part for part in OBJECTS[spec.main.kind].parts if part in true]
    if roll < 0.6 and parts:
        return _of_part(spec, pick(parts, rng), rng)
    return _of_object(spec, rng)


def _about(spec: ImageSpec) -> frozenset[str]:
    """Returns the facts that the caption states of the main object."""
    main = spec.main
    return frozenset(f"{adjective} {main.kind}" for adjective in (main.colour, main.texture) if adjective)


def _framed(text: str, needed: Set[str], rng: np.random.Generator) -> Phrase:
    return Phrase(pick(FRAMES, rng).format(text), frozenset(needed))


def _of_object(spec: ImageSpec, rng: np.random.Generator) -> Phrase:
    """Returns a phrase such as "a striped red boat at night", with some of its words."""
    main, needed, words = spec.main, {spec.main.kind}, [spec.main.kind]
    for adjective in (main.colour, main.texture):
        if adjective and rng.random() < 0.6:
            words.insert(0, adjective)
            needed.add(f"{adjective} {main.kind}")
    text = " ".join(words)
    if rng.random() < 0.7:
        text = article(text)
    if rng.random() < 0.4:
        text = f"{text} {SCENES[spec.scene].phrase}"
        needed.add(spec.scene)
    return _framed(text, needed, rng)


def _of_part(spec: ImageSpec, part: str, rng: np.random.Generator) -> Phrase:
    """Returns a phrase such as "a boat with a white sail", "the sail of a boat" or "white sail"."""
    main = spec.main
    colour = main.part_colours.get(part, main.colour)
    of, coloured = f"{part} of {main.kind}", f"{colour} {part}"
    wordings = (
        (f"{article(main.kind)} with {article(part)}", {of}),
        (f"{article(main.kind)} with {article(coloured)}", {of, coloured}),
        (f"the {part} of {article(main.kind)}", {of}),
        (f"{main.kind} {part}", {of}),
        (coloured, {coloured}),
        (article(coloured), {coloured}),
        (f"{part}s" if not part.endswith("s") else part, {part}),
    )
    text, needed = wordings[int(rng.integers(len(wordings)))]
    return _framed(text, needed, rng)


SCENE_PHRASES = {
    name: (name, f"the {name}", scene.phrase, f"{name} scene") for name, scene in SCENES.items()
}
