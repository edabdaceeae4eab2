"""Renders the pages of the rating server."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ...pages import content_security_policy, environment
from ...pages.page import asset

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = "dissectbench.results.studies.server"


@cache
def _templates() -> Environment:
    return environment(_PACKAGE)


@cache
def _style() -> str:
    return asset("base.css") + asset("rating.css", _PACKAGE)


@cache
def _script() -> str:
    return asset("rating.js", _PACKAGE)


def policy() -> str:
    """Returns the Content-Security-Policy of all pages: one style, one script, own images and forms."""
    return content_security_policy([_script()], [_style()], served=True)


def render(template: str, **values: Any) -> str:
    """Returns a page as HTML.

    Args:
        template: file name in `templates/`.
        values: what the template shows; `root` is the way from the page's address to the rater's own,
            such as "../". All addresses are relative, so that a proxy may serve pages under any path.
    """
    values = {"root": "", "style": _style(), "script": _script(), **values}
    return _templates().get_template(template).render(values)


def markdown(text: str) -> str:
    """Returns Markdown as HTML; HTML in the text is shown as text."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
