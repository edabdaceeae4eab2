"""Defines the arguments of `dissectbench study`: one function per action."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from .cli_study_design import add_adopt, add_design

Actions = argparse._SubParsersAction
Command = Callable[[Actions, str, str], argparse.ArgumentParser]
Lazy = Callable[[str, str], Callable[[argparse.Namespace], int]]


def add_study(commands: Actions, command: Command, lazy: Lazy) -> None:
    """Adds the command and its actions.

    Args:
        commands: the commands of the program.
        command: adds one parser with the options that all commands have.
        lazy: makes a function that imports its module when it is called.
    """
    summary = "Human studies: design, export, rating page, import of answers, tables."
    # Not by `command`: the actions have the options --verbose and --offline.
    parser = commands.add_parser("study", help=summary, description=summary)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for add in _ACTIONS:
        add(actions, command, lazy)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_export(actions: Actions, command: Command, lazy: Lazy) -> None:
    parser = command(actions, "export", "Write what raters, panels or other rating sites need.")
    parser.add_argument("folder", type=Path, metavar="STUDY", help="the folder of a study")
    parser.add_argument(
        "--to",
        required=True,
        choices=("links", "prolific", "connect", "sona"),
        help="links: one secret link to the rating page per rater; prolific, connect, sona: the study "
        "URL, completion code and return URL of a panel",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (default: STUDY/exports/TARGET)"
    )
    parser.add_argument(
        "--url", metavar="URL", help="public address of the rating page, for links and panels"
    )
    parser.add_argument("--raters", type=int, metavar="N", help="number of links")
    _add_json(parser)
    parser.set_defaults(command=lazy("study_export", "study_export_command"))


def _add_serve(actions: Actions, command: Command, lazy: Lazy) -> None:
    parser = command(actions, "serve", "Serve the rating page of studies until Ctrl-C.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="STUDY", help="folders of studies")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, this machine only)",
    )
    parser.add_argument("--port", type=int, default=8000, help="0: a free one (default: %(default)s)")
    parser.add_argument("--url", metavar="URL", help="public address behind a proxy, for printing")
    parser.add_argument(
        "--proxies",
        default="127.0.0.1",
        metavar="ADDRESSES",
        help="proxies whose X-Forwarded-For is believed, separated by commas (default: %(default)s)",
    )
    _add_json(parser)
    parser.set_defaults(command=lazy("study_serve", "study_serve_command"))


def _add_answers(actions: Actions, command: Command, lazy: Lazy) -> None:
    parser = command(actions, "answers", "Write the answers of the rating page as a result file.")
    parser.add_argument("folder", type=Path, metavar="STUDY", help="the folder of a study")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the CSV file to write")
    parser.add_argument(
        "--raters", type=Path, metavar="FILE", help="also write the raters and their panel's ids: private"
    )
    _add_json(parser)
    parser.set_defaults(command=lazy("study_answers", "study_answers_command"))


def _add_verify(actions: Actions, command: Command, lazy: Lazy) -> None:
    parser = command(actions, "verify", "Verify completion codes of the rating page.")
    parser.add_argument("folder", type=Path, metavar="STUDY", help="the folder of a study")
    parser.add_argument("codes", nargs="+", metavar="CODE", help="codes that raters have sent")
    _add_json(parser)
    parser.set_defaults(command=lazy("study_answers", "study_verify_command"))


def _add_import(actions: Actions, command: Command, lazy: Lazy) -> None:
    parser = command(actions, "import", "Import answers: result files and rating sheets.")
    parser.add_argument("folder", type=Path, metavar="STUDY", help="the folder of a study")
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="result files of Mechanical Turk, of Turkle or of the rating page, and rating sheets",
    )
    parser.add_argument(
        "--source",
        metavar="NAME",
        help="where the assignment ids of the files are unique, such as turkle:lab (default: derived "
        "from each file)",
    )
    parser.add_argument(
        "--review",
        type=Path,
        metavar="OUT",
        help="also write the rows of the one FILE with its columns Approve and Reject filled in",
    )
    _add_json(parser)
    parser.set_defaults(command=lazy("study_import", "study_import_command"))


_ACTIONS: tuple[Callable[[Actions, Command, Lazy], None], ...] = (
    add_design,
    add_adopt,
    _add_export,
    _add_serve,
    _add_answers,
    _add_verify,
    _add_import,
)
