"""The answers of raters, as `answers.jsonl` stores them: one assignment per line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ...harness.errors import one_of
from ...harness.journal import LineWriter, read_lines
from .study import ANSWERS, Study

Status = Literal["submitted", "approved", "rejected"]


@dataclass(frozen=True)
class Answer:
    """What one rater answered to one task.

    Attributes:
        source: where the assignment id is unique: "mturk", "page", "sheet:NAME", "turkle:NAME".
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


def read_answers(study: Study) -> list[Answer]:
    """Returns the answers of a study in the order of their import; empty before the first import.

    Raises:
        InputError: for a damaged line, or an answer to another design.
    """
    path = study.path / ANSWERS
    if not path.exists():
        return []
    return [answer for _, answer in read_lines(path, _parser(study), _HINT)]


def append_answers(study: Study, answers: Sequence[Answer]) -> None:
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


def _parser(study: Study) -> Any:
    def parse(line: str) -> Answer:
        content = json.loads(line)
        if content.pop("design") != study.design:
            raise ValueError("an answer to another design")
        return Answer(**content)

    return parse
