"""Pictures in plain English."""

from __future__ import annotations

from .spec import Spec, Thing
from .words import SCENES


def caption(spec: Spec) -> str:
    """Returns one sentence about a picture, always the same for the same picture.

    For example "a striped red boat with a white sail on the sea, beside a green tree".
    """
    main = spec.main
    trim = next(iter(main.trim.items()), None)
    detail = f" with {article(f'{trim[1]} {trim[0]}')}" if trim else ""
    beside = " and ".join(article(f"{thing.colour} {thing.kind}") for thing in spec.things[:-1])
    place = SCENES[spec.scene].phrase
    return f"{article(name(main))}{detail} {place}{', beside ' + beside if beside else ''}"


def name(thing: Thing) -> str:
    """Returns what a thing is, without an article: "striped red boat"."""
    return " ".join(word for word in (thing.texture, thing.colour, thing.kind) if word)


def article(phrase: str) -> str:
    """Puts "a" or "an" before a phrase, by its first letter: no word here sounds otherwise."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
