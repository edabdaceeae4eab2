"""What the commands print: tables in every format, JSON, and the consoles they are printed to."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from ...results.tables.table import Table

# Wide enough for a leaderboard where the output goes to a file.
WIDTH = 160


class _Console(Console):
    """Discards output after its reader has closed the pipe, as `head` does; the command continues.

    A run whose output nobody reads any more must still do its work. Rich itself ends the program.
    """

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # Later writes, and Python's own at exit, go nowhere instead of failing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def terminal() -> Console:
    """Returns the console of standard output, of a fixed width where that is not a terminal."""
    return _Console() if sys.stdout.isatty() else _Console(width=WIDTH)


def notices(*, as_json: bool) -> Console:
    """Returns the console for what is not the result: standard error where the result is JSON."""
    return Console(stderr=True) if as_json else terminal()


def show(tables: Sequence[Table], style: str, console: Console | None = None) -> None:
    """Prints tables as "terminal", "csv", "markdown", "latex", "json" or "svg" (the terminal, drawn)."""
    from ...results.tables.json_format import to_json
    from ...results.tables.latex import to_latex
    from ...results.tables.render import print_table, to_csv, to_markdown

    console = console or terminal()
    if style == "json":
        show_json({"tables": [to_json(table) for table in tables]})
        return
    if style == "svg":
        # Printed to a buffer: only the recording is used.
        recorder = Console(record=True, file=io.StringIO(), width=WIDTH)
        show(tables, "terminal", recorder)
        sys.stdout.write(recorder.export_svg(title="dissectbench"))
        return
    convert = {"csv": to_csv, "markdown": to_markdown, "latex": to_latex}
    for number, table in enumerate(tables):
        if style == "terminal":
            # The footer (models and settings) is the same for all tables: only the last one shows it.
            last = number + 1 == len(tables)
            print_table(table if last else replace(table, footer={}), console)
            console.print()
        else:
            sys.stdout.write(convert[style](table) + "\n")


def show_json(value: Any) -> None:
    """Prints a value as JSON on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")
