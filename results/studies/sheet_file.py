"""Reads rating sheets that experts have filled in."""

from __future__ import annotations

from collections.abc import Mapping

from .answers import Answer
from .form_values import checked_values, field_names
from .result_file import ResultFile, required
from .study import Study

RATER = "rater"
_REQUIRED = {
    "task_id": "the task of a row",
    "design": "the design of the study",
    RATER: "who has rated",
}


def is_sheet(file: ResultFile) -> bool:
    """Returns whether a file has the columns of a rating sheet, possibly not all."""
    return "task_id" in file.header and any(
        name in ("fits", "best") or name.startswith("rating_") for name in file.header
    )


def read_sheet(study: Study, file: ResultFile, source: str | None = None) -> tuple[str, list[Answer]]:
    """Returns the source of a rating sheet and its answers; rows without any are no answers.

    The rater of a row is its cell in the column `rater`, or the only rater that the file names.

    Raises:
        InputError: for a missing column, a task or design of another study, an invalid value, a row
            without a rater; names the line.
    """
    required(file, _REQUIRED)
    source = source or "sheet"
    rows = list(file)
    raters = {row[RATER].strip() for _, row in rows} - {""}
    default = raters.pop() if len(raters) == 1 else ""
    answers: list[Answer] = []
    for line, row in rows:
        try:
            values = _values(study, row)
        except ValueError as error:
            raise file.refuse(line, str(error), "correct the cell, or empty it") from error
        if not values:
            file.notes["rows without an answer"] += 1
            continue
        name = row[RATER].strip() or default
        if not name:
            hint = "write a name or number into the column `rater`: once, or in each row if they differ"
            raise file.refuse(line, "no rater", hint)
        rater, task = study.rater(source, name), row["task_id"].strip()
        place = (file.origin(line), file.digest)
        # A rater has one answer to a task, so a sheet that is sent again half filled adds only new ones.
        answers.append(
            Answer(source, f"{rater}-{task}", task, rater, "submitted", None, "", values, *place)
        )
    return source, answers


def _values(study: Study, row: Mapping[str, str]) -> dict[str, str]:
    design = row["design"].strip()
    if design != study.design:
        raise ValueError(
            f"the row belongs to another design ({design[:12] or 'none'}), "
            f"this study is {study.design[:12]}"
        )
    task = row["task_id"].strip()
    if task not in study.tasks:
        raise ValueError(f"the study has no task {task!r}")
    slots = len(study.tasks[task].descriptions)
    values = {
        name: _plain(row.get(name, "")) if name != "comment" else row.get(name, "")
        for name in {*field_names(study.settings.kind, slots), *row}
        if name in ("best", "fits", "comment") or name.startswith("rating_")
    }
    return checked_values(study, task, values)


def _plain(cell: str) -> str:
    """Returns a value as the form has it: spreadsheets write 4 as 4.0, people write None and Yes."""
    cell = cell.strip().lower()
    whole, dot, fraction = cell.partition(".")
    return whole if dot and not fraction.strip("0") and whole.isdigit() else cell
