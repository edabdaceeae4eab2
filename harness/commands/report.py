"""`dissectbench report`: writes the page of a run again."""

from __future__ import annotations

import argparse

from .. import exit_codes
from ..errors import InputError
from ..finished_run import FinishedRun
from ..progress import Progress
from ..report import report_run
from .console import show_json, terminal


def report_command(options: argparse.Namespace) -> int:
    """Writes one report per run and prints the path of each page."""
    if options.out is not None and len(options.folders) > 1:
        raise InputError("--out with several runs", "give one run, or leave out --out")
    progress = Progress("none") if options.json else Progress()
    pages = [
        report_run(FinishedRun(folder), options.out, progress=progress) for folder in options.folders
    ]
    if options.json:
        show_json({"pages": [str(page) for page in pages]})
        return exit_codes.OK
    for page in pages:
        terminal().print(str(page), highlight=False, markup=False, soft_wrap=True)
    return exit_codes.OK
