"""Reads description files of other tools: CSV, recognised by its header.

Cells are separated by commas, or by the semicolons or tabs that spreadsheets write in some languages.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from ...harness.errors import InputError, nearest
from ...harness.scores import STATUSES, ScoreStatus, check_method_name
from .headers import Layout, known_headers, recognise

_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class DescriptionRow:
    """The description of one unit in a file.

    Attributes:
        layer: name of the layer.
        unit: index of the unit, 0-based, also if the file counts from 1.
        method: name of the method.
        text: the description, without surrounding space; None unless `status` is "ok".
        status: "ok"; "missing" (the file has the unit, but no words); "below_threshold", "dead" or
            "failed" if the file says so.
        score: the method's own score, if the file has one.
        alternatives: further descriptions of the unit, best first; the other annotations of a unit.
        line: line of the file on which the row starts, from 1.
    """

    layer: str
    unit: int
    method: str
    text: str | None
    status: ScoreStatus
    score: float | None
    alternatives: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class DescriptionFile:
    """The content of a description file.

    Attributes:
        path: path of the file.
        layout: name of its layout.
        rows: one per method, layer and unit: layers in the file's order, units ascending.
        records: number of rows in the file; a unit may have several.
        oddities: unusual properties of the rows and the number of rows that have them. None of them
            changes a score.
    """

    path: Path
    layout: str
    rows: tuple[DescriptionRow, ...]
    records: int
    oddities: Mapping[str, int]


def read_descriptions_csv(
    path: str | os.PathLike[str], *, layer: str | None = None, method: str | None = None
) -> DescriptionFile:
    """Reads the descriptions of one layer, or of all layers that the file names.

    Rows are joined by unit, never by order. A row that is repeated is read once. A Network Dissection
    label whose IoU does not exceed the threshold of 0.04 is kept, as in the published tables, and counted
    in the oddities.

    Args:
        path: a CSV file in UTF-8 (a byte order mark is allowed) with one of the headers of `LAYOUTS`,
            separated by commas, semicolons or tabs.
        layer: the layer to read. It is required for a file without a column for the layer.
        method: name of the method; by default the file's name, preceded by the tool's name if only one
            tool uses the header.

    Raises:
        InputError: if the file cannot be read, its header is unknown, the layer is not in it, a cell is
            invalid, a unit has two different descriptions, or a method is named like a control; names
            file, line and column.
    """
    path = Path(path)
    records = _records(path)
    # An empty file has an empty header, which no layout recognises.
    _, header = next(records, (1, []))
    layout = _layout(path, header)
    if layout.layer is None and layer is None:
        raise InputError(
            f"{path} has no column for the layer", "name the layer of the file, such as --layer fc"
        )
    tool = f"{layout.method}:" if layout.method else ""
    collected = _Collector(path, layout)
    for line, cells in records:
        record = _Record(path, layout, line, header, cells)
        collected.add(record, record.row(str(layer), tool + path.stem))
    return collected.file(layer, method)


def _layout(path: Path, header: Sequence[str]) -> Layout:
    layout = recognise(header)
    if layout is None:
        columns = ",".join(header) or "nothing"
        raise InputError(
            f"{path}: unknown header: {columns if len(columns) < 200 else columns[:200] + '...'}",
            f"known headers (more columns may follow):\n{known_headers()}",
        )
    names = [column.strip().lower() for column in header]
    for column in layout.columns:
        if names.count(column.lower()) > 1:
            raise InputError(f"{path}, line 1: column {column!r} is there more than once")
    return layout


def _separator(text: str) -> str:
    """Returns the separator with which the first line is a known header; a comma if there is none."""
    first_line = text.lstrip("\r\n").splitlines()[:1]
    for separator in _SEPARATORS:
        header = next(csv.reader(first_line, delimiter=separator), [])
        if recognise(header) is not None:
            return separator
    return ","


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of its first line, cells) for every record that is not an empty line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        # Spreadsheets write a byte order mark, which "utf-8" would leave in the first column's name.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 ({error.reason})", "save the file as UTF-8"
        ) from error
    # newline="" keeps the line breaks inside quoted cells. strict: an open quote is an error.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_separator(text))
    line = 1  # a record may span several lines: reader.line_num is the last of them
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: not valid CSV: {error}") from error


@dataclass(frozen=True)
class _Record:
    """One record of a file; every error names its line and column."""

    path: Path
    layout: Layout
    line: int
    header: Sequence[str]
    cells: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.cells) != len(self.header):
            raise InputError(
                f"{self.path}, line {self.line}: {len(self.cells)} columns, "
                f"but the header has {len(self.header)}",
                "put cells that contain the separator into double quotes",
            )

    def row(self, layer: str, method: str) -> DescriptionRow:
        """Returns its content; `layer` and `method` replace columns that the file does not have."""
        layout = self.layout
        text = layout.clean(self.cell(layout.text)) or None
        others = (layout.clean(self.cell(column)) for column in layout.alternatives)
        return DescriptionRow(
            layer=self._name(layout.layer) if layout.layer else layer,
            unit=self._unit(),
            method=self._name(layout.method_column) if layout.method_column else method,
            text=text,
            status=self._status(text),
            score=self._score(),
            alternatives=tuple(other for other in others if other),
            line=self.line,
        )

    def cell(self, column: str) -> str:
        """Returns a cell unchanged."""
        names = [name.strip().lower() for name in self.header]
        return self.cells[names.index(column.lower())]

    def _name(self, column: str) -> str:
        name = self.cell(column).strip()
        return name or self._refuse(column, "is blank")

    def _unit(self) -> int:
        column, first = self.layout.unit, self.layout.first_unit
        cell = self.cell(column).strip()
        # `isdigit` alone accepts digits of other scripts and superscripts, which `int` may refuse.
        if not (cell.isascii() and cell.isdigit()):
            self._refuse(column, f"{cell!r} is not the number of a unit")
        if int(cell) < first:
            self._refuse(column, f"{cell}, but units of such a file are counted from {first}")
        return int(cell) - first

    def _score(self) -> float | None:
        column = self.layout.score
        if column is None or not (cell := self.cell(column).strip()):
            return None
        try:
            score = float(cell)
        except ValueError:
            self._refuse(column, f"{cell!r} is not a number")
        return score if math.isfinite(score) else None

    def _status(self, text: str | None) -> ScoreStatus:
        column = self.layout.status
        if column is None:
            return "ok" if text else "missing"
        cell = self.cell(column).strip()
        if cell not in STATUSES:
            self._refuse(column, f"{cell!r} is none of {', '.join(STATUSES)}")
        status = STATUSES[STATUSES.index(cell)]
        if (status == "ok") != (text is not None):
            self._refuse(column, f"{cell!r} for a unit {'with' if text else 'without'} a description")
        return status

    def _refuse(self, column: str, what: str) -> NoReturn:
        raise InputError(f"{self.path}, line {self.line}, column {column!r}: {what}")


class _Collector:
    """Joins the rows of a file by method, layer and unit, and counts oddities."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self._rows: dict[tuple[str, str, int], DescriptionRow] = {}
        self._oddities: dict[str, Counter[str]] = {}  # by layer, in the file's order
        self._last: dict[tuple[str, str], int] = {}
        self._records: Counter[str] = Counter()  # by layer

    def add(self, record: _Record, row: DescriptionRow) -> None:
        """Adds one row; `record` is the record it was read from."""
        oddities = self._oddities.setdefault(row.layer, Counter())
        oddities.update(self._oddities_of(row, record.cell(self.layout.text)))
        self._last[row.method, row.layer] = row.unit
        self._records[row.layer] += 1
        key = (row.method, row.layer, row.unit)
        earlier = self._rows.get(key)
        if earlier is None:
            self._rows[key] = row
        elif self.layout.several:
            self._rows[key] = _joined(earlier, row)
        elif replace(row, line=earlier.line) == earlier:
            oddities["repeated, read once"] += 1
        else:
            raise InputError(
                f"{self.path}, lines {earlier.line} and {row.line}: {row.layer} unit "
                f"{record.cell(self.layout.unit).strip()} has two different descriptions",
                "remove one of the lines",
            )

    def file(self, layer: str | None, method: str | None) -> DescriptionFile:
        """Returns the rows of one layer, or of all; `method` replaces the name of the method."""
        if not self._oddities:
            raise InputError(f"{self.path} has a header but no rows")
        layers = list(self._oddities)
        if layer is not None and layer not in layers:
            hints = [f"it has the layers {', '.join(layers)}", nearest(layer, layers)]
            raise InputError(f"{self.path} has no layer {layer!r}", "; ".join(filter(None, hints)))
        chosen = layers if layer is None else [layer]
        rows = [row for row in self._rows.values() if row.layer in chosen]
        methods = sorted({row.method for row in rows})
        if method is not None and len(methods) > 1:
            raise InputError(
                f"{self.path} has {len(methods)} methods, which cannot all be named {method!r}",
                f"it has the methods {', '.join(methods)}",
            )
        for name in {method} if method else methods:
            check_method_name(name, f"{self.path}: ")
        # Published files are not always sorted by unit.
        rows.sort(key=lambda row: (row.method, layers.index(row.layer), row.unit))
        named_rows = tuple(replace(row, method=method or row.method) for row in rows)
        oddities = sum((self._oddities[name] for name in chosen), Counter())
        records = sum(self._records[name] for name in chosen)
        return DescriptionFile(
            self.path, self.layout.name, named_rows, records, dict(sorted(oddities.items()))
        )

    def _oddities_of(self, row: DescriptionRow, cell: str) -> Iterator[str]:
        threshold = self.layout.threshold
        if row.text is None:
            yield "without a description"
            return
        if '"' in cell:
            yield "with double quotes inside"
        if "\n" in cell.strip():
            yield "with a line break inside"
        if cell != cell.strip():
            yield "with surrounding space, stripped"
        if row.unit < self._last.get((row.method, row.layer), 0):
            yield "out of order"
        if threshold is not None and row.score is not None and row.score <= threshold:
            yield f"not above the IoU threshold {threshold}, kept"


def _joined(earlier: DescriptionRow, row: DescriptionRow) -> DescriptionRow:
    """Adds a further annotation to a unit."""
    texts = [text for text in (earlier.text, *earlier.alternatives, row.text) if text is not None]
    if not texts:
        return earlier
    return replace(earlier, text=texts[0], status="ok", alternatives=tuple(texts[1:]))
