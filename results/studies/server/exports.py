"""Writes what panels and invited raters need: links, study URL, completion code, list of tasks."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from ....harness.errors import InputError, at_least
from ....harness.files import atomic_open, write_json
from ..study import Study
from .ledger import Roles
from .panels import PANELS, return_url, study_path
from .progress import raters_needed
from .settings import FILE, PageSettings, read_settings
from .tokens import panel_code, rater_token, slug

_SECONDS = {"rating": 30, "correlation": 6}
"""Assumed time of a task, for the duration that a panel shows to its participants."""


def export_links(study: Study, folder: Path, url: str, raters: int) -> list[Path]:
    """Writes `links.csv`: one secret link per rater.

    A larger number later keeps the links of the first raters.

    Args:
        study: the study.
        folder: the folder to write.
        url: the public address of the rating page.
        raters: number of links.
    """
    base = _checked(url)
    rows = []
    for number in range(1, at_least("--raters", raters, 1) + 1):
        rater = study.rater("link", str(number))
        rows.append((number, rater, f"{base}/s/{slug(study)}/{rater_token(study, rater)}/"))
    return [_write_csv(folder / "links.csv", ("number", "WorkerId", "link"), rows)]


def export_panel(study: Study, panel: str, folder: Path, url: str) -> list[Path]:
    """Writes `PANEL.md` (what to enter where), `PANEL.json` (the same for programs) and `tasks.csv`.

    Args:
        study: the study.
        panel: a key of `PANELS`.
        folder: the folder to write.
        url: the public address of the rating page.
    """
    settings = read_settings(study)
    content = panel_settings(study, panel, _checked(url), settings)
    write_json(folder / f"{panel}.json", content, sort_keys=False)
    with atomic_open(folder / f"{panel}.md") as file:
        file.write(_instructions(study, panel, content))
    tasks = _write_csv(
        folder / "tasks.csv",
        ("task_id", "images", "descriptions"),
        [
            (task.id, " ".join(task.images), json.dumps(task.descriptions, ensure_ascii=False))
            for task in study.tasks.values()
        ],
    )
    return [folder / f"{panel}.md", folder / f"{panel}.json", tasks]


def panel_settings(study: Study, panel: str, base: str, settings: PageSettings) -> dict[str, Any]:
    """Returns what a panel asks for; for Prolific with the names of its programming interface."""
    roles = Roles.of(study)
    places = raters_needed(roles, study.settings.raters_per_task, settings)
    tasks = min(len(study.tasks), settings.tasks_per_rater)
    minutes = max(1, math.ceil(tasks * _SECONDS[study.settings.kind] / 60))
    reward = round(100 * study.settings.reward_usd * tasks)
    address, code = base + study_path(study, panel), panel_code(study, panel)
    placeholders = {name: "{" + name + "}" for name in PANELS[panel].placeholders}
    common = {
        "name": study.settings.title,
        "total_available_places": places,
        "estimated_completion_time": minutes,
        "reward": reward,
    }
    if panel == "prolific":
        completed = {"code": code, "code_type": "COMPLETED", "actions": [{"action": "MANUALLY_REVIEW"}]}
        return {
            **common,
            "external_study_url": address,
            "prolific_id_option": "url_parameters",
            "completion_codes": [completed],
            "return_url": return_url(study, settings, panel, placeholders),
        }
    back = settings.return_url or PANELS[panel].return_url
    return {**common, "study_url": address, "completion_code": code, "return_url": back}


def _instructions(study: Study, panel: str, content: dict[str, Any]) -> str:
    title = PANELS[panel].title
    address = content.get("external_study_url") or content["study_url"]
    lines = [
        f"# {content['name']}: settings at {title}",
        "",
        "Keep the study URL secret: whoever knows it can take part.",
        "",
        f"- Study URL: `{address}`",
        f"- Completion code, the same for all participants: `{panel_code(study, panel)}`",
        f"- Return URL: `{content['return_url'] or 'none'}`",
        f"- Participants, at least: {content['total_available_places']}",
        f"- Minutes, at {_SECONDS[study.settings.kind]} seconds per task: "
        f"{content['estimated_completion_time']}",
        f"- Reward per participant, in cents: {content['reward']}",
        "",
    ]
    lines += {
        "prolific": [
            "Choose *I'll use URL parameters* for recording Prolific IDs: the study URL has them.",
            "Participants return by themselves; each of them is also shown a code of their own.",
        ],
        "connect": [
            "Connect adds `participantId`, `assignmentId` and `projectId` to the study URL by itself.",
            "Participants enter the completion code. With the setting `return_url` in",
            f"`{FILE}` they return by a link instead.",
        ],
        "sona": [
            "SONA replaces `%SURVEY_CODE%` by the number of the participant.",
            f"Copy its client-side completion URL to `{FILE}` in the folder of the study, with",
            "`{survey_code}` instead of `XXXX`, so that participants get their credit:",
            "",
            "    return_url: https://SCHOOL.sona-systems.com/webstudy_credit.aspx?"
            "experiment_id=1&credit_token=2&survey_code={survey_code}",
        ],
    }[panel]
    return "\n".join([*lines, ""])


def _checked(url: str) -> str:
    if not url.startswith(("https://", "http://")) or "?" in url or any(c.isspace() for c in url):
        raise InputError(
            f"--url {url!r} is not the address of the rating page", "such as https://rate.example.org"
        )
    return url.rstrip("/")


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Path:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    with atomic_open(path) as file:
        file.write(text.getvalue())
    return path
