"""Settings of the rating page of one study, which `page.yaml` in its folder may change."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import yaml

from ....harness.errors import InputError, at_least, nearest
from ..study import Study

FILE = "page.yaml"


@dataclass(frozen=True)
class PageSettings:
    """How tasks are given to raters, and where raters return to.

    These settings are not part of the frozen design: they do not change what is judged.

    Attributes:
        tasks_per_rater: most tasks that one rater answers, checks and repeated tasks included.
        timeout_minutes: a task that was shown and not answered for so long is given to another rater.
        repeat_after: a repeated task is shown at the earliest after this many other answers.
        return_url: where raters of a panel return to, with `{code}` for the panel's completion code and
            `{PARAMETER}` for a parameter of their study URL; "" for the own address of the panel, if any.
        contact: how raters reach you, shown on the page; "" for none.
    """

    tasks_per_rater: int = 50
    timeout_minutes: float = 30.0
    repeat_after: int = 10
    return_url: str = ""
    contact: str = ""

    def __post_init__(self) -> None:
        at_least("tasks_per_rater", self.tasks_per_rater, 1)
        at_least("timeout_minutes", self.timeout_minutes, 0.01)
        at_least("repeat_after", self.repeat_after, 1)


def read_settings(study: Study) -> PageSettings:
    """Returns the settings of a study's page; the defaults where `page.yaml` is absent.

    Raises:
        InputError: for invalid YAML, an unknown setting or an invalid value.
    """
    path = study.path / FILE
    if not path.exists():
        return PageSettings()
    types = {f.name: type(f.default) for f in fields(PageSettings)}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not isinstance(content, dict):
            raise TypeError("it must consist of lines NAME: VALUE")
        values: dict[str, Any] = {}
        for name, value in content.items():
            if name not in types:
                known = f"{nearest(str(name), types)} the settings are {', '.join(types)}".strip()
                raise InputError(f"{path}: there is no setting {name!r}", known)
            if isinstance(value, bool) or not isinstance(value, (types[name], int)):
                raise TypeError(f"{name} is {value!r}, expected {types[name].__name__}")
            values[name] = types[name](value)
        return PageSettings(**values)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise InputError(f"{path} is not the settings of a rating page: {error}") from error
