"""The fields of a rating form: which exist, and which values they may have."""

from __future__ import annotations

from collections.abc import Mapping

from .judgements import NONE
from .study import Study

COMMENT = "comment"


def field_names(kind: str, slots: int) -> list[str]:
    """Returns the fields of a task with a number of descriptions, in the order of the form."""
    if kind == "correlation":
        return ["fits", COMMENT]
    return [*(f"rating_{slot}" for slot in range(1, slots + 1)), "best", COMMENT]


def checked_values(study: Study, task_id: str, values: Mapping[str, str]) -> dict[str, str]:
    """Returns the fields of a task that have a value.

    Comments are unchanged; other values lose the spaces around them.

    Raises:
        ValueError: if a value is not one that the form offers, with a message.
    """
    slots = len(study.tasks[task_id].descriptions)
    names = field_names(study.settings.kind, slots)
    low, high = study.settings.scale
    allowed = {name: {str(value) for value in range(low, high + 1)} for name in names}
    allowed |= {"best": {*map(str, range(1, slots + 1)), NONE}, "fits": {"yes", "no"}}
    checked = {}
    for name in names:
        value = values.get(name, "")
        if name != COMMENT:
            value = value.strip()
            if value and value not in allowed[name]:
                raise ValueError(f"{name} is {value!r}, allowed: {', '.join(sorted(allowed[name]))}")
        if value:
            checked[name] = value
    # A value for a slot that the task does not have would be lost silently.
    for name, value in values.items():
        if value.strip() and name.startswith("rating_") and name not in checked:
            raise ValueError(f"{name} has a value, but the task has {slots} descriptions")
    return checked
