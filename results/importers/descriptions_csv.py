"""Reads one description file of any tool: CSV, in a layout that is recognised by the header."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from ...harness.errors import InputError, nearest
from ...harness.scores import check_method_name
from .csv_records import CsvRecords
from .description_file import DescriptionFile, DescriptionRow, LayerSource
from .layout_files import Layout
from .rows import Reading, RowReader


def read_descriptions_csv(
    path: str | os.PathLike[str],
    *,
    layer: str | None = None,
    method: str | None = None,
    layout: Layout | None = None,
) -> DescriptionFile:
    """Reads the descriptions of one layer, or of all layers that the file names.

    Rows are joined by unit, never by order. A row that is repeated is read once. A Network Dissection
    label whose IoU does not exceed the threshold of 0.04 is kept, as in the published tables, and counted
    in the oddities.

    Args:
        path: a CSV file in UTF-8 (a byte order mark is allowed), separated by commas, semicolons or tabs.
        layer: the layer to read, or the name of the layer if the file has no column for it; by default
            the layer in the file's name, where the layout has it there.
        method: name of the method; by default the file's name without the layer, preceded by the tool's
            name if only one tool uses the header.
        layout: the layout of the file; by default the built-in layout that its header has.

    Raises:
        InputError: if the file cannot be read, its header is unknown, the layer is not in it or unknown,
            a cell is invalid, a unit has two different descriptions, or a method is named like a control;
            names file, line and column.
    """
    path = Path(path)
    records = CsvRecords(path, layout)
    origin = _origin(path, records.layout, layer)
    reader = RowReader(path, records.layout, records.header, origin.layer, origin.method)
    rows = _Rows(path, records.layout, origin)
    for line, cells in records:
        rows.add_record(reader.read(line, cells))
    file = rows.file(layer, method)
    return replace(
        file,
        oddities={**records.oddities, **file.oddities},
        unused_columns=reader.unused_columns,
        layer_from=origin.layer_from,
    )


@dataclass(frozen=True)
class _Origin:
    """Layer and method of the rows that do not name them.

    Attributes:
        layer: the layer; "" if the rows name it.
        method: the method.
        layer_from: where the layer was found.
        name_layer: the layer in the file's name, or None.
    """

    layer: str
    method: str
    layer_from: LayerSource
    name_layer: str | None


def _origin(path: Path, layout: Layout, layer: str | None) -> _Origin:
    name_layer, rest = _layer_in_name(path.stem, layout)
    if layout.layer is not None:
        layer, layer_from = "", "column"
    elif layer is not None:
        layer_from = "argument"
    elif name_layer is not None:
        layer, layer_from = name_layer, "file name"
    else:
        raise InputError(
            f"{path} has no column for the layer", "name the layer of the file, such as --layer fc"
        )
    # Without the layer, the files of one method's layers have the same method.
    stem = rest if layer in ("", name_layer) else path.stem
    # A file that is named after the tool, such as an exported one, names it once.
    parts = dict.fromkeys(filter(None, (layout.method, stem)))
    method = ":".join(parts) or path.stem
    return _Origin(layer, method, layer_from, name_layer)


def _layer_in_name(stem: str, layout: Layout) -> tuple[str | None, str]:
    """Returns the layer in a file's name, in lower case, or None, and the name without it."""
    if layout.layer_in_file_name is None:
        return None, stem
    pattern = rf"(?:^|[-_. ])({layout.layer_in_file_name})(?=$|[-_. ])"
    match = re.search(pattern, stem, re.IGNORECASE)
    if match is None:
        return None, stem
    return match[1].lower(), (stem[: match.start()] + stem[match.end() :]).strip("-_. ")


