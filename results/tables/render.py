"""Prints tables to the terminal and writes them as CSV, Markdown and LaTeX.

Formats for readers round to four decimals, and percentages to two. CSV has every number in full, in a
column of its own.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING

from ...harness.files import atomic_open
from ..statistics import Summary
from .latex import to_latex
from .table import Column, Coverage, Row, Table, Value
from .value_format import CONTROLS_LINE, heading, is_number, wording

if TYPE_CHECKING:
    from rich.console import Console


def write_tables(tables: Sequence[Table], folder: str | os.PathLike[str]) -> list[Path]:
    """Writes every table as CSV, Markdown and LaTeX into a folder; returns the paths.

    Raises:
        InputError: if a file cannot be written. Each file is written completely or not at all.
    """
    formats: dict[str, Callable[[Table], str]] = {"csv": to_csv, "md": to_markdown, "tex": to_latex}
    paths = []
    for table in tables:
        stem = re.sub(r"[^\w.-]+", "_", table.name)  # the name of a layer may contain slashes
        for suffix, convert in formats.items():
            path = Path(folder) / f"{stem}.{suffix}"
            with atomic_open(path) as file:
                file.write(convert(table))
            paths.append(path)
    return paths


def print_table(table: Table, console: Console) -> None:
    """Prints a table to the terminal: the best in bold with a star, controls below a line."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    # `Text` instead of strings: rich would interpret brackets in the names of methods as markup.
    grid = RichTable(box=box.HORIZONTALS, title=Text(table.title), title_justify="left", pad_edge=False)
    for column in table.columns:
        justify = "right" if is_number(column) else "left"
        grid.add_column(Text(heading(column)), justify=justify, overflow="fold")
    for row, below_line in _with_line(table):
        if below_line:
            grid.add_section()
        grid.add_row(
            *(
                Text("* " * best + "\n".join(wording(value, column)), style="bold" if best else "")
                for value, column, best in _cells(table, row)
            )
        )
    console.print(grid)
    for line in (*table.notes, *(f"{role}: {name}" for role, name in table.footer.items())):
        console.print(Text(line, style="dim"))


def to_markdown(table: Table) -> str:
    """Returns a table as Markdown: the best in bold, controls below a row that says "controls"."""
    lines = [
        f"### {_markdown(table.title)}",
        "",
        _line(_markdown(heading(column)) for column in table.columns),
        _line("---:" if is_number(column) else ":---" for column in table.columns),
    ]
    for row, below_line in _with_line(table):
        if below_line:
            lines.append(_line([f"*{CONTROLS_LINE}*", *[""] * (len(table.columns) - 1)]))
        cells = []
        for value, column, best in _cells(table, row):
            text = " ".join(wording(value, column))
            # Numbers have brackets around intervals, which are no links and stay readable without a
            # backslash.
            text = text if is_number(column) else _markdown(text)
            cells.append(f"**{text}**" if best else text)
        lines.append(_line(cells))
    lines += ["", *(f"- {_markdown(note)}" for note in table.notes)]
    lines += [f"- {_markdown(role)}: {_markdown(name)}" for role, name in table.footer.items()]
    return "\n".join(lines).rstrip() + "\n"


def to_csv(table: Table) -> str:
    """Returns a table as CSV, numbers in full; an undefined value is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(name for column in table.columns for name in _csv_names(column))
    for row in table.rows:
        pairs = zip(row.cells, table.columns, strict=True)
        writer.writerow(number for value, column in pairs for number in _csv_values(value, column))
    return text.getvalue()


def _csv_names(column: Column) -> list[str]:
    if column.kind == "coverage":
        return [field.name for field in fields(Coverage)]
    if column.kind == "estimate":
        return [f"{column.name}_{field.name}" for field in fields(Summary)]
    if column.kind in ("seconds", "usd"):
        return [f"{column.name}_{column.kind}"]
    return [column.name]


def _csv_values(value: Value, column: Column) -> list[object]:
    if value is None:
        return [None] * len(_csv_names(column))
    if isinstance(value, Summary | Coverage):
        # In the order of the fields, as `_csv_names` names the columns.
        return list(astuple(value))
    return [value]


def _with_line(table: Table) -> Iterator[tuple[Row, bool]]:
    """Yields the rows, and whether the line above the controls comes before this row."""
    previous: Row | None = None
    for row in table.rows:
        yield row, row.control and previous is not None and not previous.control
        previous = row


def _cells(table: Table, row: Row) -> Iterator[tuple[Value, Column, bool]]:
    for number, (value, column) in enumerate(zip(row.cells, table.columns, strict=True)):
        yield value, column, number in row.best


def _line(cells: Iterator[str] | Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown(text: str) -> str:
    """Escapes the characters that Markdown interprets, and puts the text on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", " ".join(text.split()))
