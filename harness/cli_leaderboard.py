"""Defines the arguments of `dissectbench leaderboard submit | validate | build`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

Actions = argparse._SubParsersAction


def add_leaderboard(
    commands: Actions,
    command: Callable[[Actions, str, str], argparse.ArgumentParser],
    lazy: Callable[[str, str], Callable[[argparse.Namespace], int]],
) -> None:
    """Adds the command and its actions.

    Args:
        commands: the commands of the program.
        command: adds one parser with the options that all commands have.
        lazy: makes a function that imports its module when it is called.
    """
    summary = "Submit runs as bundles, validate bundles, build a leaderboard with an HTML page."
    # Not by `command`: the actions have the options --verbose and --offline.
    parser = commands.add_parser("leaderboard", help=summary, description=summary)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    submit = command(actions, "submit", "Write what a finished run submits: one file, without images.")
    submit.add_argument("folder", type=Path, metavar="RUN", help="a run folder, such as runs/demo")
    submit.add_argument("--out", type=Path, required=True, metavar="FILE", help="the bundle to write")
    submit.set_defaults(command=lazy("leaderboard", "submit_command"))

    validate = command(
        actions, "validate", "Check bundles: hashes, counts, means, scores without models."
    )
    validate.add_argument("files", nargs="+", type=Path, metavar="FILE", help="bundles")
    validate.set_defaults(command=lazy("leaderboard", "validate_command"))

    build = command(actions, "build", "Build a leaderboard: CSV, Markdown, JSON and one HTML page.")
    build.add_argument(
        "sources", nargs="+", type=Path, metavar="BUNDLE|RUN", help="bundles and run folders"
    )
    build.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    build.add_argument("--baseline", metavar="METHOD", help="method that the others are compared with")
    build.set_defaults(command=lazy("leaderboard", "build_command"))

    for action in (submit, validate, build):
        action.add_argument("--json", action="store_true", help="print the result as JSON")
