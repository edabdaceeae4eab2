"""What a unit's exemplars show, in words: annotations from the pictures' own labels.

A person who annotates a unit names what the marked regions have in common. Here it is what most of them
show and what covers them more than it covers the world: p log(f / b), where p is the share of the
exemplars that show a word, f the share of the marked pixels and b that of all pixels that do.
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
from .census import EDGE, Census

PER_UNIT = 3
"""Annotations of a unit."""

_CLEAR = 0.5  # gain of what can be seen at all
_BEFORE = 0.55  # of the gain of the best colour or texture: with it a noun is said
_RIVAL = 0.4  # of the first thing's gain: with it a second one is said
_USUAL, _FREQUENT, _TOGETHER = 0.4, 0.3, 0.7  # exemplars that show a thing, one of two, both added
_MOST, _MUCH, _NEARLY = 0.5, 0.3, 0.7  # pixels of one colour, of one of two, of both added
_STRIKING = 1.5  # gain of a colour that is worth saying though it is not that of most pixels
_MORE = 1.4  # times the world's share, for an adjective that is worth saying
_EDGY = 2.0  # times the world's share of edges
_ALWAYS = 0.9  # share of a noun's pixels in one scene or of one object that makes these go without saying
_APART = 0.12  # difference in height that makes one thing lie above another

_MASS = {"sky", "sand", "water", "grass", "snow", "wallpaper", "pollen"}
_PLURALS = {"fish": "fish", "leaf": "leaves", "cactus": "cacti"}


@dataclass(frozen=True)
class Finding:
    """What the regions of a unit have in common; None and empty for what they do not share.

    Attributes:
        noun: an object, a part or a piece of the scene.
        owner: the object that the part belongs to.
        colours: of the noun, or of the regions; one or two.
        texture: likewise.
        beside: a relation and a second noun, such as ("above", "grass").
        scene: where it is seen.
        edge: whether the regions lie where objects begin and end.
    """

    noun: str | None = None
    owner: str | None = None
    colours: tuple[str, ...] = ()
    texture: str | None = None
    beside: tuple[str, str] | None = None
    scene: str | None = None
    edge: bool = False


def find(unit: Census, world: Census) -> Finding:
    """Returns what the regions of a unit have in common, beyond what all pictures show.

    Args:
        unit: census of its exemplars under their masks.
        world: census of whole pictures of the probing set.
    """
    gains = _gains(unit, world)
    look = max(gains[NUMBER[word]] for word in (*COLOURS, *TEXTURES))
    first, second = _things_shown(gains, unit)
    if first is None or gains[NUMBER[first]] < max(_BEFORE * look, _CLEAR):
        return _without_noun(unit, world, gains)
    noun, owner = (first, None) if second else _part_and_owner(first, unit, world)
    relation = _relation(first, second, unit) if second else None
    on = None if relation == "and" else NUMBER[noun]
    scene = _scene(unit)
    if scene and world.given(NUMBER[scene], NUMBER[first]) > _ALWAYS:
        scene = None
    return Finding(
        noun,
        owner,
        _adjectives("color", unit, world, on)[:2],
        next(iter(_adjectives("texture", unit, world, on)[:1]), None),
        (relation, second) if relation and second else None,
        scene,
    )


def _gains(unit: Census, world: Census) -> NDArray[np.float64]:
    """Returns p log(f / b) of every word."""
    marked, all_over = unit.shares.diagonal(), world.shares.diagonal()
    known = (marked > 0) & (all_over > 0)
    gains = np.zeros(len(marked))
    gains[known] = unit.presence[known] * np.log(marked[known] / all_over[known])
    return gains


def _things_shown(gains: NDArray[np.float64], unit: Census) -> tuple[str | None, str | None]:
    """Returns the thing that most exemplars show, and another if it is as common; or two in turns."""
    ordered = sorted(CATEGORIES["object"], key=lambda word: -gains[NUMBER[word]])
    first, second = ordered[:2]
    common = unit.presence[NUMBER[first]], unit.presence[NUMBER[second]]
    covering = {word: unit.share(NUMBER[word]) * gains[NUMBER[word]] for word in (first, *PARTS)}
    largest = max(covering, key=lambda word: covering[word])
    if largest != first and unit.presence[NUMBER[largest]] >= _USUAL:
        return largest, None
    rival = gains[NUMBER[second]] >= max(_RIVAL * gains[NUMBER[first]], _CLEAR)
    if rival and min(common) >= _FREQUENT and sum(common) >= _TOGETHER:
        return first, second
    return (first if common[0] >= _USUAL else None), None


def _without_noun(unit: Census, world: Census, gains: NDArray[np.float64]) -> Finding:
    striking = max(COLOURS, key=lambda word: gains[NUMBER[word]])
    colours = _adjectives("color", unit, world)
    if not colours and gains[NUMBER[striking]] >= _STRIKING:
        colours = (striking,)
    texture = next(iter(_adjectives("texture", unit, world)[:1]), None)
    edge = unit.share(EDGE) > _EDGY * world.share(EDGE)
    return Finding(None, None, colours, texture, None, _scene(unit), edge)


def _adjectives(category: str, unit: Census, world: Census, on: int | None = None) -> tuple[str, ...]:
    """Returns the word that most pixels of a noun (None: of all regions) show, or two that most share."""
    found = {word: unit.given(NUMBER[word], on) for word in CATEGORIES[category]}
    telling = [word for word in found if found[word] > _MORE * world.given(NUMBER[word], on)]
    ordered = sorted(telling, key=lambda word: -found[word])[:2]
    if ordered and found[ordered[0]] >= _MOST:
        return (ordered[0],)
    both = [found[word] for word in ordered]
    return tuple(ordered) if len(both) == 2 and min(both) >= _MUCH and sum(both) >= _NEARLY else ()


def _scene(unit: Census) -> str | None:
    return next((scene for scene in SCENES if unit.share(NUMBER[scene]) >= 0.6), None)


def _part_and_owner(thing: str, unit: Census, world: Census) -> tuple[str, str | None]:
    """Returns what to call the thing: an object; or a part, with its object if it is mostly of one."""
    if thing in PARTS:
        owner = max(OBJECTS, key=lambda kind: unit.given(NUMBER[kind], NUMBER[thing]))
        return thing, owner if unit.given(NUMBER[owner], NUMBER[thing]) > 0.6 else None
    on = NUMBER[thing]
    for part in PARTS:
        share = unit.given(NUMBER[part], on)
        if share > _MOST and share > _MORE * world.given(NUMBER[part], on):
            return part, thing
    return thing, None


def _relation(first: str, second: str, unit: Census) -> str:
    """Returns how two things lie to each other."""
    if min(unit.presence[NUMBER[first]], unit.presence[NUMBER[second]]) < _USUAL:
        return "and"
    if first not in BACKDROP:
        return "in front of" if second in BACKDROP else "and"
    if second not in BACKDROP:
        return "behind"
    higher = unit.heights[NUMBER[first]] - unit.heights[NUMBER[second]]
    return "above" if higher > _APART else "below" if higher < -_APART else "and"


def annotate(finding: Finding, rng: np.random.Generator, count: int = PER_UNIT) -> tuple[str, ...]:
    """Returns a finding in `count` different wordings, in random order."""
    wordings = list(dict.fromkeys(_wordings(finding)))
    return tuple(wordings[i] for i in rng.permutation(len(wordings))[:count])


def _wordings(finding: Finding) -> list[str]:
    """Returns every wording of a finding, at least three."""
    adjectives = " ".join(filter(None, (finding.texture, " and ".join(finding.colours))))
    if finding.noun is None:
        return _surfaces(finding, adjectives)
    end = ""
    if finding.beside:
        relation, other = finding.beside
        end = f" {relation} {plural(other)}"
    if finding.scene:
        end += f" {SCENES[finding.scene].phrase}"
    return [_squeezed(f"{start} {end}") for start in _things(finding.noun, finding.owner, adjectives)]


def _things(noun: str, owner: str | None, adjectives: str) -> list[str]:
    many = _squeezed(f"{adjectives} {plural(noun)}")
    if owner:
        compound = _squeezed(f"{adjectives} {owner} {plural(noun)}")
        return [f"{many} of {plural(owner)}", f"the {many} of {plural(owner)}", compound]
    if noun in PARTS:
        return [many, f"{many} of different objects", f"the {many} of objects"]
    if noun in _MASS:
        return [many, f"areas of {many}", f"the {many}"]
    return [many, article(_squeezed(f"{adjectives} {noun}")), f"the {many}"]


def _surfaces(finding: Finding, adjectives: str) -> list[str]:
    place = SCENES[finding.scene].phrase if finding.scene else ""
    if finding.edge:
        starts = [
            f"edges of {adjectives} objects",
            f"outlines of {adjectives} objects",
            f"borders of {adjectives} things",
        ]
    elif adjectives:
        starts = [f"{adjectives} surfaces", f"{adjectives} areas", f"things that are {adjectives}"]
    elif finding.scene:
        return [f"{finding.scene} scenes", f"different things {place}", f"all kinds of things {place}"]
    else:
        starts = ["many different things", "various objects", "all kinds of objects"]
    return [_squeezed(f"{start} {place}") for start in starts]


def plural(noun: str) -> str:
    """Returns the plural of one of the world's nouns; what cannot be counted stays as it is."""
    if noun in _MASS:
        return noun
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def _squeezed(text: str) -> str:
    return " ".join(text.split())
