"""`dissectbench export`: descriptions of a run in the file layouts of the original programs."""

from __future__ import annotations

import argparse

from .. import exit_codes
from ..export import export_run
from ..finished_run import FinishedRun
from .console import show_json, terminal


def export_command(options: argparse.Namespace) -> int:
    """Writes the files and prints their paths; see `dissectbench.harness.export.export_run`."""
    run = FinishedRun(options.folder).require_finished()
    exported = export_run(
        run,
        options.layout,
        options.out or run.path / "exports" / options.layout,
        method=options.method,
        layers=options.layer or (),
    )
    if options.json:
        files = [{"path": str(e.path), "units": e.units, "left_out": e.left_out} for e in exported]
        show_json({"files": files})
        return exit_codes.OK
    for file in exported:
        left_out = f", {file.left_out} without a description left out" if file.left_out else ""
        terminal().print(
            f"{file.path}: {file.units} units{left_out}", highlight=False, markup=False, soft_wrap=True
        )
    return exit_codes.OK
