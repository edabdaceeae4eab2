"""Reads forms: the body within its limit, and the answer to a task, checked field by field."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from ..judgements import NONE
from ..study import StudySettings, Task

if TYPE_CHECKING:
    from starlette.requests import Request

MOST_BYTES = 64 * 1024
MOST_FIELDS = 64
LONGEST_COMMENT = 2000
_LONGEST_TIME = 24 * 3600.0


class FormError(Exception):
    """A body that no form of this server sends; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class FormAnswer:
    """The answer of a form.

    Attributes:
        values: the fields of the answer, see `Answer.values`.
        seconds: working time as the page measured it; None without JavaScript.
        problems: what is missing or invalid, in words for the rater.
    """

    values: Mapping[str, str]
    seconds: float | None
    problems: tuple[str, ...]


async def read_form(request: Request) -> dict[str, str]:
    """Returns the fields of a form; of a repeated field the last.

    Raises:
        FormError: for another content type, too many bytes or fields.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/x-www-form-urlencoded":
        raise FormError(415, "This is not a form of this page.")
    # Counted while they arrive: a length in the header may be absent or wrong.
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise FormError(413, "The form is too long.")
    try:
        fields = parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise FormError(400, "The form has too many fields.") from None
    return dict(fields)


def read_answer(settings: StudySettings, task: Task, form: Mapping[str, str]) -> FormAnswer:
    """Returns the answer to a task; fields that the form does not have are ignored."""
    values: dict[str, str] = {}
    problems: list[str] = []
    slots = [str(slot) for slot in range(1, len(task.descriptions) + 1)]
    if settings.kind == "rating":
        low, high = settings.scale
        scale = [str(rating) for rating in range(low, high + 1)]
        for slot in slots:
            values[f"rating_{slot}"] = _choice(form.get(f"rating_{slot}", ""), scale)
        if not all(values.values()):
            problems.append(f"Please rate every description from {low} to {high}.")
        values["best"] = _choice(form.get("best", ""), [*slots, NONE])
        if not values["best"]:
            problems.append("Please choose the best description, or “none of them”.")
    else:
        values["fits"] = _choice(form.get("fits", ""), ["yes", "no"])
        if not values["fits"]:
            problems.append("Please answer yes or no.")
    values["comment"] = comment = _plain(form.get("comment", ""))
    if len(comment) > LONGEST_COMMENT:
        problems.append(f"Please shorten the comment to {LONGEST_COMMENT} characters.")
    return FormAnswer(values, _seconds(form.get("seconds", "")), tuple(problems))


def _choice(value: str, choices: list[str]) -> str:
    return value if value in choices else ""


def _plain(text: str) -> str:
    """Removes control characters, which spreadsheets and CSV readers misread, and Windows line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and 0 <= seconds <= _LONGEST_TIME else None
