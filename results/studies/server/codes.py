"""Verifies completion codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..study import Study
from .panels import PANELS
from .store import read_rows
from .tokens import code_prefix, equal, panel_code


@dataclass(frozen=True)
class Verdict:
    """What a completion code is worth.

    Attributes:
        code: the code as it was given.
        valid: whether it was made with the key of the study, for a rater who has finished.
        text: the verdict in words.
        raters: the raters it belongs to: one, except if two have the same first digits.
        panel: the panel whose common code it is; "" for the code of a rater.
    """

    code: str
    valid: bool
    text: str
    raters: tuple[str, ...] = ()
    panel: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the verdict as JSON values."""
        return asdict(self)


def verify_codes(study: Study, codes: Sequence[str]) -> list[Verdict]:
    """Returns the verdicts on completion codes, in their order."""
    finished = [row.rater for row in read_rows(study)[0] if row.finished is not None]
    return [_verdict(study, code, finished) for code in codes]


def _verdict(study: Study, code: str, finished: Sequence[str]) -> Verdict:
    for panel in PANELS:
        if equal(code.strip().upper(), panel_code(study, panel)):
            title = PANELS[panel].title
            return Verdict(code, True, f"the common code of all participants of {title}", panel=panel)
    prefix = code_prefix(study, code)
    if prefix is None:
        return Verdict(code, False, "not a code of this study")
    raters = tuple(rater for rater in finished if rater.startswith(prefix))
    if not raters:
        return Verdict(code, False, "genuine, but no rater of the database here has finished with it")
    return Verdict(code, True, f"genuine, of rater {' or '.join(raters)}", raters)
