"""`dissectbench study import`: adds the answers of result files and rating sheets to a study."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import exit_codes
from ..errors import InputError
from ..progress import Progress
from .console import notices, show_json

if TYPE_CHECKING:
    from ...results.studies import FileReport, Flag, Judgements, Study

_DROPPED = {
    "rejected": "rejected assignments",
    "duplicate": "repeated rows of an assignment",
    "second_answer": "further answers of a rater to the same task",
    "failed_checks": "answers of raters who failed a check",
    "check_tasks": "answers to attention checks and gold tasks",
    "too_fast": "answers in too little time",
}
_FLAGS = {
    "too_fast": "answered faster than the study expects",
    "no_answer": "every question unanswered",
    "failed_checks": "rater failed a check",
    "constant": "rater always gives the same answer",
    "same_text": "rater repeats a comment",
}


def study_import_command(options: argparse.Namespace) -> int:
    """Imports files, and prints what was added, what each rule drops, and what is unusual."""
    from ...results.studies import Study, import_answers, judge, quality_flags, read_answers
    from ...results.studies.mturk import write_review

    if options.review and len(options.files) > 1:
        raise InputError("--review needs exactly one file", "a review has the rows of one result file")
    study = Study(options.folder)
    with Progress("none" if options.json else "auto").task("files read", len(options.files)) as step:
        reports = import_answers(study, options.files, source=options.source, step=step)
    answers = read_answers(study)
    judgements, flags = judge(study, answers), quality_flags(study, answers)
    review = None
    if options.review:
        review = write_review(study, options.files[0], reports[0].source, answers, options.review)
    if options.json:
        show_json(_report(study, len(answers), reports, judgements, flags, review))
        return exit_codes.OK
    lines = [line for report in reports for line in _in_words(report)]
    lines.append(f"{study.path}: {len(answers)} rows, {len(judgements.accepted)} judgements of units")
    lines += [
        f"  dropped, {_DROPPED.get(rule, rule)}: {count}"
        for rule, count in judgements.dropped.items()
        if count
    ]
    if judgements.repeats:
        lines.append(f"  repeated tasks, not counted as judgements: {len(judgements.repeats)}")
    lines += [
        f"  flagged, {_FLAGS[rule]}: {count} answers" for rule, count in _flagged(flags).items() if count
    ]
    if review:
        lines.append(f"{options.review}: {review[0]} to approve, {review[1]} to reject")
    for line in lines:
        notices(as_json=False).print(line, highlight=False, markup=False, soft_wrap=True)
    return exit_codes.OK


def _flagged(flags: Sequence[Flag]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for flag in flags:
        counts[flag.rule] += len(flag.assignments)
    return counts


def _in_words(report: FileReport) -> list[str]:
    if report.complete:
        return [f"{report.path}: imported before, nothing is new ({report.rows} rows, {report.source})"]
    line = f"{report.path}: {report.form}, source {report.source}, {report.rows} rows, {report.added} new"
    if report.known:
        line += f", {report.known} known"
    if report.changed:
        line += f", {report.changed} with a new status"
    notes = (f"  {what}" + (f": {count}" if count > 1 else "") for what, count in report.notes.items())
    return [line, *notes]


def _report(
    study: Study,
    rows: int,
    reports: Sequence[FileReport],
    judgements: Judgements,
    flags: Sequence[Flag],
    review: tuple[int, int] | None,
) -> dict[str, Any]:
    files = [
        {
            "path": str(report.path),
            "form": report.form,
            "source": report.source,
            "rows": report.rows,
            "added": report.added,
            "known": report.known,
            "changed": report.changed,
            "imported_before": report.complete,
            "notes": dict(report.notes),
        }
        for report in reports
    ]
    return {
        "study": str(study.path),
        "design": study.design,
        "files": files,
        "rows": rows,
        "judgements": len(judgements.accepted),
        "repeats": len(judgements.repeats),
        "dropped": dict(judgements.dropped),
        "failed_raters": list(judgements.failed_raters),
        "flags": [
            {"rule": f.rule, "rater": f.rater, "assignments": f.assignments, "message": f.message}
            for f in flags
        ],
        "review": review and {"approve": review[0], "reject": review[1]},
    }
