"""Generates annotations of units from the labels of the pixels under their masks.

A person who annotates a unit names what the marked regions have in common. Here that is what is frequent
in them and covers more of them than of all images. The gain of a word is p log(f / b), where p is the
share of the exemplars that show it, f its share of the marked pixels and b its share of all pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....datasets.tinyworld.captions import article
from ....datasets.tinyworld.words import (
    BACKDROP,
    CATEGORIES,
    COLOURS,
    NUMBER,
    OBJECTS,
    PARTS,
    SCENES,
    TEXTURES,
)
from .word_statistics import EDGE, WordStatistics

PER_UNIT = 3
"""Annotations per unit, as in MILANNOTATIONS."""

# Thresholds of the rules below, set by hand.
_CLEAR = 0.5  # least gain of a noun
_BEFORE = 0.55  # a noun is named if its gain is this share of that of the best colour or texture
_RIVAL = 0.4  # a second noun is named if its gain is this share of the first one's
_USUAL, _FREQUENT, _TOGETHER = 0.4, 0.3, 0.7  # presence of a noun alone, of each of two, of both added
_MOST, _MUCH, _NEARLY = 0.5, 0.3, 0.7  # share of an adjective alone, of each of two, of both added
_STRIKING = 1.5  # gain of a colour that is named although most pixels have another one
_MORE = 1.4  # an adjective is named if its share is this many times its share in all images
_EDGY = 2.0  # edges are named if their share is this many times their share in all images
_ALWAYS = 0.9  # a scene is not named if this share of the noun's pixels are in it in all images
_IN_SCENE = 0.6  # share of the marked pixels that must be in one scene for it to be named
_OF_OWNER = 0.6  # share of a part's pixels that must belong to one kind of object for it to be named
_APART = 0.12  # difference in mean height that makes one thing "above" another

_MASS = {"sky", "sand", "water", "grass", "snow", "wallpaper", "pollen"}
_PLURALS = {"fish": "fish", "leaf": "leaves", "cactus": "cacti"}


@dataclass(frozen=True)
class CommonContent:
    """What the marked regions of a unit have in common; None or empty for what they do not share.

    Attributes:
        noun: an object, a part or a piece of the scene.
        owner: the object that the part belongs to.
        colours: of the noun, or of the regions; one or two.
        texture: of the noun, or of the regions.
        beside: a relation and a second noun, such as ("above", "grass").
        scene: the scene that the regions are in.
        edge: whether the regions are at the boundaries of objects.
    """

    noun: str | None = None
    owner: str | None = None
    colours: tuple[str, ...] = ()
    texture: str | None = None
    beside: tuple[str, str] | None = None
    scene: str | None = None
    edge: bool = False


def common_content(unit: WordStatistics, overall: WordStatistics) -> CommonContent:
    """Returns what the marked regions of a unit have in common, beyond what all images show.

    Args:
        unit: statistics of its exemplars under their masks.
        overall: statistics of all pixels of the probing set.
    """
    gains = _gains(unit, overall)
    best_adjective = max(gains[NUMBER[word]] for word in (*COLOURS, *TEXTURES))
    first, second = _nouns(gains, unit)
    if first is None or gains[NUMBER[first]] < max(_BEFORE * best_adjective, _CLEAR):
        return _without_noun(unit, overall, gains)
    noun, owner = (first, None) if second else _part_and_owner(first, unit, overall)
    relation = _relation(first, second, unit) if second else None
    # With "and", adjectives describe all marked regions, else those of the first noun.
    region = None if relation == "and" else NUMBER[noun]
    scene = _scene(unit)
    if scene and overall.share_within(NUMBER[scene], NUMBER[first]) > _ALWAYS:
        scene = None
    return CommonContent(
        noun,
        owner,
        _adjectives("color", unit, overall, region)[:2],
        next(iter(_adjectives("texture", unit, overall, region)[:1]), None),
        (relation, second) if relation and second else None,
        scene,
    )


def _gains(unit: WordStatistics, overall: WordStatistics) -> NDArray[np.float64]:
    """Returns p log(f / b) of every word; 0 where f or b is 0."""
    marked, everywhere = unit.shares.diagonal(), overall.shares.diagonal()
    defined = (marked > 0) & (everywhere > 0)
    gains = np.zeros(len(marked))
    gains[defined] = unit.presence[defined] * np.log(marked[defined] / everywhere[defined])
    return gains


def _nouns(gains: NDArray[np.float64], unit: WordStatistics) -> tuple[str | None, str | None]:
    """Returns the noun that most exemplars show, and a second one if it is as common or alternates."""
    ordered = sorted(CATEGORIES["object"], key=lambda word: -gains[NUMBER[word]])
    first, second = ordered[:2]
    presence = unit.presence[NUMBER[first]], unit.presence[NUMBER[second]]
    covering = {word: unit.share(NUMBER[word]) * gains[NUMBER[word]] for word in (first, *PARTS)}
    largest = max(covering, key=lambda word: covering[word])
    if largest != first and unit.presence[NUMBER[largest]] >= _USUAL:
        return largest, None
    rival = gains[NUMBER[second]] >= max(_RIVAL * gains[NUMBER[first]], _CLEAR)
    if rival and min(presence) >= _FREQUENT and sum(presence) >= _TOGETHER:
        return first, second
    return (first if presence[0] >= _USUAL else None), None


def _without_noun(
    unit: WordStatistics, overall: WordStatistics, gains: NDArray[np.float64]
) -> CommonContent:
    striking = max(COLOURS, key=lambda word: gains[NUMBER[word]])
    colours = _adjectives("color", unit, overall)
    if not colours and gains[NUMBER[striking]] >= _STRIKING:
        colours = (striking,)
    texture = next(iter(_adjectives("texture", unit, overall)[:1]), None)
    edge = unit.share(EDGE) > _EDGY * overall.share(EDGE)
    return CommonContent(None, None, colours, texture, None, _scene(unit), edge)


def _adjectives(
    category: str, unit: WordStatistics, overall: WordStatistics, region: int | None = None
) -> tuple[str, ...]:
    """Returns the adjective of most pixels of a noun (None: of all regions), or two that share most."""
    shares = {word: unit.share_within(NUMBER[word], region) for word in CATEGORIES[category]}
    typical = {word: overall.share_within(NUMBER[word], region) for word in shares}
    distinctive = [word for word in shares if shares[word] > _MORE * typical[word]]
    ordered = sorted(distinctive, key=lambda word: -shares[word])[:2]
    if ordered and shares[ordered[0]] >= _MOST:
        return (ordered[0],)
    both = [shares[word] for word in ordered]
    return tuple(ordered) if len(both) == 2 and min(both) >= _MUCH and sum(both) >= _NEARLY else ()


def _scene(unit: WordStatistics) -> str | None:
    return next((scene for scene in SCENES if unit.share(NUMBER[scene]) >= _IN_SCENE), None)


def _part_and_owner(noun: str, unit: WordStatistics, overall: WordStatistics) -> tuple[str, str | None]:
    """Returns the object, or the part of it that is meant with its owner if it is mostly of one kind."""
    if noun in PARTS:
        owner = max(OBJECTS, key=lambda kind: unit.share_within(NUMBER[kind], NUMBER[noun]))
        return noun, owner if unit.share_within(NUMBER[owner], NUMBER[noun]) > _OF_OWNER else None
    region = NUMBER[noun]
    for part in PARTS:
        share = unit.share_within(NUMBER[part], region)
        if share > _MOST and share > _MORE * overall.share_within(NUMBER[part], region):
            return part, noun
    return noun, None


def _relation(first: str, second: str, unit: WordStatistics) -> str:
    """Returns the spatial relation of two nouns; "and" if they alternate or have none."""
    if min(unit.presence[NUMBER[first]], unit.presence[NUMBER[second]]) < _USUAL:
        return "and"
    if first not in BACKDROP:
        return "in front of" if second in BACKDROP else "and"
    if second not in BACKDROP:
        return "behind"
    higher = unit.heights[NUMBER[first]] - unit.heights[NUMBER[second]]
    return "above" if higher > _APART else "below" if higher < -_APART else "and"


def annotate(content: CommonContent, rng: np.random.Generator, count: int = PER_UNIT) -> tuple[str, ...]:
    """Returns `count` different wordings of what a unit's regions have in common, in random order."""
    wordings = list(dict.fromkeys(_wordings(content)))
    return tuple(wordings[i] for i in rng.permutation(len(wordings))[:count])


