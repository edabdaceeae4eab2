"""The texts that raters read before the first task."""

from __future__ import annotations

from pathlib import Path
from string import Template

from ....harness.errors import InputError
from ...pages.page import asset
from .rating import WorkSettings

PLACEHOLDER = "[name of the researcher]"
"""In the default consent; the researchers must write their own text."""

_PACKAGE = "dissectbench.results.studies.design"


def default_instructions(name: str = "rating.md") -> str:
    """Returns the instructions of a kind of study: Markdown."""
    return asset(name, _PACKAGE)


def default_consent(work: WorkSettings) -> str:
    """Returns a text of consent with the time and the payment of a task: Markdown."""
    payment = (
        f"You are paid {work.reward_usd:.2f} US dollars for each task."
        if work.reward_usd
        else "[How taking part is paid.]"
    )
    return Template(asset("consent.md", _PACKAGE)).substitute(
        seconds=round(work.seconds), payment=payment
    )


def read_text(option: str, path: Path) -> str:
    """Returns the text of a Markdown file.

    Raises:
        InputError: if it cannot be read, is empty or is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{option} {path}: cannot be read: {error}", "give a text file in UTF-8"
        ) from error
    if not text.strip():
        raise InputError(f"{option} {path}: the file is empty")
    return text
