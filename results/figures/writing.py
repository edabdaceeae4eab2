"""Sets matplotlib up and writes figures: embedded fonts, equal bytes for equal input, no warnings.

matplotlib is imported by the functions that need it: importing it takes longer than most commands.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...harness import __version__
from ...harness.errors import InputError, nearest
from ...harness.files import atomic_open, atomic_path
from .fonts import families

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Width = Literal["one", "two"]
WIDTHS: Mapping[Width, float] = {"one": 3.25, "two": 6.875}
"""Width of a figure in inches: one column or both columns of a page of two columns."""

FORMATS = ("pdf", "svg", "png")
DPI = 300
"""Resolution of PNG files, and of images in all files."""

PAGE_HEIGHT = 9.0  # inches; what a page of US letter or A4 leaves for a figure and its caption
FONT_SIZE = 7.0


@dataclass(frozen=True)
class Drawn:
    """A figure that is ready to be written.

    Attributes:
        figure: the figure.
        title: what it shows, in a few words.
        caption: the caption, with how units were chosen.
        content: what was drawn, JSON-able.
        notes: what a reader should know, such as characters that no font has.
    """

    figure: Figure
    title: str
    caption: str
    content: Mapping[str, Any]
    notes: Sequence[str] = field(default=())


def write_figure(draw: Callable[[], Drawn], path: Path, *, caption: bool = True) -> Drawn:
    """Draws a figure and writes it, and its caption next to it as `.txt`; both atomically.

    Args:
        draw: draws the figure; matplotlib is set up while it is called.
        path: the file; its suffix is one of `FORMATS`.
        caption: whether the caption is written.

    Raises:
        InputError: for another suffix, or if a file cannot be written.
    """
    form = _format(path)
    with style():
        drawn = draw()
        with atomic_path(path) as temporary:
            drawn.figure.savefig(temporary, format=form, dpi=DPI, metadata=_metadata(form, drawn))
    if caption:
        with atomic_open(path.with_suffix(".txt")) as file:
            file.write(drawn.caption + "\n")
    return drawn


def _format(path: Path) -> str:
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        hint = f"{nearest(form, FORMATS)} use a name that ends with .pdf, .svg or .png".strip()
        raise InputError(
            f"--out {path}: figures are not written as {path.suffix or 'a file without suffix'}", hint
        )
    return form


def _metadata(form: str, drawn: Drawn) -> dict[str, str | None]:
    """Returns metadata without a date: equal input gives equal bytes."""
    creator = f"dissectbench {__version__}"
    if form == "pdf":
        return {"Title": drawn.title, "Subject": drawn.caption, "Creator": creator, "CreationDate": None}
    if form == "svg":
        return {"Title": drawn.title, "Description": drawn.caption, "Creator": creator, "Date": None}
    return {"Title": drawn.title, "Description": drawn.caption, "Software": creator}


@contextmanager
def style() -> Iterator[None]:
    """Sets matplotlib up; afterwards its settings are the former ones.

    The settings of the user (`matplotlibrc`) do not apply: they would change the layout.
    """
    with _quiet():
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(
                {
                    "font.family": families(),
                    "font.size": FONT_SIZE,
                    # Descriptions are any text: "$" in them is not the start of a formula.
                    "text.parse_math": False,
                    "text.usetex": False,
                    # TrueType: publishers refuse the Type 3 fonts that are matplotlib's default.
                    "pdf.fonttype": 42,
                    # Outlines look the same everywhere; text would need the fonts of the reader.
                    "svg.fonttype": "path",
                    # The ids in an SVG are random without it.
                    "svg.hashsalt": "dissectbench",
                    "axes.linewidth": 0.6,
                    "axes.spines.top": False,
                    "axes.spines.right": False,
                    "xtick.major.width": 0.6,
                    "ytick.major.width": 0.6,
                    "lines.linewidth": 0.9,
                    "lines.markersize": 3.5,
                }
            )
            yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps warnings about fonts and caches from the terminal; missing glyphs are a note instead."""
    loggers = [logging.getLogger(name) for name in ("matplotlib", "fontTools")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
