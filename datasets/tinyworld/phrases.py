"""Many ways to say what a picture shows, each with the facts that make it true."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .captions import article, caption
from .image_spec import ImageSpec, pick
from .words import COLOURS, NUMBER, OBJECTS, SCENES, WORDS

# A word is true of a picture if it covers this share of it: some ten pixels of a label plane, and
# rather more for a colour, of which every picture has a speck.
VISIBLE, COLOURED = 0.004, 0.03

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
    """A text, and the facts that must all hold of a picture for it to be true."""

    text: str
    facts: frozenset[str]


def facts(spec: ImageSpec, areas: NDArray[np.float32]) -> frozenset[str]:
    """Returns what is true of a picture: words, and pairs of words that belong together.

    Args:
        spec: what is in it.
        areas: float32 [words + 1] share of the picture that shows each word.
    """
    true = {word for word in WORDS if areas[NUMBER[word]] >= (COLOURED if word in COLOURS else VISIBLE)}
    for thing in spec.objects:
        if thing.kind in true:
            true |= {f"{look} {thing.kind}" for look in (thing.colour, thing.texture) if look}
    main = spec.main
    paints = {**main.part_colours, **dict.fromkeys(OBJECTS[main.kind].surface, main.colour)}
    for part, paint in paints.items():
        if part in true:
            true |= {f"{paint} {part}", f"{part} of {main.kind}"}
    return frozenset(true)


def phrase(spec: ImageSpec, true: Set[str], rng: np.random.Generator) -> Phrase:
    """Returns something that a person might say of the main object or of its place."""
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
    main = spec.main
    own = {f"{main.colour} {main.kind}"}
    return frozenset(own | ({f"{main.texture} {main.kind}"} if main.texture else set()))


def _framed(text: str, needed: Set[str], rng: np.random.Generator) -> Phrase:
    return Phrase(pick(FRAMES, rng).format(text), frozenset(needed))


def _of_object(spec: ImageSpec, rng: np.random.Generator) -> Phrase:
    """Says "a striped red boat at night", or less of it."""
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
    """Says "a boat with a white sail", "the sail of a boat", "white sail"."""
    main = spec.main
    paint = main.part_colours.get(part, main.colour)
    of, painted = f"{part} of {main.kind}", f"{paint} {part}"
    wordings = (
        (f"{article(main.kind)} with {article(part)}", {of}),
        (f"{article(main.kind)} with {article(painted)}", {of, painted}),
        (f"the {part} of {article(main.kind)}", {of}),
        (f"{main.kind} {part}", {of}),
        (painted, {painted}),
        (article(painted), {painted}),
        (f"{part}s" if not part.endswith("s") else part, {part}),
    )
    text, needed = wordings[int(rng.integers(len(wordings)))]
    return _framed(text, needed, rng)


SCENE_PHRASES = {
    scene: (scene, f"the {scene}", setting.phrase, f"{scene} scene") for scene, setting in SCENES.items()
}
