"""The progress of a study on the rating page: answers, raters, seconds, agreement."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ..answers import Answer
from ..judgements import passes_check
from ..study import Study
from .ledger import Roles
from .settings import PageSettings
from .store import AnswerRow, read_rows

_AGREEMENT = {
    "rating": "pairs of ratings at most 1 apart",
    "correlation": "pairs of answers that are equal",
}


@dataclass(frozen=True)
class ProgressTable:
    """A small table of the admin page."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Progress:
    """What the admin page shows.

    Attributes:
        figures: names and figures, in words.
        tables: tables of tasks and raters.
    """

    figures: Sequence[tuple[str, str]]
    tables: Sequence[ProgressTable]


def progress(study: Study, settings: PageSettings) -> Progress:
    """Returns the progress as of now, read from the database."""
    raters, answers = read_rows(study)
    roles, wanted = Roles.of(study), study.settings.raters_per_task
    per_task = Counter(answer.task for answer in answers)
    valid = sum(min(wanted, per_task[task]) for task in roles.units)
    seconds = [answer.seconds for answer in answers]
    finished = sum(row.finished is not None for row in raters)
    agreement = pairwise_agreement(study, answers)
    figures = [
        ("answers of those wanted", f"{valid} of {len(roles.units) * wanted}"),
        ("tasks complete", f"{sum(per_task[t] >= wanted for t in roles.units)} of {len(roles.units)}"),
        ("raters", f"{len(raters)} ({finished} finished)"),
        ("median seconds per task", f"{statistics.median(seconds):.1f}" if seconds else "–"),
        (_AGREEMENT[study.settings.kind], "–" if agreement is None else f"{100 * agreement:.0f} %"),
        ("raters needed in all, at least", str(raters_needed(roles, wanted, settings))),
    ]
    counts = Counter(per_task[task] for task in roles.units)
    rows = [(number, counts[number]) for number in range(max(counts, default=0) + 1)]
    tables = [ProgressTable("Answers per task", ("answers", "tasks"), rows)]
    return Progress(figures, [*tables, _raters_table(study, answers)])


def raters_needed(roles: Roles, wanted: int, settings: PageSettings) -> int:
    """Returns the least number of raters with whom every task is answered as often as wanted."""
    units, checks = len(roles.units), len(roles.checks)
    share = units / max(1, units + checks)
    per_rater = max(1, min(units, int(settings.tasks_per_rater * share)))
    # Nobody answers a task twice, so at least as many raters as answers of one task.
    return max(wanted, -(-units * wanted // per_rater)) if units else 0


def pairwise_agreement(study: Study, answers: Sequence[AnswerRow]) -> float | None:
    """Returns how often two raters of a task agree; None before a task has two raters.

    Ratings agree if they differ by at most one point, answers of yes or no if they are equal.
    """
    tasks: dict[str, list[AnswerRow]] = {}
    for answer in answers:
        tasks.setdefault(answer.task, []).append(answer)
    agreeing: list[bool] = []
    for task, given in tasks.items():
        for first, second in combinations(given, 2):
            if study.settings.kind == "correlation":
                agreeing.append(first.values["fits"] == second.values["fits"])
                continue
            for slot in range(1, len(study.tasks[task].descriptions) + 1):
                ratings = (int(answer.values[f"rating_{slot}"]) for answer in (first, second))
                agreeing.append(abs(next(ratings) - next(ratings)) <= 1)
    return statistics.fmean(agreeing) if agreeing else None


def _raters_table(study: Study, answers: Sequence[AnswerRow]) -> ProgressTable:
    of_rater: dict[str, list[AnswerRow]] = {}
    for answer in answers:
        of_rater.setdefault(answer.rater, []).append(answer)
    rows = []
    for rater, given in of_rater.items():
        checks = [passed for a in given if (passed := _check(study, a)) is not None]
        seconds = [answer.seconds for answer in given]
        fast = sum(value < study.settings.min_seconds for value in seconds)
        rows.append((rater, len(given), sum(checks), len(checks), statistics.median(seconds), fast))
    columns = ("rater", "answers", "checks passed", "checks", "median seconds", "too fast")
    return ProgressTable("Raters", columns, rows)


def _check(study: Study, answer: AnswerRow) -> bool | None:
    """Returns whether a check was passed; None for an answer to another task."""
    key = study.key[answer.task]
    if not key or key[0].role not in ("attention", "gold"):
        return None
    values = Answer("page", "", answer.task, answer.rater, "submitted", None, "", answer.values, "", "")
    return passes_check(values, key, study.settings.scale)
