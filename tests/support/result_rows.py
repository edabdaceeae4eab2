"""Writes small result files, as Mechanical Turk and Turkle write them."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from dissectbench.results.studies import Study

MTURK = ("HITId", "AssignmentId", "WorkerId", "AssignmentStatus", "SubmitTime", "WorkTimeInSeconds")


def result_row(
    study: Study, number: int, worker: str = "", task: str = "", **changes: str
) -> dict[str, str]:
    """One row: assignment `number`, by default of task number `number` by worker W`number`.

    Args:
        study: the study.
        number: number of the assignment.
        worker: worker id.
        task: task id.
        changes: cells by column, with `__` for the dot: `Answer__best="none"`.
    """
    task = task or list(study.tasks)[number % len(study.tasks)]
    slots = len(study.tasks[task].descriptions)
    row = {
        **dict(zip(MTURK, (f"H-{task}", f"A{number}", worker or f"W{number}"), strict=False)),
        "AssignmentStatus": "Submitted",
        "SubmitTime": f"Thu Oct 09 07:{number:02}:20 UTC 2025",
        "WorkTimeInSeconds": "60",
        "Input.task_id": task,
        "Input.design": study.design,
        **{f"Answer.rating_{slot}": str(1 + (number + slot) % 5) for slot in range(1, slots + 1)},
        "Answer.best": str(1 + number % slots),
        "Answer.comment": "",
        "Approve": "",
        "Reject": "",
    }
    return row | {name.replace("__", "."): value for name, value in changes.items()}


def write_rows(
    path: Path, rows: Sequence[Mapping[str, str]], *, end: str = "\n", bom: bool = False
) -> Path:
    """Writes rows as a result file, every cell quoted."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), quoting=csv.QUOTE_ALL, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode("utf-8-sig" if bom else "utf-8"))
    return path
