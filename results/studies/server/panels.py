"""The panels that send people to the rating page: URL parameters, completion codes, return addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from ..study import Study
from .settings import PageSettings
from .tokens import panel_code, panel_token, slug


@dataclass(frozen=True)
class Panel:
    """How one panel sends participants and takes them back.

    Attributes:
        title: the name of the panel as raters know it.
        participant: the URL parameter that identifies a participant.
        placeholders: what the panel replaces in the study URL, by parameter. Connect adds its parameters
            without placeholders.
        pattern: what an identification looks like; others are refused.
        return_url: where participants return to; "" if each project has its own address.
    """

    title: str
    participant: str
    placeholders: Mapping[str, str]
    pattern: str
    return_url: str = ""


PANELS: Mapping[str, Panel] = {
    "prolific": Panel(
        "Prolific",
        "PROLIFIC_PID",
        {name: "{{%" + name + "%}}" for name in ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")},
        r"[0-9A-Za-z]{8,64}",
        "https://app.prolific.com/submissions/complete?cc={code}",
    ),
    "connect": Panel(
        "CloudResearch Connect",
        "participantId",
        {"participantId": "", "assignmentId": "", "projectId": ""},
        r"[0-9A-Za-z_-]{8,64}",
    ),
    "sona": Panel("SONA", "survey_code", {"survey_code": "%SURVEY_CODE%"}, r"[1-9][0-9]{0,11}"),
}
"""The panels of participants that the rating page knows, by name."""

_LONGEST_VALUE = 100


def study_path(study: Study, panel: str) -> str:
    """Returns the path and the query of the study URL that the panel is given; begins with "/p/"."""
    query = "&".join(f"{name}={value}" for name, value in PANELS[panel].placeholders.items() if value)
    path = f"/p/{slug(study)}/{panel}/{panel_token(study, panel)}"
    return f"{path}?{query}" if query else path


def participant(panel: str, query: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    """Returns who arrives and all parameters of the panel, or None if the URL identifies nobody."""
    known = {name: query.get(name, "")[:_LONGEST_VALUE] for name in PANELS[panel].placeholders}
    name = known[PANELS[panel].participant]
    return (name, known) if re.fullmatch(PANELS[panel].pattern, name) else None


def return_url(study: Study, settings: PageSettings, panel: str, parameters: Mapping[str, str]) -> str:
    """Returns where a participant who has finished returns to; "" if no address is known.

    Values are percent-encoded, because the parameters are what the participant's browser sent.
    """
    values = {**parameters, "code": panel_code(study, panel)}
    address = settings.return_url or PANELS[panel].return_url
    return re.sub(r"\{(\w+)\}", lambda match: quote(values.get(match[1], ""), safe=""), address)
