"""Pictures in plain English."""

from __future__ import annotations

from .image_spec import ImageSpec, ObjectSpec
from .words import SCENES


def caption(spec: ImageSpec) -> str:
    """Returns one sentence about a picture, always the same for the same picture.

    For example "a striped red boat with a white sail on the sea, beside a green tree".
    """
    main = spec.main
    part_colours = next(iter(main.part_colours.items()), None)
    detail = f" with {article(f'{part_colours[1]} {part_colours[0]}')}" if part_colours else ""
    smaller_objects = " and ".join(article(f"{thing.colour} {thing.kind}") for thing in spec.objects[:-1])
    place = SCENES[spec.scene].phrase
    return (
        f"{article(name(main))}{detail} {place}{', beside ' + smaller_objects if smaller_objects else ''}"
    )


def name(thing: ObjectSpec) -> str:
    """Returns what a thing is, without an article: "striped red boat"."""
    return " ".join(word for word in (thing.texture, thing.colour, thing.kind) if word)


def article(phrase: str) -> str:
    """Puts "a" or "an" before a phrase, by its first letter: no word here sounds otherwise."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
