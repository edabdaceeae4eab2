"""`dissectbench show`: prints or draws units of a run with everything that is recorded about them."""

from __future__ import annotations

import argparse
import re
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from .. import exit_codes
from ..errors import InputError, at_least
from ..files import atomic_open
from ..finished_run import FinishedRun
from ..progress import Progress
from ..records import UnitId
from ..report import REPORT, units_page
from .console import notices, show_json, terminal

SUFFIXES = (".html", ".png")
"""Files that `--out` writes."""


def show_command(options: argparse.Namespace) -> int:
    """Prints each unit, see `dissectbench.results.unit_view`, or writes them to a file.

    Printing works for runs in every state.
    """
    from ...results.unit_text import print_unit
    from ...results.unit_view import find_units, unit_view

    at_least("--exemplars", options.exemplars, 0)
    run = FinishedRun(options.folder)
    units = find_units(run, options.units)
    file = _write(options, run, units) if options.out or options.open else None
    if file is not None and not options.json:
        terminal().print(str(file), highlight=False, markup=False, soft_wrap=True)
    elif options.json:
        views = [unit_view(run, unit, exemplars=options.exemplars) for unit in units]
        written = {} if file is None else {"file": str(file)}
        show_json({"run": str(run.path), "units": [view.to_json() for view in views], **written})
    else:
        for unit in units:
            print_unit(unit_view(run, unit, exemplars=options.exemplars), terminal(), run.metrics)
    if options.open and file is not None and not webbrowser.open(file.resolve().as_uri()):
        notices(as_json=True).print(f"no browser was found: open {file}", highlight=False, markup=False)
    return exit_codes.OK


def _write(options: argparse.Namespace, run: FinishedRun, units: Sequence[UnitId]) -> Path:
    """Writes the file of `--out`, by default a page in the folder of the report, and returns its path."""
    path: Path = options.out or run.path / REPORT / _name(units)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"--out {path}: units are not written as {path.suffix or 'a file without suffix'}",
            "use a name that ends with .html or .png; `dissectbench figure` writes .pdf and .svg",
        )
    _check_selected(run, units)
    if path.suffix.lower() == ".png":
        _draw(run, units, path, options.exemplars)
    else:
        progress = Progress("none") if options.json else Progress()
        page = units_page(run, units, progress)
        with atomic_open(path) as opened:
            opened.write(page)
    return path


def _name(units: Sequence[UnitId]) -> str:
    names = "-".join(f"{unit.layer}-{unit.index}" for unit in units)
    # Shorter than the limits of file systems.
    return f"unit-{re.sub(r'[^A-Za-z0-9.-]+', '_', names)[:100]}.html"


def _check_selected(run: FinishedRun, units: Sequence[UnitId]) -> None:
    """Refuses units that only an earlier command described: the report does not show them either."""
    selected = {} if run.selection is None else run.selection.units
    for unit in units:
        if unit.index not in selected.get(unit.layer, ()):
            raise InputError(
                f"the last command of {run.path} did not select unit {unit.index} of layer {unit.layer}",
                "rerun the run with this layer and unit, which describes nothing again; or leave out "
                "--out and --open",
            )


def _draw(run: FinishedRun, units: Sequence[UnitId], path: Path, exemplars: int) -> None:
    """Draws the units like `dissectbench figure`: a browser is not needed."""
    from ...results.figures import chosen_by_hand, draw_units, write_figure

    choice = chosen_by_hand(units)
    drawn = write_figure(lambda: draw_units(run, choice, exemplars=exemplars), path, caption=False)
    for note in drawn.notes:
        notices(as_json=True).print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