def _wordings(content: CommonContent) -> list[str]:
    """Returns all wordings, at least three."""
    adjectives = " ".join(filter(None, (content.texture, " and ".join(content.colours))))
    if content.noun is None:
        return _surface_wordings(content, adjectives)
    end = ""
    if content.beside:
        relation, other = content.beside
        end = f" {relation} {plural(other)}"
    if content.scene:
        end += f" {SCENES[content.scene].phrase}"
    starts = _noun_wordings(content.noun, content.owner, adjectives)
    return [_single_spaced(f"{start} {end}") for start in starts]


def _noun_wordings(noun: str, owner: str | None, adjectives: str) -> list[str]:
    many = _single_spaced(f"{adjectives} {plural(noun)}")
    if owner:
        compound = _single_spaced(f"{adjectives} {owner} {plural(noun)}")
        return [f"{many} of {plural(owner)}", f"the {many} of {plural(owner)}", compound]
    if noun in PARTS:
        return [many, f"{many} of different objects", f"the {many} of objects"]
    if noun in _MASS:
        return [many, f"areas of {many}", f"the {many}"]
    return [many, article(_single_spaced(f"{adjectives} {noun}")), f"the {many}"]


def _surface_wordings(content: CommonContent, adjectives: str) -> list[str]:
    place = SCENES[content.scene].phrase if content.scene else ""
    if content.edge:
        starts = [
            f"edges of {adjectives} objects",
            f"outlines of {adjectives} objects",
            f"borders of {adjectives} things",
        ]
    elif adjectives:
        starts = [f"{adjectives} surfaces", f"{adjectives} areas", f"things that are {adjectives}"]
    elif content.scene:
        return [f"{content.scene} scenes", f"different things {place}", f"all kinds of things {place}"]
    else:
        starts = ["many different things", "various objects", "all kinds of objects"]
    return [_single_spaced(f"{start} {place}") for start in starts]


def plural(noun: str) -> str:
    """Returns the plural of a noun of tinyworld; uncountable nouns stay as they are."""
    if noun in _MASS:
        return noun
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def _single_spaced(text: str) -> str:
    # Empty adjectives and places leave double blanks.
    return " ".join(text.split())
