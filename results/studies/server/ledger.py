"""Decides which task a rater is given next; knows all assignments and answers of a study."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..study import Study
from .settings import PageSettings


@dataclass(frozen=True)
class Roles:
    """The tasks of a study by what they are for.

    Attributes:
        units: tasks about units.
        checks: attention checks and gold tasks.
        repeats: repeated tasks by the task that each repeats.
    """

    units: tuple[str, ...]
    checks: tuple[str, ...]
    repeats: Mapping[str, tuple[str, ...]]

    @staticmethod
    def of(study: Study) -> Roles:
        """Reads the roles from the private key."""
        units: list[str] = []
        checks: list[str] = []
        repeats: defaultdict[str, list[str]] = defaultdict(list)
        for task in study.tasks:
            rows = study.key[task]
            if rows and rows[0].role in ("attention", "gold"):
                checks.append(task)
            elif rows and rows[0].role == "repeat":
                repeats[rows[0].repeats].append(task)
            else:
                units.append(task)
        return Roles(tuple(units), tuple(checks), {t: tuple(r) for t, r in repeats.items()})


@dataclass(frozen=True)
class Next:
    """What a rater does next.

    Attributes:
        task: the next task; None if no task is open for this rater.
        answered: number of tasks that the rater has answered.
        total: number of tasks that the rater will have answered in the end, as far as is known now.
    """

    task: str | None
    answered: int
    total: int


@dataclass
class _Rater:
    answered: list[str] = field(default_factory=list)
    open: str | None = None
    shown: float = 0.0


class Ledger:
    """The assignments of one study.

    A task about a unit is open until `raters_per_task` raters have answered it or have it open on their
    screens; a screen counts until `timeout_minutes` after it was last loaded. Checks are open to every
    rater, evenly spread over the rater's tasks at random positions; a repeated task to the raters who
    answered its original. Nobody is given a task twice. Everything is recomputed at each visit, so a
    rater who was done may continue when tasks have become open again.

    Args:
        roles: the tasks.
        settings: the settings of the page.
        raters_per_task: answers wanted of each task about a unit.
        seed: seed of every random choice.
    """

    def __init__(self, roles: Roles, settings: PageSettings, raters_per_task: int, seed: int) -> None:
        self.roles, self.settings = roles, settings
        self._wanted, self._seed = raters_per_task, seed
        self._raters: defaultdict[str, _Rater] = defaultdict(_Rater)
        self._answers: Counter[str] = Counter()

    def shown(self, rater: str, task: str | None, now: float) -> None:
        """Notes which task is on a rater's screen; a previous task without an answer is given up."""
        entry = self._raters[rater]
        entry.open, entry.shown = task, now

    def answered(self, rater: str, task: str) -> bool:
        """Notes an answer; returns False if the rater had answered the task before."""
        entry = self._raters[rater]
        if task in entry.answered:
            return False
        entry.answered.append(task)
        self._answers[task] += 1
        if entry.open == task:
            entry.open = None
        return True

    def answers_of(self, rater: str) -> int:
        """Returns how many tasks a rater has answered."""
        return len(self._raters[rater].answered) if rater in self._raters else 0

    def next(self, rater: str, now: float) -> Next:
        """Returns the next task of a rater, without noting it.

        Args:
            rater: the rater.
            now: seconds since the epoch.
        """
        entry = self._raters[rater] if rater in self._raters else _Rater()
        units, repeats = self._open_units(rater, entry, now), self._open_repeats(entry)
        seen, quota = set(entry.answered), self.settings.tasks_per_rater
        checks = [task for task in self.roles.checks if task not in seen]
        checks_done = len(self.roles.checks) - len(checks)
        done = len(entry.answered)
        plain = done - checks_done + len(units) + len(repeats)
        planned = max(checks_done, self._planned_checks(min(plain, quota)))
        total = min(quota, plain + planned)
        if done >= total:
            return Next(None, done, done)
        if entry.open in units or entry.open in repeats or entry.open in checks:
            return Next(entry.open, done, total)
        generator = random.Random(f"{self._seed}:{rater}:{done}")
        due = self._check_position(rater, checks_done, planned, total) <= done
        if checks_done < planned and (due or not (units or repeats)):
            return Next(generator.choice(checks), done, total)
        ready = [t for t, age in repeats.items() if age >= self.settings.repeat_after or not units]
        if ready:
            return Next(ready[0], done, total)
        least = min(units.values())
        return Next(generator.choice([t for t, n in units.items() if n == least]), done, total)

    def _open_units(self, rater: str, entry: _Rater, now: float) -> dict[str, int]:
        """Returns the tasks about units that are open for a rater, with the number of other raters."""
        oldest = now - 60 * self.settings.timeout_minutes
        on_screens = Counter(
            other.open
            for name, other in self._raters.items()
            if name != rater and other.open is not None and other.shown > oldest
        )
        seen = set(entry.answered)
        loads = ((task, self._answers[task] + on_screens[task]) for task in self.roles.units)
        return {task: load for task, load in loads if load < self._wanted and task not in seen}

    def _open_repeats(self, entry: _Rater) -> dict[str, int]:
        """Returns the repeated tasks that are open, with the number of answers since the original."""
        seen = set(entry.answered)
        ages = ((task, len(entry.answered) - 1 - k) for k, task in enumerate(entry.answered))
        return {r: age for task, age in ages for r in self.roles.repeats.get(task, ()) if r not in seen}

    def _planned_checks(self, plain: int) -> int:
        """Returns how many checks go with a number of other tasks, in the proportion of the design."""
        others = len(self.roles.units) + sum(map(len, self.roles.repeats.values()))
        share = len(self.roles.checks) / max(1, others)
        return min(len(self.roles.checks), math.ceil(plain * share))

    def _check_position(self, rater: str, number: int, planned: int, total: int) -> int:
        """Returns the number of answers after which a rater is given the check of this number."""
        offset = random.Random(f"{self._seed}:{rater}:check {number}").random()
        return int((number + offset) * total / max(1, planned))
