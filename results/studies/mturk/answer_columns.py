"""Collects the answers of a row in the shapes in which result files have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

ANSWER = "Answer."
TASK_ANSWERS = "Answer.taskAnswers"


def row_answers(row: Mapping[str, str]) -> dict[str, str]:
    """Returns the fields of the form by name.

    A row may have one column per field, one column `NAME.OPTION` with "true" or "false" per option of a
    group, and all fields as JSON in one column: a list with one object, in which a group may be an object
    of options.

    Raises:
        ValueError: if the JSON is invalid, or several options of a group are chosen, with a message.
    """
    fields = _from_json(row.get(TASK_ANSWERS, ""))
    options: dict[str, dict[str, bool]] = {}
    for column, value in row.items():
        if not column.startswith(ANSWER) or column == TASK_ANSWERS:
            continue
        name, dot, option = column.removeprefix(ANSWER).partition(".")
        if dot and value.lower() in ("true", "false", ""):
            options.setdefault(name, {})[option] = value.lower() == "true"
        elif value:
            fields[name] = value
    for name, group in options.items():
        if chosen := _chosen(name, group):
            fields[name] = chosen
    return fields


def _from_json(cell: str) -> dict[str, str]:
    if not cell.strip():
        return {}
    try:
        content = json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{TASK_ANSWERS} is not JSON: {error}") from error
    if isinstance(content, list):
        content = content[0] if content else {}
    if not isinstance(content, dict):
        raise ValueError(f"{TASK_ANSWERS} is not a list with one object")
    return {name: text for name, value in content.items() if (text := _text(name, value))}


def _text(name: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, dict):
        return _chosen(name, value)
    # bool is an int in Python, but no rating.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value):
        return str(int(value))
    raise ValueError(f"{TASK_ANSWERS}: {name} is {value!r}")


def _chosen(name: str, group: Mapping[str, Any]) -> str:
    chosen = [option for option, state in group.items() if state is True]
    if len(chosen) > 1:
        raise ValueError(f"several options of {name} are chosen: {', '.join(chosen)}")
    return "".join(chosen)
