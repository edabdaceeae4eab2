"""Defines the arguments of `dissectbench reproduce`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from .cli_leaderboard import Actions


def add_reproduce(
    commands: Actions,
    command: Callable[[Actions, str, str], argparse.ArgumentParser],
    lazy: Callable[[str, str], Callable[[argparse.Namespace], int]],
) -> None:
    """Adds the command; see `add_leaderboard` for the arguments."""
    parser = command(
        commands,
        "reproduce",
        "Recompute published tables from their authors' files; without NAME, list the known tables.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="tables, or paths of YAML files that describe tables"
    )
    parser.add_argument(
        "--published",
        nargs="+",
        action="extend",
        type=Path,
        metavar="DIR",
        help="folders of the authors' files (docs/reproduce.md says how to get them)",
    )
    parser.add_argument(
        "--encoder",
        choices=("authors", "offline"),
        default="authors",
        help="offline: also score texts with the packaged all-MiniLM-L6-v2, in a column of its own "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--download", action="store_true", help="download the authors' encoders where they are missing"
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )
    parser.add_argument(
        "--format", default="terminal", choices=("terminal", "csv", "markdown", "latex", "json", "svg")
    )
    parser.add_argument("--json", action="store_true", help="the same as --format json")
    parser.set_defaults(command=lazy("reproduce", "reproduce_command"))
