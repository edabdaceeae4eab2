"""Imports result files of every form into the answers of a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ...harness.errors import InputError
from .answers import (
    Answer,
    ImportedFile,
    Line,
    Status,
    StatusChange,
    append_answers,
    read_answer_lines,
)
from .mturk.results import is_result_file, is_turkle, read_results
from .result_file import ResultFile
from .sheet_file import is_sheet, read_sheet
from .study import Study


@dataclass(frozen=True)
class FileReport:
    """What was imported from one file.

    Attributes:
        path: the file.
        form: "mturk", "turkle" or "sheet".
        source: the source of its answers.
        rows: number of its rows with an answer.
        added: rows that were new.
        known: rows that an earlier import had stored.
        changed: assignments whose status is another one than before.
        complete: whether an earlier import had read the whole file.
        notes: what is unusual in the file, and how often.
    """

    path: Path
    form: str
    source: str
    rows: int = 0
    added: int = 0
    known: int = 0
    changed: int = 0
    complete: bool = False
    notes: Mapping[str, int] = field(default_factory=dict)


def import_answers(
    study: Study,
    paths: Sequence[Path],
    *,
    source: str | None = None,
    step: Callable[[], None] | None = None,
) -> list[FileReport]:
    """Adds what is new in result files to the answers of a study.

    Every file is checked completely before the first answer is stored. Stored answers are never changed:
    a file that was imported before changes nothing, a later download of the same batch adds its new rows
    and its changes of status, and after a kill the same command adds what is missing.

    Args:
        study: the study.
        paths: result files of Mechanical Turk, Turkle or the rating page, and rating sheets.
        source: where the assignment ids are unique; None to derive it from each file.
        step: called after each file.

    Raises:
        InputError: if a file is invalid or belongs to another study, with file and line; nothing of any
            file is stored then.
    """
    with _locked(study):
        stored = _Stored.of(read_answer_lines(study))
        reports: list[FileReport] = []
        lines: list[Line] = []
        for path in paths:
            report, new = _import_file(study, ResultFile(path), stored, source)
            reports.append(report)
            lines += new
            if step is not None:
                step()
        append_answers(study, lines)
    return reports


@contextmanager
def _locked(study: Study) -> Iterator[None]:
    """Admits one import at a time."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(study.path / ".answers.lock", timeout=10):
            yield
    except Timeout:
        raise InputError(f"another import into {study.path} is running", "wait until it ends") from None


@dataclass
class _Stored:
    """The answers that are stored, or will be when the import ends."""

    answers: dict[tuple[str, str], Answer]
    status: dict[tuple[str, str], Status]
    files: dict[str, ImportedFile]
    rows: dict[str, Counter[tuple[str, str]]]

    @classmethod
    def of(cls, lines: Sequence[Line]) -> _Stored:
        stored = cls({}, {}, {}, {})
        for line in lines:
            stored.add(line)
        return stored

    def add(self, line: Line) -> None:
        if isinstance(line, ImportedFile):
            self.files[line.imported] = line
            return
        key = line.source, line.assignment_id
        if isinstance(line, Answer):
            self.answers.setdefault(key, line)
            self.rows.setdefault(line.file, Counter())[key] += 1
        if line.status != "submitted" or key not in self.status:
            self.status[key] = line.status


def _import_file(
    study: Study, file: ResultFile, stored: _Stored, source: str | None
) -> tuple[FileReport, list[Line]]:
    """Returns the report of a file and the lines to store; they are added to `stored`."""
    form, (source, answers) = _read(study, file, source)
    if earlier := stored.files.get(file.digest):
        if earlier.source != source:
            raise InputError(
                f"{file.path} was imported before with the source {earlier.source!r}, not {source!r}",
                f"to import it with another source, delete {study.path / 'answers.jsonl'} and import all "
                "files again",
            )
        rows = len(answers)
        return FileReport(file.path, form, source, rows, 0, rows, complete=True), []
    # Rows of this file that a killed import has stored. A file may have the row of an assignment twice.
    before = stored.rows.get(file.digest, Counter()).copy()
    lines: list[Line] = []
    known = 0
    for answer in answers:
        if before[answer.key] > 0:
            before[answer.key] -= 1
            known += 1
            continue
        same = stored.answers.get(answer.key)
        if same is None or same.file == file.digest:
            line: Line = answer
        else:
            known += 1
            _check_unchanged(file, answer, same)
            if answer.status in ("submitted", stored.status[answer.key]):
                continue
            line = StatusChange(*answer.key, answer.status, answer.origin, answer.file)
        stored.add(line)
        lines.append(line)
    added = sum(isinstance(line, Answer) for line in lines)
    changed = len(lines) - added
    end = ImportedFile(file.digest, file.path.name, form, source)
    stored.add(end)
    report = FileReport(
        *(file.path, form, source, len(answers), added, known, changed), notes=dict(file.notes)
    )
    return report, [*lines, end]


def _read(study: Study, file: ResultFile, source: str | None) -> tuple[str, tuple[str, list[Answer]]]:
    """Returns the form of a file, its source and its answers."""
    # First, because a damaged header may have columns of both.
    if is_result_file(file):
        return "turkle" if is_turkle(file) else "mturk", read_results(study, file, source)
    if is_sheet(file):
        return "sheet", read_sheet(study, file, source)
    raise InputError(
        f"{file.path} is neither a result file (columns AssignmentId, Answer.NAME) nor a rating sheet "
        "(columns task_id, design, rating_1)",
        f"its columns are {', '.join(file.header)[:200] or 'none'}",
    )


def _check_unchanged(file: ResultFile, answer: Answer, stored: Answer) -> None:
    """Checks that an assignment that was imported from another file is the same answer here."""
    if (answer.task_id, answer.rater, answer.values) == (stored.task_id, stored.rater, stored.values):
        return
    raise InputError(
        f"{file.path}: {answer.origin}: the answer differs from the one in {stored.origin} "
        f"({answer.source}, {answer.assignment_id})",
        "answers are never replaced. Give files of different installations a --source of their own; if "
        "an answer was corrected, delete answers.jsonl and import the corrected files",
    )
