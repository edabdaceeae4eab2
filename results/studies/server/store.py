"""Stores raters, assignments and answers in SQLite; one thread writes, and commits in groups.

What `Store.run` has returned is on the disk: SQLite syncs its log at every commit (`synchronous=FULL`),
and results are returned after the commit only. Operations that arrive during a commit share the next one.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ....harness.errors import InputError
from ....harness.files import explained
from ..study import Study
from .ledger import Ledger, Roles
from .settings import PageSettings

Result = TypeVar("Result")
DATABASE = "page.sqlite3"
_FORMAT = 1
_MOST_AT_ONCE = 256
"""Operations in one commit: more would delay the first of them."""
_SCHEMA = """
CREATE TABLE about (design TEXT NOT NULL);
CREATE TABLE raters (
  rater TEXT PRIMARY KEY, source TEXT NOT NULL, parameters TEXT NOT NULL,
  arrived REAL NOT NULL, consented REAL, finished REAL
) WITHOUT ROWID;
CREATE TABLE assignments (
  rater TEXT NOT NULL REFERENCES raters, task TEXT NOT NULL,
  accepted REAL NOT NULL, shown REAL NOT NULL, submitted REAL, seconds REAL, answer TEXT,
  PRIMARY KEY (rater, task)
) WITHOUT ROWID;
"""


class NotStoredError(Exception):
    """Nothing was stored: the disk is full, or the database is damaged or locked."""


@dataclass(frozen=True)
class RaterRow:
    """One rater.

    Attributes:
        rater: see `Study.rater`.
        source: "link" or the name of a panel.
        parameters: the parameters of the panel's study URL; {"number": ...} for a link.
        arrived: first visit, seconds since the epoch.
        consented: when the rater consented; None before.
        finished: when the rater was first without a further task; None before.
    """

    rater: str
    source: str
    parameters: Mapping[str, str]
    arrived: float
    consented: float | None
    finished: float | None


@dataclass(frozen=True)
class AnswerRow:
    """One stored answer.

    Attributes:
        rater: see `Study.rater`.
        task: the task.
        accepted: when the task was first shown, seconds since the epoch.
        submitted: when the answer arrived.
        seconds: working time.
        values: the fields of the form.
    """

    rater: str
    task: str
    accepted: float
    submitted: float
    seconds: float
    values: Mapping[str, str]


class Store:
    """The database of one study, opened for writing by one process.

    Args:
        study: the study.
        settings: the settings of its page.

    Raises:
        InputError: if another process serves the study, or the database belongs to another design.
    """

    def __init__(self, study: Study, settings: PageSettings) -> None:
        from filelock import FileLock, Timeout

        self.study, self.settings = study, settings
        self._roles = Roles.of(study)
        with explained(study.path):
            # The operating system releases the lock when its holder dies. Not a lock of one thread: the
            # server closes the store in the thread it runs in.
            self._lock = FileLock(study.path / ".page.lock", thread_local=False)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise InputError(
                    f"{study.path} is served by another process", "stop it, or use that server"
                ) from None
        try:
            self._connection = _open(study, write=True)
            self._ledger, self._stale = self._load(), False
        except BaseException:
            self._lock.release()
            raise
        self._jobs: queue.SimpleQueue[tuple[Callable[..., Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="page writer", daemon=True)
        self._thread.start()

    async def run(self, operation: Callable[[sqlite3.Connection, Ledger], Result]) -> Result:
        """Runs an operation on the writer thread and returns its result after the commit.

        Raises:
            NotStoredError: if the commit failed; nothing of the operation remains.
        """
        future: Future[Result] = Future()
        self._jobs.put((operation, future))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finishes the operations that wait, and closes the database."""
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()
        self._lock.release()

    def _load(self) -> Ledger:
        ledger = Ledger(
            self._roles, self.settings, self.study.settings.raters_per_task, self.study.settings.seed
        )
        order = "SELECT rater, task, shown, submitted FROM assignments ORDER BY submitted, shown"
        for rater, task, shown, submitted in self._connection.execute(order):
            if submitted is None:
                ledger.shown(rater, task, shown)
            else:
                ledger.answered(rater, task)
        return ledger

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            while len(jobs) < _MOST_AT_ONCE and not self._jobs.empty():
                following = self._jobs.get()
                if following is None:
                    self._jobs.put(None)  # close after this group
                    break
                jobs.append(following)
            self._commit([job for job in jobs if job[1].set_running_or_notify_cancel()])

    def _commit(self, jobs: list[tuple[Callable[..., Any], Future[Any]]]) -> None:
        outcomes: list[Any] = []
        try:
            if self._stale:
                self._ledger, self._stale = self._load(), False
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._apply(operation) for operation, _ in jobs]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            # The ledger has changes that are not in the database.
            self._stale = True
            outcomes = [NotStoredError(str(error))] * len(jobs)
        for (_, future), outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _apply(self, operation: Callable[[sqlite3.Connection, Ledger], Any]) -> Any:
        """Returns the result of an operation, or its exception; a failed one leaves no trace."""
        self._connection.execute("SAVEPOINT operation")
        try:
            result = operation(self._connection, self._ledger)
        except Exception as error:
            if not self._connection.in_transaction:
                raise  # SQLite has undone the whole commit, as it does when the disk is full
            self._connection.execute("ROLLBACK TO operation")
            self._ledger = self._load()
            result = error
        self._connection.execute("RELEASE operation")
        return result


def read_rows(study: Study) -> tuple[list[RaterRow], list[AnswerRow]]:
    """Returns the raters and the answers of a study, also while a server runs; empty before the first.

    Raises:
        InputError: if the database is damaged or belongs to another design.
    """
    if not (study.path / DATABASE).exists():
        return [], []
    connection = _open(study, write=False)
    try:
        raters = [
            RaterRow(row[0], row[1], json.loads(row[2]), *row[3:])
            for row in connection.execute("SELECT * FROM raters ORDER BY arrived, rater")
        ]
        answers = [
            AnswerRow(*row[:-1], values=json.loads(row[-1]))
            for row in connection.execute(
                "SELECT rater, task, accepted, submitted, seconds, answer FROM assignments "
                "WHERE submitted IS NOT NULL ORDER BY submitted, rater, task"
            )
        ]
    except sqlite3.Error as error:
        raise _damaged(study.path / DATABASE, error) from error
    finally:
        connection.close()
    return raters, answers


def _open(study: Study, *, write: bool) -> sqlite3.Connection:
    path = study.path / DATABASE
    with explained(path):
        # The answers are private: created here, because SQLite would follow the umask.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    try:
        # The writer thread uses a connection that was opened by another thread, and is its only user.
        connection = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA busy_timeout = 20000")
        if write:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _create(connection, study.design)
        else:
            connection.execute("PRAGMA query_only = ON")
        (design,) = connection.execute("SELECT design FROM about").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except (sqlite3.Error, TypeError) as error:
        raise _damaged(path, error) from error
    if version != _FORMAT or design != study.design:
        raise InputError(f"{path} belongs to another design or version", "move it away to start anew")
    return connection


def _create(connection: sqlite3.Connection, design: str) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
        connection.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        connection.execute("INSERT INTO about VALUES (?)", (design,))
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
        connection.execute("COMMIT")


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"cannot read {path}: {error}", "restore it from a copy, or move it away")
