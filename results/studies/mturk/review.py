"""Writes the review of a result file: which assignments to approve, and why others are rejected."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ....harness.errors import InputError
from ....harness.files import atomic_open
from ..answers import Answer
from ..quality import quality_flags
from ..result_file import ResultFile
from ..study import Study
from .results import APPROVE, ASSIGNMENT, REJECT, STATUS

_LONGEST = 1024  # characters of the feedback that a worker receives

# Workers read these. Answers that are only flagged, such as fast ones, are approved.
_REASONS = {
    "failed_checks": "Rejected: an attention check of this batch was answered wrongly. It said which "
    "answer to choose.",
    "no_answer": "Rejected: the questions of this task were not answered.",
}


def write_review(
    study: Study, path: Path, source: str, answers: Sequence[Answer], out: Path
) -> tuple[int, int]:
    """Writes the rows of a result file with the columns Approve and Reject filled in.

    Reviewed assignments, and rows whose columns are filled already, are unchanged. A file has the row of
    an assignment twice where downloads were joined: only the first is filled.

    Args:
        study: the study.
        path: the result file; it is only read.
        source: the source of its answers.
        answers: the answers of the study, with those of the file.
        out: the file to write: the same rows, every cell quoted.

    Returns:
        The numbers of assignments to approve and to reject.

    Raises:
        InputError: if the file has no review, or `out` is the same file or cannot be written.
    """
    file = ResultFile(path)
    if STATUS not in file.header:
        raise InputError(
            f"{path} has no column {STATUS}: only result files in Mechanical Turk's format have a review"
        )
    if out.exists() and out.samefile(path):
        raise InputError(f"{out} is the result file", "choose another name: raw files are never changed")
    reasons = _reasons(study, [answer for answer in answers if answer.source == source])
    header = [*file.header, *(name for name in (APPROVE, REJECT) if name not in file.header)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, header, restval="", quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writeheader()
    approved = rejected = 0
    seen: set[str] = set()
    for _, row in file:
        assignment = row[ASSIGNMENT].strip()
        decided = row.get(APPROVE, "").strip() or row.get(REJECT, "").strip()
        if row[STATUS].strip().lower() == "submitted" and not decided and assignment not in seen:
            reason = reasons.get(assignment, "")
            row |= {APPROVE: "" if reason else "x", REJECT: reason[:_LONGEST]}
            approved, rejected = approved + (not reason), rejected + bool(reason)
        seen.add(assignment)
        writer.writerow(row)
    with atomic_open(out, "wb") as target:
        target.write(text.getvalue().encode("utf-8"))
    return approved, rejected


def _reasons(study: Study, answers: Sequence[Answer]) -> dict[str, str]:
    """Returns the reason for each assignment that is rejected."""
    reasons: dict[str, str] = {}
    for flag in quality_flags(study, [a for a in answers if a.status != "rejected"]):
        for _, assignment in flag.assignments if flag.rule in _REASONS else ():
            reasons.setdefault(assignment, _REASONS[flag.rule])
    return reasons
