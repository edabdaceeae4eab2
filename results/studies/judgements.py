"""Turns answers into judgements of methods: applies dropping rules, resolves slots to methods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .answers import Answer
from .study import KeyRow, Role, Study

NONE = "none"
"""Value of the field `best` that chooses no description."""


@dataclass(frozen=True)
class Rules:
    """Which answers are dropped, in this order.

    Attributes:
        rejected: drop assignments with the status "rejected".
        duplicates: drop an assignment id that occurred before, keeping the first; and further answers of
            a rater to the same task, keeping the one that was submitted first.
        failed_checks: drop every answer of a rater who failed at least this many attention checks or gold
            tasks; None keeps all.
        too_fast: drop answers in less time than this, in seconds; None only flags them.
    """

    rejected: bool = True
    duplicates: bool = True
    failed_checks: int | None = 1
    too_fast: float | None = None


@dataclass(frozen=True)
class Judgement:
    """One accepted answer to a task about a unit, with slots resolved to methods.

    Attributes:
        task_id: the task.
        role: "unit" or "repeat".
        target: name of the target.
        layer: name of the layer.
        unit: index of the unit.
        rater: hash of the rater.
        assignment: (source, assignment id).
        seconds: working time; None if unknown.
        ratings: rating by method; methods without a rating are absent.
        best: the methods whose description was chosen as the best, several if they share a text; empty
            for "none of them"; None without an answer.
        fits: the answer of the kind "correlation"; None without one.
    """

    task_id: str
    role: Role
    target: str
    layer: str
    unit: int
    rater: str
    assignment: tuple[str, str]
    seconds: float | None
    ratings: Mapping[str, int]
    best: tuple[str, ...] | None = None
    fits: bool | None = None


@dataclass(frozen=True)
class Judgements:
    """What the rules leave.

    Attributes:
        accepted: judgements of units, in the order of the answers.
        repeats: judgements of repeated tasks.
        dropped: number of answers dropped by each rule.
        failed_raters: raters who failed the checks.
        too_fast: assignments that are flagged as too fast.
    """

    accepted: tuple[Judgement, ...]
    repeats: tuple[Judgement, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed_raters: tuple[str, ...] = ()
    too_fast: tuple[tuple[str, str], ...] = ()


def judge(study: Study, answers: Sequence[Answer], rules: Rules | None = None) -> Judgements:
    """Applies the rules in their order and resolves the slots of what is left."""
    rules = rules or Rules()
    dropped: Counter[str] = Counter()
    rows = list(answers)
    if rules.rejected:
        rows = _keep(rows, lambda row: row.status != "rejected", "rejected", dropped)
    if rules.duplicates:
        seen: set[tuple[str, ...]] = set()
        rows = _keep(rows, lambda row: _first(seen, row.source, row.assignment_id), "duplicate", dropped)
        first = _first_answers(rows)
        rows = _keep(rows, lambda row: first[row.task_id, row.rater] is row, "second_answer", dropped)
    failed = failed_raters(study, rows, rules.failed_checks)
    rows = _keep(rows, lambda row: row.rater not in failed, "failed_checks", dropped)
    checks = {task for task, key in study.key.items() if key and key[0].role in ("attention", "gold")}
    rows = _keep(rows, lambda row: row.task_id not in checks, "check_tasks", dropped)
    too_fast = [row for row in rows if _is_fast(row, study.settings.min_seconds)]
    if rules.too_fast is not None:
        least = rules.too_fast
        rows = _keep(rows, lambda row: not _is_fast(row, least), "too_fast", dropped)
    judgements = [_judgement(row, study.key[row.task_id]) for row in rows]
    return Judgements(
        accepted=tuple(j for j in judgements if j.role == "unit"),
        repeats=tuple(j for j in judgements if j.role == "repeat"),
        dropped=dict(dropped),
        failed_raters=tuple(sorted(failed)),
        too_fast=tuple((row.source, row.assignment_id) for row in too_fast),
    )


def failed_raters(study: Study, answers: Sequence[Answer], least: int | None) -> set[str]:
    """Returns the raters who failed at least `least` checks; nobody for None."""
    if least is None:
        return set()
    failures: Counter[str] = Counter()
    for row in answers:
        key = study.key[row.task_id]
        if key and key[0].role in ("attention", "gold"):
            failures[row.rater] += not passes_check(row, key, study.settings.scale)
    return {rater for rater, count in failures.items() if count >= least}


def passes_check(answer: Answer, key: Sequence[KeyRow], scale: tuple[int, int]) -> bool:
    """Returns whether an answer is what the key expects of an attention check or gold task."""
    middle = sum(scale) / 2
    for row in key:
        if row.expected == "best" and answer.values.get("best", "") != str(row.slot):
            return False
        if row.expected in ("yes", "no") and answer.values.get("fits", "") != row.expected:
            return False
        if row.expected in ("high", "low"):
            rating = answer.values.get(f"rating_{row.slot}", "")
            if not rating or (float(rating) - middle) * (1 if row.expected == "high" else -1) <= 0:
                return False
    return True


def _keep(
    rows: list[Answer], test: Callable[[Answer], bool], rule: str, dropped: Counter[str]
) -> list[Answer]:
    kept = [row for row in rows if test(row)]
    dropped[rule] = len(rows) - len(kept)
    return kept


def _first(seen: set[tuple[str, ...]], *key: str) -> bool:
    if key in seen:
        return False
    seen.add(key)
    return True


def _first_answers(rows: Sequence[Answer]) -> dict[tuple[str, str], Answer]:
    """Returns the answer of each (task, rater) that was submitted first.

    Answers without a time count as submitted after the others, in the order of their import.
    """
    first: dict[tuple[str, str], Answer] = {}
    for row in rows:
        earlier = first.setdefault((row.task_id, row.rater), row)
        if row.submitted and (not earlier.submitted or row.submitted < earlier.submitted):
            first[row.task_id, row.rater] = row
    return first


def _is_fast(answer: Answer, least: float) -> bool:
    return answer.seconds is not None and answer.seconds < least


def _judgement(answer: Answer, key: Sequence[KeyRow]) -> Judgement:
    first = key[0]
    assert first.unit is not None
    best = answer.values.get("best", "")
    fits = answer.values.get("fits", "")
    ratings = {
        row.method: int(rating) for row in key if (rating := answer.values.get(f"rating_{row.slot}", ""))
    }
    chosen = tuple(row.method for row in key if str(row.slot) == best)
    return Judgement(
        *(answer.task_id, first.role, first.target, first.layer, first.unit, answer.rater),
        *((answer.source, answer.assignment_id), answer.seconds, ratings),
        best=None if not best else chosen,
        fits=None if not fits else fits == "yes",
    )
