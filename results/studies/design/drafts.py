"""The tasks of a rating study before they have images, and their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ....harness.records import UnitId
from ..study import KeyRow, Role, Task, task_id
from .slots import SharedText


@dataclass(frozen=True)
class Draft:
    """One task.

    Attributes:
        role: see `KeyRow`.
        unit: the unit whose images are shown.
        slots: the texts, in the order of slots.
        expected: the answer that a check expects of a text, by text.
        number: distinguishes several tasks of one role about one unit.
        repeats: the task that this one repeats.
    """

    role: Role
    unit: UnitId
    slots: tuple[SharedText, ...]
    expected: Mapping[str, str] = field(default_factory=dict)
    number: int = 0
    repeats: Draft | None = None

    def id(self, seed: int) -> str:
        """Returns the opaque id of the task."""
        return task_id(seed, self.role, self.unit.layer, self.unit.index, self.number)

    def task(self, seed: int, images: tuple[str, ...]) -> Task:
        """Returns what raters see."""
        return Task(self.id(seed), images, tuple(text.text for text in self.slots))

    def key(self, seed: int) -> list[KeyRow]:
        """Returns the rows of the key: one per slot and method."""
        unit = self.unit
        repeats = "" if self.repeats is None else self.repeats.id(seed)
        return [
            KeyRow(
                *(self.id(seed), self.role, unit.target, unit.layer, unit.index, slot, method),
                *(self.expected.get(text.text, ""), repeats),
            )
            for slot, text in enumerate(self.slots, 1)
            for method in text.methods or ("",)
        ]


def ordered(
    units: Sequence[Draft], checks: Sequence[Draft], repeats: Sequence[Draft], rng: np.random.Generator
) -> list[Draft]:
    """Returns all tasks in the order of the study.

    Units are in random order, except that what is repeated is in the first half and its repetition in the
    second half. Checks are in random order and evenly spread, so that a rater who does only a part of the
    tasks meets some.
    """
    originals = [draft.repeats for draft in repeats]
    others = [draft for draft in units if not any(draft is original for original in originals)]
    others = [others[k] for k in rng.permutation(len(others))]
    half = max(0, (len(units) + len(repeats)) // 2 - len(originals))
    first = [draft for draft in originals if draft is not None] + others[:half]
    second = [*repeats, *others[half:]]
    tasks = [part[k] for part in (first, second) for k in rng.permutation(len(part))]
    checks = [checks[k] for k in rng.permutation(len(checks))]
    # One check at a random place of each of equally long stretches; from the last one, because an
    # insertion moves what follows.
    edges = np.linspace(0, len(tasks), len(checks) + 1)
    for check, low, high in reversed(list(zip(checks, edges[:-1], edges[1:], strict=True))):
        tasks.insert(int(rng.uniform(low, high)), check)
    return tasks