class _Rows:
    """Joins the rows of a file by method, layer and unit, and counts oddities."""

    def __init__(self, path: Path, layout: Layout, origin: _Origin) -> None:
        self._path, self._layout, self._origin = path, layout, origin
        self._rows: dict[tuple[str, str, int], DescriptionRow] = {}
        self._oddities: dict[str, Counter[str]] = {}  # by layer, in the file's order
        self._first_lines: dict[tuple[str, str], int] = {}
        self._last: dict[tuple[str, str], int] = {}
        self._layers: dict[tuple[str, str], int] = {}  # place of each method's layers
        self._records: Counter[str] = Counter()  # by layer

    def add_record(self, readings: list[Reading]) -> None:
        """Adds the rows of one record, which are of one layer."""
        self._records[readings[0].row.layer] += 1
        for reading in readings:
            self._add(reading)

    def _add(self, reading: Reading) -> None:
        row = reading.row
        for oddity in (*reading.oddities, *self._oddities_of(row)):
            self._count(row, oddity)
        self._last[row.method, row.layer] = row.unit
        self._layers.setdefault((row.method, row.layer), len(self._layers))
        key = (row.method, row.layer, row.unit)
        earlier = self._rows.get(key)
        if earlier is None:
            self._rows[key] = row
        elif self._layout.rows_per_unit == "several":
            self._count(row, "further description of a unit, kept as an alternative")
            if row.text is not None and row.text in (earlier.text, *earlier.alternatives):
                self._count(row, "further description that repeats another of the unit, kept")
            self._rows[key] = _joined(earlier, row)
        elif replace(row, line=earlier.line) == earlier:
            self._count(row, "repeated, read once")
        else:
            raise InputError(
                f"{self._path}, lines {earlier.line} and {row.line}: {row.layer} unit "
                f"{reading.unit_cell} has two different descriptions",
                "remove one of the lines",
            )

    def _count(self, row: DescriptionRow, oddity: str) -> None:
        self._oddities.setdefault(row.layer, Counter())[oddity] += 1
        self._first_lines.setdefault((row.layer, oddity), row.line)

    def _oddities_of(self, row: DescriptionRow) -> list[str]:
        oddities = []
        if row.unit < self._last.get((row.method, row.layer), 0):
            oddities.append("out of order")
        name_layer = self._origin.name_layer
        if name_layer not in (None, row.layer):
            oddities.append(f"of layer {row.layer!r}, although the file name has {name_layer!r}")
        return oddities

    def file(self, layer: str | None, method: str | None) -> DescriptionFile:
        """Returns the rows of one layer, or of all; `method` replaces the name of the method."""
        layers = list(self._records)
        if not layers:
            raise InputError(f"{self._path} has a header but no rows")
        if layer is not None and layer not in layers:
            hints = [f"it has the layers {', '.join(layers)}", nearest(layer, layers)]
            raise InputError(f"{self._path} has no layer {layer!r}", "; ".join(filter(None, hints)))
        chosen = layers if layer is None else [layer]
        rows = [row for row in self._rows.values() if row.layer in chosen]
        self._check_methods({row.method for row in rows}, method)
        # Published files are not always sorted by unit.
        rows.sort(key=lambda row: (row.method, self._layers[row.method, row.layer], row.unit))
        oddities = sum((self._oddities.get(name, Counter()) for name in chosen), Counter())
        first_lines: dict[str, int] = {}
        for (name, oddity), line in self._first_lines.items():
            if name in chosen:
                first_lines[oddity] = min(line, first_lines.get(oddity, line))
        return DescriptionFile(
            self._path,
            self._layout.name,
            tuple(replace(row, method=method or row.method) for row in rows),
            sum(self._records[name] for name in chosen),
            dict(sorted(oddities.items())),
            first_lines=first_lines,
        )

    def _check_methods(self, methods: set[str], method: str | None) -> None:
        if method is not None and len(methods) > 1:
            raise InputError(
                f"{self._path} has {len(methods)} methods, which cannot all be named {method!r}",
                f"it has the methods {', '.join(sorted(methods))}",
            )
        for name in sorted({method} if method else methods):
            check_method_name(name, f"{self._path}: ")


def _joined(earlier: DescriptionRow, row: DescriptionRow) -> DescriptionRow:
    """Adds a further annotation to a unit."""
    texts = [text for text in (earlier.text, *earlier.alternatives, row.text) if text is not None]
    if not texts:
        return earlier
    return replace(earlier, text=texts[0], status="ok", alternatives=tuple(texts[1:]))
