"""Makes the folder of a study whose batch was designed elsewhere."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ....harness.errors import InputError
from ....harness.files import file_digest
from ..study import (
    KeyRow,
    Study,
    StudyFiles,
    StudySettings,
    Task,
    check_new_study,
    image_name,
    write_study,
)
from ..table_file import TableRow, read_table
from .image_files import jpeg, read_pixels
from .rating import RatingDesign


@dataclass(frozen=True)
class Adopted:
    """The files of a batch.

    Attributes:
        batch: the input table of the batch: `task_id`, `image_url_1` ..., `description_1` ... (HTML), one
            row per task.
        key: `task_id`, `layer`, `unit`, `slot`, `method`, and optionally `target`.
        attention: `task_id`, `correct_slot` of the attention checks; None without any.
        images: a folder that has the images under the names at the end of their addresses; None if the
            study does without them.
    """

    batch: Path
    key: Path
    attention: Path | None = None
    images: Path | None = None


def adopt_study(
    files: Adopted, design: RatingDesign, instructions: str, consent: str, out: Path
) -> tuple[Study, tuple[str, ...]]:
    """Writes the study of a batch; returns it, and what its designer should know.

    Args:
        files: the files of the batch.
        design: title, raters, reward and fee; nothing is drawn at random.
        instructions: Markdown.
        consent: Markdown.
        out: the folder to write.

    Raises:
        InputError: if a file is invalid, or they do not fit each other; names file, line and column.
    """
    check_new_study(out)
    batch = read_table(files.batch, ["task_id", "description_1"])
    slots = _numbered(batch[0], "description_")
    urls = _numbered(batch[0], "image_url_")
    tasks: dict[str, tuple[TableRow, Task]] = {}
    for row in batch:
        task = _task(row, slots, urls)
        if task.id in tasks:
            row.refuse("task_id", f"{task.id!r} is also on line {tasks[task.id][0].line}")
        tasks[task.id] = row, task
    key = _key(files.key, tasks)
    if files.attention is not None:
        key |= _checks(files.attention, tasks, key)
    _check_complete(files, tasks, key)
    rows = [row for task in tasks for row in key[task]]
    names = _image_names(tasks, files.images)
    content = {} if files.images is None else {name: data for name, data in names.values() if data}
    settings = _settings(files, design, rows, {} if files.images else _base_url(list(names)))
    made = [
        Task(task.id, tuple(names[url][0] for url in task.images), task.descriptions)
        for _, task in tasks.values()
    ]
    study = write_study(out, settings, StudyFiles(made, rows, content, instructions, consent))
    return study, tuple(_revealing(study))


def _settings(
    files: Adopted, design: RatingDesign, rows: Sequence[KeyRow], details: Mapping[str, str]
) -> StudySettings:
    of_units = [row for row in rows if row.role == "unit"]
    roles = {row.task_id: row.role for row in rows}
    return StudySettings(
        kind="rating",
        title=design.title,
        seed=design.seed,
        raters_per_task=design.work.raters,
        methods=tuple(sorted({row.method for row in of_units}, key=_natural)),
        layers=tuple(sorted({row.layer for row in of_units}, key=_natural)),
        units="The study was designed elsewhere.",
        sources=tuple(
            {"name": path.name, "fingerprint": file_digest(path)}
            for path in (files.batch, files.key, files.attention)
            if path is not None
        ),
        min_seconds=design.work.min_seconds,
        reward_usd=design.work.reward_usd,
        fee=design.work.fee_share,
        details={
            "tasks": dict(Counter(roles.values())),
            "seconds_per_task": design.work.seconds,
            **details,
        },
    )


def _task(row: TableRow, slots: Sequence[str], urls: Sequence[str]) -> Task:
    """Returns a task whose images are addresses."""
    task = row.text("task_id")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", task):
        row.refuse("task_id", f"{task[:60]!r} is not made of letters, digits, - and _")
    # A batch has HTML, because its values are inserted into the template unchanged.
    texts = [" ".join(html.unescape(row.cells[column]).split()) for column in slots]
    while texts and not texts[-1]:
        texts.pop()
    for column, text in zip(slots, texts, strict=False):
        if not text:
            row.refuse(column, "is empty, but a later description is not")
    if not texts:
        row.refuse(slots[0], "the task has no description")
    return Task(task, tuple(url for column in urls if (url := row.cells[column].strip())), tuple(texts))


def _numbered(row: TableRow, prefix: str) -> list[str]:
    """Returns the columns prefix1, prefix2, ... of a file."""
    numbers = sorted(
        int(name[len(prefix) :])
        for name in row.cells
        if re.fullmatch(re.escape(prefix) + r"[1-9]\d{0,2}", name)
    )
    for expected, number in enumerate(numbers, 1):
        if number != expected:
            raise InputError(f"{row.path}, line 1: column {prefix}{number} without {prefix}{expected}")
    return [f"{prefix}{number}" for number in numbers]


def _key(path: Path, tasks: Mapping[str, tuple[TableRow, Task]]) -> dict[str, list[KeyRow]]:
    key: dict[str, list[KeyRow]] = {}
    for row in read_table(path, ["task_id", "layer", "unit", "slot", "method"]):
        task, slot = _known_task(row, tasks), row.number("slot")
        _check_slot(row, "slot", slot, task)
        made = KeyRow(
            *(task.id, "unit", row.cells.get("target", "").strip(), row.text("layer")),
            *(row.number("unit"), slot, row.text("method")),
        )
        others = key.setdefault(task.id, [])
        if others and (others[0].target, others[0].layer, others[0].unit) != (
            made.target,
            made.layer,
            made.unit,
        ):
            row.refuse("unit", f"task {task.id} is already about {others[0].layer} unit {others[0].unit}")
        if any(other.method == made.method for other in others):
            row.refuse("method", f"task {task.id} has a slot of {made.method} already")
        others.append(made)
    return {task: sorted(rows, key=lambda row: row.slot) for task, rows in key.items()}


def _checks(
    path: Path, tasks: Mapping[str, tuple[TableRow, Task]], key: Mapping[str, Sequence[KeyRow]]
) -> dict[str, list[KeyRow]]:
    checks: dict[str, list[KeyRow]] = {}
    for row in read_table(path, ["task_id", "correct_slot"]):
        task, slot = _known_task(row, tasks), row.number("correct_slot")
        _check_slot(row, "correct_slot", slot, task)
        if task.id in key or task.id in checks:
            row.refuse("task_id", f"task {task.id} is listed before, here or in the key")
        checks[task.id] = [KeyRow(task.id, "attention", "", "", None, slot, "", "best")]
    return checks


def _known_task(row: TableRow, tasks: Mapping[str, tuple[TableRow, Task]]) -> Task:
    task = row.text("task_id")
    if task not in tasks:
        row.refuse("task_id", f"the batch has no task {task[:60]!r}")
    return tasks[task][1]


def _check_slot(row: TableRow, column: str, slot: int, task: Task) -> None:
    if not 1 <= slot <= len(task.descriptions):
        row.refuse(column, f"{slot}, but task {task.id} has the slots 1 to {len(task.descriptions)}")


def _check_complete(
    files: Adopted, tasks: Mapping[str, tuple[TableRow, Task]], key: Mapping[str, Sequence[KeyRow]]
) -> None:
    """Checks that every task, and every slot of a unit's task, is in the key."""
    for row, task in tasks.values():
        if task.id not in key:
            row.refuse(
                "task_id",
                f"task {task.id} is neither in {files.key} nor an attention check",
                "list attention checks in a file with the columns task_id,correct_slot: --attention FILE",
            )
        missing = set(range(1, len(task.descriptions) + 1)) - {known.slot for known in key[task.id]}
        if missing and key[task.id][0].role == "unit":
            row.refuse(f"description_{min(missing)}", f"{files.key} does not say whose description it is")


