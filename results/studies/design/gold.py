"""Gold tasks: tasks about units in which the right rating of a text is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from ....harness.errors import InputError
from ....harness.records import UnitId
from ...unit_view import find_unit
from ..table_file import TableRow, read_table
from .checks import check_units
from .drafts import Draft
from .frame import Frame
from .slots import SharedText, join_identical, normalised

Strongest = Callable[[UnitId], frozenset[int]]
"""Returns the images with the highest values of a unit."""

# Words that say nothing about what a unit responds to, and colours and parts that nearly every image has.
_EMPTY_TEXT = """
all and any are different for from has have image images item items kind kinds lot many more object
objects other photo photos picture pictures several some that the them there these thing things this type
types various very what which with
area areas background bodies body part parts room rooms side sides surface surfaces
black blue brown dark gray green grey orange pink purple red white yellow bright color colors colour
colours
"""
_EMPTY = frozenset(_EMPTY_TEXT.split())


def content_words(text: str) -> frozenset[str]:
    """Returns the words of a text that can tell it from others, in lower case, without plural endings."""
    words = re.findall(r"[^\W\d_]{3,}", text.casefold())
    return frozenset(re.sub(r"(?<=[^s]{2})s$", "", word) for word in words if word not in _EMPTY)


def gold_from_file(path: Path, frame: Frame, rng: np.random.Generator) -> list[Draft]:
    """Returns a task for each unit of a file with the columns layer, unit, description, expected.

    Slots that the file leaves free show the unit's own descriptions, so that the task looks like others.

    Raises:
        InputError: if the file is invalid, or has a unit without descriptions; names line and column.
    """
    of_units: dict[UnitId, dict[str, str]] = {}
    for row in read_table(path, ["layer", "unit", "description", "expected"]):
        unit, text = _unit(row, frame), " ".join(row.text("description").split())
        expected = row.text("expected")
        if expected not in ("high", "low"):
            row.refuse("expected", f"{expected[:40]!r}", "use high or low")
        texts = of_units.setdefault(unit, {})
        if normalised(text) in map(normalised, texts):
            row.refuse("description", "the unit has this description already")
        texts[text] = expected
    return [_task(frame, unit, expected, rng) for unit, expected in of_units.items()]


def _unit(row: TableRow, frame: Frame) -> UnitId:
    layer, number = row.text("layer"), row.number("unit")
    try:
        return find_unit(list(frame.texts), f"{layer}:{number}", "the run")
    except InputError as error:
        row.refuse("unit", error.message, error.hint)


def gold_from_units(
    frame: Frame, units: Sequence[UnitId], count: int, strongest: Strongest, rng: np.random.Generator
) -> list[Draft]:
    """Returns tasks with a text that must be rated low, because it describes a very different unit.

    The text is one that can be relied on: the true text of the other unit; where no unit with one is
    different enough, a description that shares a word with another method's description of that unit. The
    two units have no image in common among their strongest images, and the text shares no word with any
    description or true text of the unit shown.
    Where the true text of the unit shown is known, and one method found it, it must be rated high.

    Args:
        frame: the units and their descriptions.
        units: the units of the study; others are shown first.
        count: number of tasks.
        strongest: the strongest images of a unit.
        rng: draws units and texts.

    Raises:
        InputError: if there are not so many such units.
    """
    drafts: list[Draft] = []
    strongest = cache(strongest)
    reliable = {unit: texts for unit in frame.texts if (texts := _reliable(frame, unit))}
    for unit in check_units(frame, units, len(frame.texts), "--gold-tasks", rng) if count else ():
        foreign = _foreign(frame, unit, reliable, strongest, rng)
        if foreign is None:
            continue
        expected = {foreign: "low"}
        truth = [text for text in _true_texts(frame, unit) if _agrees(text, frame.texts[unit].values())]
        if truth:
            expected[truth[0]] = "high"
        drafts.append(_task(frame, unit, expected, rng))
        if len(drafts) == count:
            return drafts
    if count:
        raise InputError(
            f"--gold-tasks {count}: only {len(drafts)} such tasks can be made of these units",
            "ask for fewer, or write tasks of your own into a file: --gold FILE",
        )
    return drafts


def _task(frame: Frame, unit: UnitId, expected: Mapping[str, str], rng: np.random.Generator) -> Draft:
    known = {normalised(text) for text in expected}
    own = [shared for shared in join_identical(frame.texts[unit]) if normalised(shared.text) not in known]
    free = max(0, len(frame.methods) - len(expected))
    chosen = [own[k] for k in sorted(rng.permutation(len(own))[:free].tolist())]
    slots = [SharedText(text, ()) for text in expected] + chosen
    return Draft("gold", unit, tuple(slots[k] for k in rng.permutation(len(slots))), dict(expected))


def _foreign(
    frame: Frame,
    unit: UnitId,
    reliable: Mapping[UnitId, Sequence[str]],
    strongest: Strongest,
    rng: np.random.Generator,
) -> str | None:
    """Returns a reliable text of a very different unit; None if there is none."""
    own = frozenset[str]().union(
        *map(content_words, (*frame.texts[unit].values(), *_true_texts(frame, unit)))
    )
    others = list(reliable)
    others = [others[k] for k in rng.permutation(len(others))]
    others.sort(key=lambda other: not _true_texts(frame, other))  # stable
    for other in others:
        texts = [text for text in reliable[other] if not content_words(text) & own]
        # Images last: they are read from the stored activations.
        if texts and not strongest(unit) & strongest(other):
            return texts[int(rng.integers(len(texts)))]
    return None


def _reliable(frame: Frame, unit: UnitId) -> list[str]:
    """Returns the true texts of a unit; without any, the descriptions that two methods agree on."""
    if truth := _true_texts(frame, unit):
        return truth
    shared = join_identical(frame.texts[unit])
    return [
        text.text
        for text in shared
        if (len(text.methods) > 1 and content_words(text.text))
        or _agrees(text.text, [other.text for other in shared if other is not text])
    ]


def _true_texts(frame: Frame, unit: UnitId) -> list[str]:
    return list(_first_names(frame.references.get(unit, ())))


def _first_names(references: Sequence[str]) -> Iterator[str]:
    for reference in references:
        # A line of class names may hold synonyms: "tench, Tinca tinca".
        name = " ".join(reference.split(",")[0].split())
        if content_words(name):
            yield name


def _agrees(text: str, others: Iterable[str]) -> bool:
    words = content_words(text)
    return any(words & content_words(other) for other in others)
