"""Writes the answers of the rating page in Mechanical Turk's result format, and the list of raters."""

from __future__ import annotations

import csv
import html
import io
import time
from collections.abc import Iterable, Sequence

from ..study import Study, Task
from .operations import LINK
from .panels import PANELS
from .store import AnswerRow, read_rows
from .tokens import completion_code

ANNOTATION = "dissectbench rating page"
"""Value of the column RequesterAnnotation, which tells the files of the rating page from others."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_COLUMNS = (
    *("HITId", "HITTypeId", "Title", "Description", "Keywords", "Reward", "CreationTime"),
    *("MaxAssignments", "RequesterAnnotation", "AssignmentDurationInSeconds"),
    *("AutoApprovalDelayInSeconds", "Expiration", "NumberOfSimilarHITs", "LifetimeInSeconds"),
    *("AssignmentId", "WorkerId", "AssignmentStatus", "AcceptTime", "SubmitTime"),
    *("AutoApprovalTime", "ApprovalTime", "RejectionTime", "RequesterFeedback", "WorkTimeInSeconds"),
    *("LifetimeApprovalRate", "Last30DaysApprovalRate", "Last7DaysApprovalRate"),
)


def results_csv(study: Study) -> str:
    """Returns all answers, one assignment per row, with the columns of a batch result file.

    WorkerId is the salted hash of the rater. Rows are in the order of the answers, so a later file begins
    with the rows of an earlier one.
    """
    _, answers = read_rows(study)
    images = max((len(task.images) for task in study.tasks.values()), default=0)
    slots = max((len(task.descriptions) for task in study.tasks.values()), default=0)
    columns = [
        *_COLUMNS,
        *("Input.task_id", "Input.design"),
        *(f"Input.image_url_{k}" for k in range(1, images + 1)),
        *(f"Input.description_{k}" for k in range(1, slots + 1)),
        *(f"Answer.{name}" for name in _answer_fields(study, slots)),
        *("Approve", "Reject"),
    ]
    rows = (_row(study, study.tasks[answer.task], answer) for answer in answers)
    return _csv(columns, rows)


def raters_csv(study: Study) -> str:
    """Returns all raters with the identification of their panel: private, for payments."""
    raters, answers = read_rows(study)
    columns = [
        "WorkerId",
        "source",
        "participant",
        "parameters",
        "arrived",
        "finished",
        "completion_code",
    ]
    columns += ["answers", "seconds"]
    rows = []
    for rater in raters:
        seconds = [answer.seconds for answer in answers if answer.rater == rater.rater]
        known = rater.parameters
        rows.append(
            {
                "WorkerId": rater.rater,
                "source": rater.source,
                "participant": known.get(PANELS[rater.source].participant, "")
                if rater.source != LINK
                else "",
                "parameters": " ".join(f"{name}={value}" for name, value in known.items() if value),
                "arrived": turk_time(rater.arrived),
                "finished": "" if rater.finished is None else turk_time(rater.finished),
                "completion_code": "" if rater.finished is None else completion_code(study, rater.rater),
                "answers": str(len(seconds)),
                "seconds": f"{sum(seconds):g}",
            }
        )
    return _csv(columns, rows)


def assignment_id(study: Study, rater: str, task: str) -> str:
    """Returns the id of an answer; it is the same in every file, so that importing twice adds nothing."""
    return study.sign("salt", f"assignment:{rater}:{task}")[:30].upper()


def turk_time(seconds: float) -> str:
    """Returns a time as result files write it: "Sun Oct 12 16:55:30 UTC 2025"."""
    # Names of days and months by hand, because strftime follows the locale.
    moment = time.gmtime(seconds)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[moment.tm_wday]
    month = _MONTHS[moment.tm_mon - 1]
    return f"{day} {month} {moment.tm_mday:02} {time.strftime('%H:%M:%S', moment)} UTC {moment.tm_year}"


def _answer_fields(study: Study, slots: int) -> list[str]:
    if study.settings.kind == "correlation":
        return ["comment", "fits"]
    return ["best", "comment", *(f"rating_{slot}" for slot in range(1, slots + 1))]


def _row(study: Study, task: Task, answer: AnswerRow) -> dict[str, str]:
    settings = study.settings
    row = {
        "HITId": task.id,
        "HITTypeId": study.design[:12],
        "Title": settings.title,
        "Reward": f"${settings.reward_usd:.2f}",
        "MaxAssignments": str(settings.raters_per_task),
        "RequesterAnnotation": ANNOTATION,
        "AssignmentId": assignment_id(study, answer.rater, task.id),
        "WorkerId": answer.rater,
        "AssignmentStatus": "Submitted",
        "AcceptTime": turk_time(answer.accepted),
        "SubmitTime": turk_time(answer.submitted),
        "WorkTimeInSeconds": f"{answer.seconds:g}",
        "Input.task_id": task.id,
        "Input.design": study.design,
    }
    row |= {f"Input.image_url_{k}": name for k, name in enumerate(task.images, 1)}
    # Escaped, as the texts of a batch are, because templates insert them into HTML.
    row |= {f"Input.description_{k}": html.escape(text) for k, text in enumerate(task.descriptions, 1)}
    return row | {f"Answer.{name}": value for name, value in answer.values.items()}


def _csv(columns: Sequence[str], rows: Iterable[dict[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
