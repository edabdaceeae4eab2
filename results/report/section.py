"""Renders sections of units: for the report, for notebooks, and for a page of their own."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape

from ..pages.page import asset, content_security_policy, environment
from ..pages.svg import bars
from .images import SIZE, RunImages
from .units import UnitReport

_PACKAGE = "dissectbench.results.report"
# Twice, so that the rules win over those of the notebook, which name a class and two elements.
_SCOPE = ".dissectbench-unit.dissectbench-unit"


def render_unit(unit: UnitReport, encoder: str = "") -> str:
    """Returns the section as the report has it; its script adds the images.

    Args:
        unit: the unit.
        encoder: name of the sentence encoder that compared the descriptions.
    """
    template = environment(_PACKAGE).get_template("unit.html")
    html = template.render(unit=unit, size=SIZE, bars=bars, encoder=encoder)
    # Line ends of the template; those of texts are not between tags.
    return re.sub(r">\n+<", "><", html.strip())


def standalone_unit(unit: UnitReport, images: RunImages) -> str:
    """Returns the section for another page: with its images, a style for it alone, and no script.

    Args:
        unit: the unit.
        images: the thumbnails, or why there are none.
    """
    html = _with_images(render_unit(unit), images)
    notes = "".join(f'<p class="warning">{escape(note)}</p>' for note in _notes(images))
    name = _SCOPE.rpartition(".")[2]
    return f'<div class="{name}"><style>{_style()}</style><div class="unit">{html}{notes}</div></div>'


def units_page(units: Sequence[UnitReport], images: RunImages, title: str) -> str:
    """Returns a page with the sections of some units: one file, with its images and without a script.

    Args:
        units: the units.
        images: their thumbnails, or why there are none.
        title: the heading.
    """
    style = asset("base.css") + asset("report.css", _PACKAGE) + ".screen { display: none; }\n"
    return (
        environment(_PACKAGE)
        .get_template("units.html")
        .render(
            title=title,
            policy=content_security_policy([], [style]),
            style=style,
            notes=_notes(images),
            sections=[_with_images(render_unit(unit), images) for unit in units],
        )
    )


def _with_images(html: str, images: RunImages) -> str:
    """Returns a section with the images in it, which the script of the report adds otherwise."""

    def source(match: re.Match[str]) -> str:
        content = base64.b64encode(images.thumbnails[int(match[1])]).decode()
        return f'src="data:image/webp;base64,{content}"'

    # In texts the quotation marks are escaped, so only attributes match.
    return re.sub(r'data-thumbnail="(\d+)"', source, html)


def _notes(images: RunImages) -> Sequence[str]:
    missing = (f"There are no images: {images.missing}",) if images.missing else ()
    return (*missing, *images.notes)


def _style() -> str:
    """Returns the style of the report, nested so that it applies inside the section only."""
    css = asset("base.css") + asset("report.css", _PACKAGE) + asset("section.css", _PACKAGE)
    # The section is the root of its rules: "&" is the selector that they are nested in.
    return _SCOPE + " {\n" + re.sub(r"(?m)^(\s*)(?::root|body)\b", r"\1&", css) + "}\n"
