"""Defines the arguments of `dissectbench study`: one function per action."""

from __future__ import annotations

import argparse
from collections.abc import Callable

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


_ACTIONS: tuple[Callable[[Actions, Command, Lazy], None], ...] = ()
