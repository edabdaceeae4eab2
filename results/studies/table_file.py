"""Reads CSV files that people have written or edited: every error names file, line and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ...harness.errors import InputError, nearest


@dataclass(frozen=True)
class TableRow:
    """One record of a CSV file.

    Attributes:
        path: path of the file.
        line: number of the line on which the record starts.
        cells: the cells by column, unchanged.
    """

    path: Path
    line: int
    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """Returns a cell without surrounding space.

        Raises:
            InputError: if it is empty.
        """
        return self.cells[column].strip() or self.refuse(column, "is empty")

    def number(self, column: str) -> int:
        """Returns a cell that is a number such as 17.

        Raises:
            InputError: if it is not one.
        """
        text = self.text(column)
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            self.refuse(column, f"{text[:40]!r} is not a number such as 17")
        return int(text)

    def refuse(self, column: str, what: str, hint: str | None = None) -> NoReturn:
        """Raises an InputError about a cell."""
        raise InputError(f"{self.path}, line {self.line}, column {column!r}: {what}", hint)


def read_table(path: Path, columns: Sequence[str]) -> list[TableRow]:
    """Returns the records of a CSV file in UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        columns: the columns that it must have; it may have more.

    Raises:
        InputError: if the file cannot be read, is not UTF-8 or no valid CSV, lacks a column, has one
            twice, has a record of another length, or has no records.
    """
    rows = []
    header: list[str] | None = None
    # newline="" keeps the line breaks inside quoted cells.
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    line = 1  # a record may span several lines: reader.line_num is the last of them
    try:
        for cells in reader:
            if header is None:
                header = _checked_header(path, cells, columns)
            elif cells:
                if len(cells) != len(header):
                    raise InputError(
                        f"{path}, line {line}: {len(cells)} columns, but the header has {len(header)}",
                        "put cells that contain a comma into double quotes",
                    )
                rows.append(TableRow(path, line, dict(zip(header, cells, strict=True))))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: not valid CSV: {error}") from error
    if not rows:
        raise InputError(f"{path} has no rows", "save the file with a header and one row per record")
    return rows


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8", "save the file as UTF-8") from error


def _checked_header(path: Path, cells: Sequence[str], columns: Sequence[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    for column in columns:
        if column not in header:
            hint = f"{nearest(column, header)} the header is {','.join(header)[:200]}".strip()
            raise InputError(f"{path}, line 1: no column {column!r}", hint)
    for column in header:
        if header.count(column) > 1:
            raise InputError(f"{path}, line 1: column {column!r} is there more than once")
    return header