def _image_names(
    tasks: Mapping[str, tuple[TableRow, Task]], folder: Path | None
) -> dict[str, tuple[str, bytes]]:
    """Returns file name and content of the image of each address; the content is empty without a folder.

    An image that is copied gets an opaque name, and no metadata.
    """
    names: dict[str, tuple[str, bytes]] = {}
    addresses: dict[str, str] = {}
    for row, task in tasks.values():
        for number, url in enumerate(task.images, 1):
            if url in names:
                continue
            column, name = f"image_url_{number}", unquote(urlsplit(url).path.rpartition("/")[2])
            # An encoded slash would be a path.
            if not name.strip(".") or re.search(r"[/\\\0]", name):
                row.refuse(column, f"{url[:100]!r} does not end with the name of a file")
            if addresses.setdefault(name, url) != url:
                row.refuse(column, f"another image has the name {name} too: {addresses[name][:100]}")
            content = b""
            if folder is not None:
                if not (folder / name).is_file():
                    row.refuse(column, f"no such file: {folder / name}")
                content = jpeg(read_pixels(folder / name))
                name = image_name(content, ".jpg")
            names[url] = name, content
    return names


def _base_url(urls: Sequence[str]) -> dict[str, str]:
    """Returns the address of the folder of all images, if they are in one folder."""
    bases = {url.rpartition("/")[0] for url in urls}
    return {"image_base_url": bases.pop()} if len(bases) == 1 else {}


def _natural(name: str) -> list[tuple[int, str]]:
    """Returns a key that sorts layer2 before layer10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _revealing(study: Study) -> list[str]:
    """Returns a note for each name of a method or layer that raters can see."""
    words = " ".join(
        " ".join((task.id, *task.images, *task.descriptions)).casefold() for task in study.tasks.values()
    )
    return [
        f"{name!r} occurs in what raters see: in a task id, an image name or a description"
        for name in (*study.settings.methods, *study.settings.layers)
        if re.search(rf"(?<![a-z0-9]){re.escape(name.casefold())}(?![a-z0-9])", words)
    ]
