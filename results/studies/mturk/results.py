"""Reads result files of Mechanical Turk, of Turkle and of the rating page."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import cast

from ....harness.errors import InputError
from ..answers import Answer, Status
from ..form_values import checked_values, field_names
from ..result_file import ResultFile, required
from ..study import Study
from .answer_columns import ANSWER, TASK_ANSWERS, row_answers
from .times import utc_time

STATUS, APPROVE, REJECT, ASSIGNMENT = "AssignmentStatus", "Approve", "Reject", "AssignmentId"
_TASK, _DESIGN = "task_id", "design"
_REQUIRED = {
    "HITId": "the task of a row",
    ASSIGNMENT: "the primary key of a row",
    "WorkerId": "the rater",
}
# The rating page writes this here, Mechanical Turk the number of the batch.
_ANNOTATION, _PAGE = "RequesterAnnotation", "dissectbench rating page"


def is_result_file(file: ResultFile) -> bool:
    """Returns whether a file has the columns of a result file, possibly not all."""
    return any(name in file.header for name in (*_REQUIRED, TASK_ANSWERS)) or any(
        name.startswith(ANSWER) for name in file.header
    )


def is_turkle(file: ResultFile) -> bool:
    """Returns whether a result file is Turkle's, which has no review of assignments."""
    return STATUS not in file.header and "Turkle.Username" in file.header


def read_results(study: Study, file: ResultFile, source: str | None = None) -> tuple[str, list[Answer]]:
    """Returns the source of a result file and its answers, one per row.

    Args:
        study: the study that the answers belong to.
        file: the file.
        source: the source; None to derive it from the file, see `_source`.

    Raises:
        InputError: for a missing column, a task or design of another study, or an invalid value; names
            the line.
    """
    turkle = is_turkle(file)
    required(file, _REQUIRED if turkle else {**_REQUIRED, STATUS: "the state of the review"})
    _check_columns(study, file)
    answers: list[Answer] = []
    for line, row in file:
        source = source or _source(row, turkle=turkle)
        answers.append(_answer(study, file, line, row, source))
    if turkle and not file.text.isascii() and not file.text.split("\n", 1)[0].endswith("\r"):
        file.notes[
            "Turkle's API writes LF at the end of rows and drops the end of files with non-ASCII text: "
            "compare the number of answers with Turkle's, or download from the admin site"
        ] = 1
    return source or ("turkle" if turkle else "mturk"), answers


def _source(row: Mapping[str, str], *, turkle: bool) -> str:
    """Returns where the assignment ids of a file are unique.

    Ids of Mechanical Turk are unique in the world. Those of Turkle start at 1 in every installation, so a
    batch is recognised by its project and the time of its publication, which later downloads repeat.
    """
    if turkle:
        batch = "\n".join(row.get(name, "") for name in ("HITTypeId", "Title", "CreationTime"))
        return f"turkle:{hashlib.sha256(batch.encode()).hexdigest()[:8]}"
    return "page" if row.get(_ANNOTATION, "") == _PAGE else "mturk"


def _check_columns(study: Study, file: ResultFile) -> None:
    tasks = [name for name in (f"Input.{_TASK}", f"{ANSWER}{_TASK}") if name in file.header]
    if not tasks:
        raise InputError(
            f"{file.path}: no column Input.{_TASK} or {ANSWER}{_TASK}: rows cannot be assigned to tasks",
            "the batch must have the column task_id, as `dissectbench study export` writes it",
        )
    answers = {name.split(".")[1] for name in file.header if name.startswith(ANSWER)}
    if not answers - {_TASK, _DESIGN}:
        raise InputError(f"{file.path}: no column {ANSWER}NAME: the file has no answers")
    if not any(f"{prefix}{_DESIGN}" in file.header for prefix in ("Input.", ANSWER)):
        file.notes["no column `design`: rows are assigned by task_id alone"] = 1
    if TASK_ANSWERS in file.header:
        return
    slots = max(len(task.descriptions) for task in study.tasks.values())
    for name in field_names(study.settings.kind, slots):
        if name not in answers:
            # Turkle leaves out a field that no row has a value of.
            file.notes[f"no column {ANSWER}{name}: counted as missing answers"] = 1
    for name in sorted(answers - {*field_names(study.settings.kind, slots), _TASK, _DESIGN}):
        file.notes[f"column {ANSWER}{name}: not a field of the study, not imported"] = 1


def _answer(study: Study, file: ResultFile, line: int, row: Mapping[str, str], source: str) -> Answer:
    try:
        fields = row_answers(row)
        task = _task(study, row, fields)
        values = checked_values(study, task, fields)
        seconds = _seconds(row.get("WorkTimeInSeconds", ""))
        status = _status(row)
    except ValueError as error:
        hint = "import the file into its own study, or remove the row in a copy of the file"
        raise file.refuse(line, str(error), hint) from error
    submitted = utc_time(row.get("SubmitTime", ""))
    if submitted is None:
        file.notes["unknown form of SubmitTime, not imported"] += 1
    for name in (ASSIGNMENT, "WorkerId"):
        if not row[name].strip():
            raise file.refuse(line, f"{name} is empty")
    return Answer(
        source=source,
        assignment_id=row[ASSIGNMENT].strip(),
        task_id=task,
        rater=study.rater(source, row["WorkerId"].strip()),
        status=status,
        seconds=seconds,
        submitted=submitted or "",
        values=values,
        origin=file.origin(line),
        file=file.digest,
    )


def _task(study: Study, row: Mapping[str, str], fields: Mapping[str, str]) -> str:
    """Returns the task of a row, after a check that it and the design are those of the study."""
    designs = {row.get(f"Input.{_DESIGN}", ""), fields.get(_DESIGN, "")} - {""}
    if designs - {study.design}:
        raise ValueError(
            f"the answer belongs to another design ({min(designs - {study.design})[:12]}), "
            f"this study is {study.design[:12]}"
        )
    tasks = {row.get(f"Input.{_TASK}", ""), fields.get(_TASK, "")} - {""}
    if len(tasks) != 1:
        raise ValueError(f"Input.{_TASK} and {ANSWER}{_TASK} differ" if tasks else f"{_TASK} is empty")
    task = tasks.pop()
    if task not in study.tasks:
        raise ValueError(f"the study has no task {task!r}")
    return task


def _status(row: Mapping[str, str]) -> Status:
    """Returns the state of the review; a filled column Reject counts before it is uploaded, too."""
    if row.get(REJECT, "").strip():
        if row.get(APPROVE, "").strip():
            raise ValueError("both Approve and Reject are filled")
        return "rejected"
    if row.get(APPROVE, "").strip():
        return "approved"
    # Turkle has no review.
    status = row.get(STATUS, "").strip().lower() or "submitted"
    if status not in ("submitted", "approved", "rejected"):
        raise ValueError(f"{STATUS} is {status!r}, expected Submitted, Approved or Rejected")
    return cast("Status", status)


def _seconds(cell: str) -> float | None:
    if not cell.strip():
        return None
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"WorkTimeInSeconds is {cell!r}, expected a number of seconds")
    return seconds
