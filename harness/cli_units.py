"""Defines the arguments of commands about finished runs: `dissectbench show | report | figure`."""

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
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the sections of the report to a .html file, or a drawing to a .png file",
    )
    parser.add_argument(
        "--open",
        action="store_true",
        help="show the file in a browser; without --out it is written to RUN/report",
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
        commands,
        "report",
        "Write the page of a run, or of several runs side by side: images and descriptions.",
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="RUN", help="run folders, such as runs/demo"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write (default for one run: RUN/report)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(command=lazy("report", "report_command"))


def add_figure(
    commands: Actions,
    command: Callable[[Actions, str, str], argparse.ArgumentParser],
    lazy: Callable[[str, str], Callable[[argparse.Namespace], int]],
) -> None:
    """Adds the command; see `add_leaderboard` for the arguments."""
    parser = command(
        commands, "figure", "Write a figure for a paper, as PDF, SVG or PNG, and its caption."
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN", help="finished runs")
    parser.add_argument(
        "--kind",
        default="units",
        choices=("units", "layers", "ablation", "cost"),
        help="exemplars and descriptions of units, or scores by layer, by ablation, against cost "
        "(default: %(default)s)",
    )
    parser.add_argument("--units", metavar="LAYER:UNIT,...", help="units, such as layer2:461,layer2:467")
    parser.add_argument(
        "--select",
        choices=("random", "best", "worst", "disagree"),
        help="choose units by a rule, which the caption states",
    )
    _add_integer(parser, "--per-layer", 2, "units per layer that --select chooses")
    _add_integer(parser, "--seed", 0, "seed of --select")
    _add_integer(parser, "--exemplars", 5, "images per unit")
    for what in ("layer", "method", "metric"):
        parser.add_argument(
            f"--{what}", action="append", default=[], metavar="NAME", help=f"only this {what}; repeatable"
        )
    parser.add_argument(
        "--width",
        default="two",
        choices=("one", "two"),
        help="as wide as one or both columns of a page of two columns (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the file to write (default: RUN/figures/KIND.pdf)"
    )
    parser.add_argument("--json", action="store_true", help="print what was drawn as JSON")
    parser.set_defaults(command=lazy("figure", "figure_command"))


def _add_integer(parser: argparse.ArgumentParser, option: str, default: int, what: str) -> None:
    parser.add_argument(
        option, type=int, default=default, metavar="N", help=f"{what} (default: %(default)s)"
    )
