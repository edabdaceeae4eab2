"""The operations on the database of a study; `Store.run` runs them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .ledger import Ledger, Next

LINK = "link"
"""Source of raters who have a link of their own."""


@dataclass(frozen=True)
class Visit:
    """The state of a rater at a visit.

    Attributes:
        source: "link" or the name of a panel.
        parameters: the parameters of the panel's URL.
        consented: whether the rater has consented.
        finished: whether the rater was without a further task before.
        answered: number of answered tasks.
        more: whether a task is open for the rater now.
    """

    source: str
    parameters: Mapping[str, str]
    consented: bool
    finished: bool
    answered: int
    more: bool


def visit(
    rater: str, now: float, source: str = LINK, parameters: Mapping[str, str] | None = None
) -> Callable[..., Visit]:
    """Returns the operation that notes the first visit of a rater and returns the present state.

    Without an open task, a rater who has answered at least one is noted as finished.

    Args:
        rater: the rater.
        now: seconds since the epoch.
        source: where the rater is from, noted at the first visit.
        parameters: the parameters of a panel's URL.
    """

    def operation(connection: sqlite3.Connection, ledger: Ledger) -> Visit:
        connection.execute(
            "INSERT OR IGNORE INTO raters VALUES (?, ?, ?, ?, NULL, NULL)",
            (rater, source, json.dumps(dict(parameters or {})), now),
        )
        first_source, sent, consented, finished = connection.execute(
            "SELECT source, parameters, consented, finished FROM raters WHERE rater = ?", (rater,)
        ).fetchone()
        following = ledger.next(rater, now)
        if following.task is None and following.answered:
            finished = _finish(connection, rater, now)
        return Visit(
            *(first_source, json.loads(sent), consented is not None, finished is not None),
            *(following.answered, following.task is not None),
        )

    return operation


def _finish(connection: sqlite3.Connection, rater: str, now: float) -> float:
    connection.execute("UPDATE raters SET finished = coalesce(finished, ?) WHERE rater = ?", (now, rater))
    return now


def consent(rater: str, now: float) -> Callable[..., None]:
    """Returns the operation that notes the consent of a rater; the first time counts."""

    def operation(connection: sqlite3.Connection, _ledger: Ledger) -> None:
        connection.execute(
            "UPDATE raters SET consented = coalesce(consented, ?) WHERE rater = ?", (now, rater)
        )

    return operation


def show_next(rater: str, number: int, now: float) -> Callable[..., Next | None]:
    """Returns the operation that gives a rater the next task; its result is None before the consent.

    Args:
        rater: the rater.
        number: which task the rater asks for, from 1; no task is given if it is answered.
        now: seconds since the epoch.
    """

    def operation(connection: sqlite3.Connection, ledger: Ledger) -> Next | None:
        row = connection.execute("SELECT consented FROM raters WHERE rater = ?", (rater,)).fetchone()
        if row is None or row[0] is None:
            return None
        answered = ledger.answers_of(rater)
        if number <= answered:
            return Next(None, answered, answered)
        result = ledger.next(rater, now)
        # A task that was given up and is no longer needed.
        connection.execute(
            "DELETE FROM assignments WHERE rater = ? AND submitted IS NULL AND task IS NOT ?",
            (rater, result.task),
        )
        if result.task is None:
            ledger.shown(rater, None, now)
            return result
        connection.execute(
            "INSERT INTO assignments VALUES (?, ?, ?, ?, NULL, NULL, NULL) "
            "ON CONFLICT DO UPDATE SET shown = excluded.shown",
            (rater, result.task, now, now),
        )
        ledger.shown(rater, result.task, now)
        return result

    return operation


def submit(
    rater: str, task: str, values: Mapping[str, str], seconds: float | None, now: float
) -> Callable[..., int]:
    """Returns the operation that stores an answer; its result is the rater's number of answers.

    A second answer to a task changes nothing: the first counts.

    Args:
        rater: the rater.
        task: the task.
        values: the fields of the form.
        seconds: working time as the page measured it; None without JavaScript.
        now: seconds since the epoch.
    """

    def operation(connection: sqlite3.Connection, ledger: Ledger) -> int:
        key = (rater, task)
        # The row is missing if the task was given up in the meantime. The answer counts all the same.
        connection.execute(
            "INSERT OR IGNORE INTO assignments VALUES (?, ?, ?, ?, NULL, NULL, NULL)", (*key, now, now)
        )
        accepted, shown, submitted = connection.execute(
            "SELECT accepted, shown, submitted FROM assignments WHERE rater = ? AND task = ?", key
        ).fetchone()
        if submitted is not None:
            return ledger.answers_of(rater)
        # The page's clock stops while the page is hidden. It cannot exceed the time since the first view.
        time = now - shown if seconds is None else min(seconds, now - accepted)
        connection.execute(
            "UPDATE assignments SET submitted = ?, seconds = ?, answer = ? WHERE rater = ? AND task = ?",
            (now, round(max(0.0, time), 1), json.dumps(dict(values), ensure_ascii=False), *key),
        )
        ledger.answered(rater, task)
        return ledger.answers_of(rater)

    return operation
