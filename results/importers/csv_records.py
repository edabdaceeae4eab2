"""Reads CSV files as records with their line numbers, and counts what is unusual in the file itself."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...harness.errors import InputError
from .layout_files import Layout, known_headers, recognise

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


class CsvRecords:
    """The records of a description file.

    Attributes:
        path: path of the file.
        layout: its layout.
        header: its header.
        oddities: what is unusual in the file as a whole, and how often; complete after iteration.
    """

    def __init__(self, path: Path, layout: Layout | None) -> None:
        """Reads the file and its header.

        Args:
            path: a file in UTF-8, separated by commas, semicolons or tabs.
            layout: the layout it must have; None for the first built-in layout that it has.

        Raises:
            InputError: if the file cannot be read, is not text in UTF-8, or does not have the layout.
        """
        self.path = path
        self.oddities: Counter[str] = Counter()
        self._text = self._read()
        self._separator = _separator(self._text, layout)
        self._records = self._rows()
        # An empty file has an empty header, which no layout recognises.
        _, self.header = next(self._records, (1, []))
        self.layout = layout or recognise(self.header) or self._refuse_header()
        self._check_header()

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yields (number of its first line, cells) for every record after the header, once.

        Raises:
            InputError: if the text is not valid CSV, or a record has not the columns of the header.
        """
        for line, cells in self._records:
            if len(cells) != len(self.header):
                raise InputError(
                    f"{self.path}, line {line}: {len(cells)} columns, "
                    f"but the header has {len(self.header)}",
                    "put cells that contain the separator into double quotes",
                )
            yield line, cells

    def _read(self) -> str:
        content = read_bytes(self.path)
        text = decoded(content, self.path)
        self._count_oddities(content, text)
        return text

    def _count_oddities(self, content: bytes, text: str) -> None:
        if content.startswith(codecs.BOM_UTF8):
            self.oddities["byte order mark"] = 1
        if "\r" in text:
            self.oddities["line end of Windows or an old Mac"] = text.count("\r")
        if text and not text.endswith(("\n", "\r")):
            # The file may have been cut off.
            self.oddities["no line end at the end of the file"] = 1

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        for line, cells in numbered_rows(self._text, self._separator, self.path):
            if cells:
                yield line, cells
            else:
                self.oddities["empty line, skipped"] += 1

    def _check_header(self) -> None:
        names = [column.strip().lower() for column in self.header]
        for column in self.layout.header:
            if column.strip().lower() not in names:
                raise InputError(
                    f"{self.path}: the layout {self.layout.name!r} needs the column {column!r}",
                    f"the header is {_shortened(self.header)}",
                )
        if self._separator != ",":
            self.oddities[f"cells separated by {_SEPARATORS[self._separator]}"] = 1

    def _refuse_header(self) -> Layout:
        lines = len(self._text.splitlines())
        if self.path.suffix.lower() == ".txt" or len(self.header) == 1:
            raise InputError(
                f"{self.path} has {lines} lines and no known header: a list, such as class names or "
                "concepts, names no units",
                "use it as references (dissectbench score FILE.csv --references LIST.txt), or as a "
                "concept set (concepts=file concepts.path=LIST.txt)",
            )
        raise InputError(
            f"{self.path}: unknown header: {_shortened(self.header)}",
            f"known headers (more columns may follow):\n{known_headers()}\n"
            "  another layout can be described in YAML: --layout FILE, see docs/import.md",
        )


def read_bytes(path: Path) -> bytes:
    """Returns the content of a file; raises InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def decoded(content: bytes, path: Path) -> str:
    """Returns the text of a file in UTF-8 without its byte order mark.

    Raises:
        InputError: if it is not UTF-8, or has a NUL character; names the line.
    """
    try:
        # Spreadsheets write a byte order mark, which "utf-8" would leave in the first column's name.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 ({error.reason})", "save the file as UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(
            f"{path}, line {line}: a NUL character, so this is not a text file in UTF-8",
            "save the file as UTF-8",
        )
    return text


def numbered_rows(text: str, separator: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of its first line, cells) for every row of CSV; an empty line has no cells.

    Raises:
        InputError: if the text is not valid CSV; names the line.
    """
    # newline="" keeps the line breaks inside quoted cells. strict: an open quote is an error.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    line = 1  # a row may span several lines: reader.line_num is the last of them
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: not valid CSV: {error}") from error


def _separator(text: str, layout: Layout | None) -> str:
    """Returns the separator with which the first line is a known header; a comma if there is none."""
    first_line = text.lstrip("\r\n").splitlines()[:1]
    for separator in _SEPARATORS:
        try:
            header = next(csv.reader(first_line, delimiter=separator), [])
        except csv.Error:
            continue  # such as a cell of more than 131,072 characters: reading the records reports it
        if recognise(header, None if layout is None else [layout]) is not None:
            return separator
    return ","


def _shortened(header: Sequence[str]) -> str:
    columns = ",".join(header) or "nothing"
    return columns if len(columns) < 200 else columns[:200] + "..."
