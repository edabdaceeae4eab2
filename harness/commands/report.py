"""`dissectbench report`: writes the page of a run again, or a page of several runs."""

from __future__ import annotations

import argparse

from .. import exit_codes
from ..errors import InputError
from ..finished_run import FinishedRun
from ..progress import Progress
from ..report import report_run
from .console import show_json, terminal


def report_command(options: argparse.Namespace) -> int:
    """Writes the page and prints its path."""
    run, *others = map(FinishedRun, options.folders)
    if others and options.out is None:
        raise InputError("a page of several runs belongs to none of them", "choose its folder: --out DIR")
    progress = Progress("none") if options.json else Progress()
    page = report_run(run, options.out, others=others, progress=progress)
    if options.json:
        show_json({"page": str(page)})
        return exit_codes.OK
    terminal().print(str(page), highlight=False, markup=False, soft_wrap=True)
    return exit_codes.OK
