"""The reference study of a crowd batch as a study folder, made from its published table and its keys."""

import csv
from pathlib import Path

from dissectbench.results.studies import KeyRow, Study, StudyFiles, StudySettings, Task, write_study


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def golden_study(golden: Path, path: Path) -> Study:
    """Writes the study of `golden/mturk` without its images."""
    key = rows(golden / "key.csv")
    attention = {row["task_id"]: row["correct_slot"] for row in rows(golden / "attention.csv")}
    tasks = [
        Task(
            row["task_id"],
            tuple(Path(row[f"image_url_{k}"]).name for k in range(1, 11)),
            tuple(row[f"description_{k}"] for k in range(1, 5)),
        )
        for row in rows(golden / "batch_input.csv")
    ]
    settings = StudySettings(
        kind="rating",
        title="Rate short descriptions of sets of images",
        seed=0,
        raters_per_task=3,
        methods=tuple(sorted({row["method"] for row in key})),
        layers=tuple(sorted({row["layer"] for row in key})),
    )
    of_units = [
        KeyRow(r["task_id"], "unit", "", r["layer"], int(r["unit"]), int(r["slot"]), r["method"])
        for r in key
    ]
    checks = [
        KeyRow(task, "attention", "", "", None, int(slot), "", "best") for task, slot in attention.items()
    ]
    return write_study(path, settings, StudyFiles(tasks, of_units + checks, {}, "Rate.", "Consent."))
