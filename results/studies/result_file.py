"""Reads a result file as rows with line numbers; detects a file that was cut off."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...harness.errors import InputError
from ..importers.csv_records import decoded, numbered_rows, read_bytes

# What both Python's UTF-8 decoder and its csv module say of an unfinished character or quoted cell.
_UNFINISHED = "unexpected end of data"


class ResultFile:
    """A CSV file of answers; the file itself is only read.

    Attributes:
        path: path of the file.
        digest: SHA-256 of its content.
        header: the names of its columns.
        text: its content.
        notes: what is unusual in the file, and how often.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file and its header.

        Raises:
            InputError: if it cannot be read, is not text in UTF-8, or a column's name occurs twice.
        """
        self.path = path
        self.notes: Counter[str] = Counter()
        content = read_bytes(path)
        self.digest = hashlib.sha256(content).hexdigest()
        try:
            self.text = decoded(content, path)
        except InputError as error:
            raise self._cut_off() if _UNFINISHED in error.message else error from error
        self._separator = _separator(self.text)
        self._rows = numbered_rows(self.text, self._separator, path)
        _, header = next(self._rows, (1, []))
        # Spaces around a name would hide the column; values are never changed.
        self.header = [name.strip() for name in header]
        repeated = [name for name, count in Counter(self.header).items() if count > 1]
        if repeated:
            raise InputError(f"{path}: several columns have the name {repeated[0]!r}", "keep one of them")

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yields (number of its first line, cells by column) for every row after the header, once.

        Raises:
            InputError: if a row has not the columns of the header, or the file was cut off.
        """
        try:
            rows = [(line, cells) for line, cells in self._rows if cells]
        except InputError as error:
            raise self._cut_off() if _UNFINISHED in error.message else error from error
        # A file in which every cell is quoted cannot end in a separator: the last cell is missing.
        unfinished = self.text.startswith('"') and self.text.endswith(self._separator)
        for line, cells in rows:
            if line == rows[-1][0] and (unfinished or len(cells) < len(self.header)):
                raise self._cut_off(line)
            if len(cells) != len(self.header):
                raise InputError(
                    f"{self.path}, line {line}: {len(cells)} columns, the header has {len(self.header)}",
                    "restore the file as it was downloaded",
                )
            yield line, dict(zip(self.header, cells, strict=True))

    def origin(self, line: int) -> str:
        """Returns the place of a row as answers store it."""
        return f"{self.path.name}, line {line}"

    def refuse(self, line: int, message: str, hint: str | None = None) -> InputError:
        """Returns the error of a row."""
        return InputError(f"{self.path}, line {line}: {message}", hint)

    def _cut_off(self, line: int | None = None) -> InputError:
        place = "" if line is None else f", line {line}"
        return InputError(
            f"{self.path}{place}: the file ends in the middle of a row, so it was cut off",
            "download it again; nothing was imported. Turkle's REST API cuts files with non-ASCII text: "
            "download the results from its admin site",
        )


def _separator(text: str) -> str:
    """Returns the separator that splits the first line into the most cells.

    Spreadsheets write semicolons in countries with a decimal comma.
    """
    first_line = text.splitlines()[:1]

    def cells(separator: str) -> int:
        try:
            return len(next(csv.reader(first_line, delimiter=separator), []))
        except csv.Error:
            return 0

    return max(",;\t", key=cells)


def required(file: ResultFile, names: Mapping[str, str]) -> None:
    """Checks that columns exist.

    Args:
        file: the file.
        names: what is missing without the column, by its name.

    Raises:
        InputError: if one is missing; names all that are.
    """
    missing = [f"{name} ({what})" for name, what in names.items() if name not in file.header]
    if missing:
        raise InputError(
            f"{file.path}: missing columns: {', '.join(missing)}", "restore the file as it was downloaded"
        )
