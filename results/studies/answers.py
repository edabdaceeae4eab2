"""The answers of raters, as `answers.jsonl` stores them: one assignment per line.

`study import` appends two further kinds of lines: the changed status of an assignment, and the end of a
result file that was read completely.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from ...harness.errors import one_of
from ...harness.journal import LineWriter, read_lines
from .study import ANSWERS, Study

Status = Literal["submitted", "approved", "rejected"]


@dataclass(frozen=True)
class Answer:
    """What one rater answered to one task.

    Attributes:
        source: where the assignment id is unique: "mturk", "page", "sheet", "turkle:NAME".
        assignment_id: the id of the source; with `source` the primary key.
        task_id: the task.
        rater: salted hash of the worker id, see `Study.rater`.
        status: state of the review.
        seconds: working time; None if the source has none.
        submitted: when, ISO 8601 in UTC; "" if the source has no time.
        values: the fields of the form, unchanged: `rating_1` ..., `best` (a slot or "none"), `comment`,
            `fits` ("yes" or "no"); an absent or empty field is a missing answer.
        origin: file name and line, for messages.
        file: SHA-256 of the file.
    """

    source: str
    assignment_id: str
    task_id: str
    rater: str
    status: Status
    seconds: float | None
    submitted: str
    values: Mapping[str, str]
    origin: str
    file: str

    def __post_init__(self) -> None:
        one_of("status", self.status, get_args(Status))

    @property
    def key(self) -> tuple[str, str]:
        """(source, assignment id)."""
        return self.source, self.assignment_id


SIMULATED = "simulated"
"""Source of answers that a program gave; "simulated:NAME" tells several apart."""


def is_simulated(answer: Answer) -> bool:
    """Returns whether a program gave an answer."""
    return answer.source.partition(":")[0] == SIMULATED


@dataclass(frozen=True)
class StatusChange:
    """A later state of the review of an assignment that is stored already.

    Attributes:
        source: as in `Answer`.
        assignment_id: as in `Answer`.
        status: the new state.
        origin: file name and line.
        file: SHA-256 of the file.
    """

    source: str
    assignment_id: str
    status: Status
    origin: str
    file: str


@dataclass(frozen=True)
class ImportedFile:
    """A result file of which every row was imported.

    Attributes:
        imported: SHA-256 of the file.
        name: file name.
        form: format of the file: "mturk", "turkle" or "sheet".
        source: the source of its answers.
    """

    imported: str
    name: str
    form: str
    source: str


Line = Answer | StatusChange | ImportedFile


def read_answers(study: Study) -> list[Answer]:
    """Returns the answers of a study in the order of their import; empty before the first import.

    All rows of an assignment have its current status: the last one that is not "submitted". A download
    from before the review therefore never takes a review back.

    Raises:
        InputError: for a damaged line, or an answer to another design.
    """
    lines = read_answer_lines(study)
    current: dict[tuple[str, str], Status] = {}
    for line in lines:
        if not isinstance(line, ImportedFile) and line.status != "submitted":
            current[line.source, line.assignment_id] = line.status
    return [
        replace(line, status=current.get(line.key, line.status))
        for line in lines
        if isinstance(line, Answer)
    ]


def read_answer_lines(study: Study) -> list[Line]:
    """Returns all lines of `answers.jsonl`; raises InputError as `read_answers` does."""
    path = study.path / ANSWERS
    return [line for _, line in read_lines(path, _parser(study), _HINT)] if path.exists() else []


def append_answers(study: Study, answers: Sequence[Line]) -> None:
    """Adds answers; a kill may leave a part of them, each complete.

    Raises:
        InputError: if the file cannot be written.
    """
    path = study.path / ANSWERS
    ends = [end for end, _ in read_lines(path, _parser(study), _HINT)] if path.exists() else []
    lines = [
        json.dumps({"design": study.design, **asdict(answer)}, ensure_ascii=False, sort_keys=True)
        for answer in answers
    ]
    if lines:
        writer = LineWriter(path, ends[-1] if ends else 0)
        try:
            writer.append("\n".join(lines))  # synced once
        finally:
            writer.close()


_HINT = "restore the file from a copy, or delete it and import the result files again"


def _parser(study: Study) -> Callable[[str], Line]:
    def parse(line: str) -> Line:
        content: dict[str, Any] = json.loads(line)
        if content.pop("design") != study.design:
            raise ValueError("an answer to another design")
        if "imported" in content:
            return ImportedFile(**content)
        return Answer(**content) if "task_id" in content else StatusChange(**content)

    return parse
