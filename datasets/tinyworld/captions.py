"""Captions of images, one English sentence each."""

from __future__ import annotations

from .image_spec import ImageSpec, ObjectSpec
from .words import SCENES


def caption(spec: ImageSpec) -> str:
    """Returns one sentence about an image; it depends on nothing but the image's specification.

    For example "a striped red boat with a white sail on the sea, beside a green tree".
    """
    main = spec.main
    # One part is enough: the first one of `OBJECTS`. More would make every sentence a list of parts.
    part = next(iter(main.part_colours.items()), None)
    detail = f" with {article(f'{part[1]} {part[0]}')}" if part else ""
    others = " and ".join(article(f"{other.colour} {other.kind}") for other in spec.objects[:-1])
    place = SCENES[spec.scene].phrase
    return f"{article(name(main))}{detail} {place}{', beside ' + others if others else ''}"


def name(spec: ObjectSpec) -> str:
    """Returns texture, colour and kind of an object, without an article: "striped red boat"."""
    return " ".join(word for word in (spec.texture, spec.colour, spec.kind) if word)


def article(phrase: str) -> str:
    """Puts "a" or "an" before a phrase; the first letter decides, which is right for the words used."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
