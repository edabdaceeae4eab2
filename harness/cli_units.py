"""Defines the arguments of commands about units of finished runs: `dissectbench show | report`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from .cli_leaderboard import Actions


def add_show(
    commands: Actions,
    command: Callable[[Actions, str, str], argparse.ArgumentParser],
    lazy: Callable[[str, str], Callable[[argparse.Namespace], int]],
) -> None:
    """Adds the command; see `add_leaderboard` for the arguments."""
    parser = command(commands, "show", "Show units of a run: descriptions, scores, evidence, exemplars.")
    parser.add_argument("folder", type=Path, metavar="RUN", help="a run folder, such as runs/demo")
    parser.add_argument("units", nargs="+", metavar="LAYER:UNIT", help="units, such as layer4:17")
    parser.add_argument(
        "--exemplars", type=int, default=10, metavar="N", help="exemplars per unit (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(command=lazy("show", "show_command"))


def add_report(
    commands: Actions,
    command: Callable[[Actions, str, str], argparse.ArgumentParser],
    lazy: Callable[[str, str], Callable[[argparse.Namespace], int]],
) -> None:
    """Adds the command; see `add_leaderboard` for the arguments."""
    parser = command(
        commands, "report", "Write the report of runs: a page with images and all descriptions."
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="RUN", help="run folders, such as runs/demo"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write, for one run (default: RUN/report)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(command=lazy("report", "report_command"))
