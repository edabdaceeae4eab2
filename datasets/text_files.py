"""Reads text files and CSV tables strictly; errors name file and line."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..harness.errors import InputError, nearest


def read_text(path: str | os.PathLike[str]) -> str:
    """Reads a UTF-8 text file and removes its byte order mark.

    Raises:
        InputError: if it cannot be read or is not UTF-8 text, naming the line and byte.
    """
    path = Path(path).expanduser()
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"no such file: {path}", "check the path; relative paths start at the working directory"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_text(path, content, error.start) from error
    # UTF-16 without a byte order mark decodes as UTF-8 where all characters are ASCII.
    if "\0" in text:
        raise _not_text(path, content, content.index(b"\0"))
    # A byte order mark would become a part of the first line or column name.
    return text.removeprefix("\ufeff")


def _not_text(path: Path, content: bytes, offset: int) -> InputError:
    line = content.count(b"\n", 0, offset) + 1
    return InputError(
        f"{path}, line {line}: not UTF-8 text (byte 0x{content[offset]:02x} at offset {offset})",
        "save the file as UTF-8",
    )


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    """Reads the lines of a UTF-8 text file, stripped of whitespace; a blank line is "".

    Raises:
        InputError: see `read_text`.
    """
    return [line.strip() for line in io.StringIO(read_text(path), newline=None)]


@dataclass(frozen=True)
class Row:
    """One row of a CSV table: its cells by column, its file and its line number."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def error(self, column: str, problem: str, hint: str | None = None) -> InputError:
        """Returns an error that names file, line and column."""
        return InputError(f"{self.path}, line {self.line}, column {column}: {problem}", hint)

    def text(self, column: str) -> str:
        """Returns the cell, stripped of whitespace.

        Raises:
            InputError: if it is empty.
        """
        cell = self.cells[column].strip()
        if not cell:
            raise self.error(column, "the cell is empty")
        return cell

    def integer(self, column: str, at_least: int) -> int:
        """Returns the cell as an integer.

        Raises:
            InputError: if it is not an integer, or smaller than `at_least`.
        """
        cell = self.cells[column].strip()
        # int() alone would accept "1_000" and digits of other scripts.
        if not (cell.isascii() and cell.isdigit()) or int(cell) < at_least:
            raise self.error(column, f"{cell!r} is not an integer >= {at_least}")
        return int(cell)

    def number(self, column: str) -> float:
        """Returns the cell as a finite, non-negative number.

        Raises:
            InputError: if it is not such a number.
        """
        cell = self.cells[column].strip()
        try:
            value = float(cell)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):  # False for NaN too
            raise self.error(column, f"{cell!r} is not a number >= 0")
        return value


def read_table(path: str | os.PathLike[str], columns: Sequence[str]) -> Iterator[Row]:
    """Yields the rows of a CSV file with a header; blank lines are skipped.

    Args:
        path: the file.
        columns: required columns; other columns are kept too.

    Raises:
        InputError: if it cannot be read, lacks a column, or a row has a different number of cells.
    """
    path = Path(path)
    # newline="": csv handles line ends itself, because quoted cells may contain them.
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header, columns)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)}",
                    "put cells that contain a comma in double quotes",
                )
            yield Row(path, reader.line_num, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not a CSV file: {error}") from error


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    for column in columns:
        if column not in header:
            present = f"it has {', '.join(header)}" if header else "the file is empty"
            hint = nearest(column, header) or None
            raise InputError(f"{path}, line 1: no column {column!r}; {present}", hint)
