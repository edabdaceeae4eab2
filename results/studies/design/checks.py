"""Attention checks and repeated tasks of a rating study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ....harness.errors import InputError, at_least
from ....harness.records import UnitId
from .drafts import Draft
from .frame import Frame
from .slots import SharedText, SlotBalance, join_identical, normalised


@dataclass(frozen=True)
class CheckSettings:
    """How many tasks check raters.

    Attributes:
        attention: number of attention checks; None for one in 25 tasks, at least one.
        gold: number of gold tasks that are made of units, see `gold_from_units`.
        gold_file: a file of further gold tasks, see `gold_from_file`; None for none.
        repeat: share of the units' tasks that are shown again, from 0 to 0.5.
    """

    attention: int | None = None
    gold: int = 0
    gold_file: Path | None = None
    repeat: float = 0.0

    def __post_init__(self) -> None:
        if self.attention is not None:
            at_least("--attention", self.attention, 0)
        at_least("--gold-tasks", self.gold, 0)
        if not 0 <= self.repeat <= 0.5:
            # A repetition is in the other half of the tasks than what it repeats.
            raise InputError(f"--repeat {self.repeat} must be a share from 0 to 0.5")


def attention_checks(
    frame: Frame, units: Sequence[UnitId], count: int, highest: int, rng: np.random.Generator
) -> list[Draft]:
    """Returns tasks in which one text asks to be chosen as the best.

    They look like other tasks: images of a unit (of one that is not in the study, where there is one),
    and as many descriptions as there are methods, of other units.

    Args:
        frame: the units and their descriptions.
        units: the units of the study.
        count: number of checks.
        highest: highest rating.
        rng: draws units, texts and slots.

    Raises:
        InputError: if there are fewer units than checks.
    """
    text = f"Attention check: please choose this description as the best one and rate it {highest}"
    balance = SlotBalance(rng)
    drafts = []
    for unit in check_units(frame, units, count, "--attention", rng):
        fillers = other_texts(frame, unit, max(1, len(frame.methods) - 1), rng)
        # The same for all layers; the method's name stands for the text, which belongs to no method.
        arranged = balance.arrange([SharedText(text, ("",)), *fillers], None)
        slots = tuple(SharedText(shared.text, ()) for shared in arranged)
        drafts.append(Draft("attention", unit, slots, {text: "best"}))
    return drafts


def check_units(
    frame: Frame, units: Sequence[UnitId], count: int, option: str, rng: np.random.Generator
) -> list[UnitId]:
    """Returns different units for checks, those that are not in the study first.

    Raises:
        InputError: if there are fewer units than checks.
    """
    if count > len(frame.texts):
        raise InputError(
            f"{option} {count}: the run has {len(frame.texts)} units with descriptions",
            "one unit serves for one check: ask for fewer checks",
        )
    chosen = set(units)
    others = [unit for unit in frame.texts if unit not in chosen]
    shuffled = [part[k] for part in (others, list(units)) for k in rng.permutation(len(part))]
    return shuffled[:count]


def other_texts(frame: Frame, unit: UnitId, count: int, rng: np.random.Generator) -> list[SharedText]:
    """Returns different descriptions of other units; fewer if there are not so many."""
    seen = {normalised(text) for text in frame.texts[unit].values()}
    units = [other for other in frame.texts if other != unit]
    chosen: list[SharedText] = []
    for position in rng.permutation(len(units)).tolist():
        if len(chosen) == count:
            break
        texts = join_identical(frame.texts[units[position]])
        text = texts[int(rng.integers(len(texts)))].text
        if normalised(text) not in seen:
            seen.add(normalised(text))
            chosen.append(SharedText(text, ()))
    return chosen


def repeated_tasks(drafts: Sequence[Draft], share: float, rng: np.random.Generator) -> list[Draft]:
    """Returns repetitions of a random share of tasks, with the texts in another order."""
    count = round(share * len(drafts))
    chosen = sorted(rng.permutation(len(drafts))[:count].tolist())
    return [
        replace(draft, role="repeat", slots=_reordered(draft.slots, rng), repeats=draft)
        for draft in (drafts[k] for k in chosen)
    ]


def _reordered(slots: tuple[SharedText, ...], rng: np.random.Generator) -> tuple[SharedText, ...]:
    """Returns the texts in a random order that is not the same, if there are several."""
    while True:
        reordered = tuple(slots[k] for k in rng.permutation(len(slots)))
        if reordered != slots or len(slots) < 2:
            return reordered
