"""Renders the section of one unit: for the report, and alone for another page such as a notebook."""

from __future__ import annotations

import base64
import re
from html import escape

from ..pages.page import asset, environment
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

    def source(match: re.Match[str]) -> str:
        content = base64.b64encode(images.thumbnails[int(match[1])]).decode()
        return f'src="data:image/webp;base64,{content}"'

    # In texts the quotation marks are escaped, so only attributes match.
    html = re.sub(r'data-thumbnail="(\d+)"', source, render_unit(unit))
    missing = (f"There are no images: {images.missing}",) if images.missing else ()
    notes = "".join(f'<p class="warning">{escape(note)}</p>' for note in (*missing, *images.notes))
    name = _SCOPE.rpartition(".")[2]
    return f'<div class="{name}"><style>{_style()}</style><div class="unit">{html}{notes}</div></div>'


def _style() -> str:
    """Returns the style of the report, nested so that it applies inside the section only."""
    css = asset("base.css") + asset("report.css", _PACKAGE) + asset("section.css", _PACKAGE)
    # The section is the root of its rules: "&" is the selector that they are nested in.
    return _SCOPE + " {\n" + re.sub(r"(?m)^(\s*)(?::root|body)\b", r"\1&", css) + "}\n"
