"""`dissectbench show`: prints units of a run with everything that is recorded about them."""

from __future__ import annotations

import argparse

from .. import exit_codes
from ..errors import at_least
from ..finished_run import FinishedRun
from .console import show_json, terminal


def show_command(options: argparse.Namespace) -> int:
    """Prints each unit, see `dissectbench.results.unit_view`. Works for runs in every state."""
    from ...results.unit_text import print_unit
    from ...results.unit_view import find_units, unit_view

    at_least("--exemplars", options.exemplars, 0)
    run = FinishedRun(options.folder)
    units = find_units(run, options.units)
    views = [unit_view(run, unit, exemplars=options.exemplars) for unit in units]
    if options.json:
        show_json({"run": str(run.path), "units": [view.to_json() for view in views]})
        return exit_codes.OK
    for view in views:
        print_unit(view, terminal(), run.metrics)
    return exit_codes.OK
