"""Turns the records of a description file into rows, and names what is unusual in them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, TypeVar

from ...harness.errors import InputError
from ...harness.scores import STATUSES, ScoreStatus
from . import texts
from .description_file import DescriptionRow
from .layout_files import Layout
from .texts import CellText, cell_text

T = TypeVar("T")
# The largest index of a 32-bit array: no layer has so many units.
_MOST = 2**31 - 1


@dataclass(frozen=True)
class Reading:
    """A row, the number of its unit as the file has it, and what is unusual in it."""

    row: DescriptionRow
    unit_cell: str
    oddities: tuple[str, ...]


class RowReader:
    """Reads the records of one file.

    Attributes:
        unused_columns: the columns that are not read.
    """

    def __init__(
        self, path: Path, layout: Layout, header: Sequence[str], layer: str, method: str
    ) -> None:
        """Finds the columns of the layout in the header.

        Args:
            path: path of the file, for messages.
            layout: the layout of the file; its required columns are in the header.
            header: the header.
            layer: the layer, where the layout has no column for it.
            method: the method, where the layout has no column for it.

        Raises:
            InputError: if a column that is read is in the header twice.
        """
        self._path, self._layout = path, layout
        self._layer, self._method = layer, method
        self._names = [column.strip().lower() for column in header]
        self._alternatives = self._numbered(layout.alternatives, without=layout.description)
        self._weights = self._numbered(layout.weights)
        if self._weights and len(self._weights) != 1 + len(self._alternatives):
            raise InputError(
                f"{path}, line 1: {len(self._weights)} columns of weights for a description and "
                f"{len(self._alternatives)} alternatives"
            )
        used = {name.strip().lower() for name in self._read_columns()}
        for name in self._names:
            if name in used and self._names.count(name) > 1:
                raise InputError(f"{path}, line 1: column {name!r} is there more than once")
        self.unused_columns = tuple(
            column for column, name in zip(header, self._names, strict=True) if name not in used
        )
        self._line, self._cells = 0, ()

    def read(self, line: int, cells: Sequence[str]) -> list[Reading]:
        """Returns the rows of one record, one per method.

        Raises:
            InputError: if a cell is invalid; names file, line and column.
        """
        self._line, self._cells = line, cells
        tool = self._layout.method
        first, *others = [
            self._reading(column, f"{tool}:{name}" if tool and name else name)
            for name, column in self._layout.text_columns().items()
        ]
        # Counted once, however many methods the record has.
        oddities = (*self._record_oddities(first.row), *first.oddities)
        return [replace(first, oddities=oddities), *others]

    def _reading(self, column: str, method: str | None) -> Reading:
        layout = self._layout
        description, alternatives = self._texts(column)
        present = [text for text in (description, *alternatives) if text.text]
        score, score_oddities = self._score()
        if layout.text == "python_pairs":
            score = description.weight
        row = DescriptionRow(
            layer=self._layer_name(),
            unit=self._unit(),
            method=self._method_name(method),
            text=description.text or None,
            status=self._status(description.text),
            score=score,
            alternatives=tuple(text.text for text in alternatives if text.text),
            line=self._line,
            weights=tuple(text.weight for text in present if text.weight is not None),
        )
        oddities = [
            *score_oddities,
            *self._score_below_limit(row),
            *self._text_oddities(description, alternatives),
        ]
        return Reading(row, self._cell(layout.unit).strip(), tuple(oddities))

    def _texts(self, column: str) -> tuple[CellText, list[CellText]]:
        """Returns description and alternatives; those of empty cells have no text."""
        layout = self._layout
        if layout.text == "python_pairs":
            first, *others = self._parsed(column, texts.python_pairs) or [CellText("", "")]
            return first, others
        columns = [column, *self._alternatives]
        weights = [self._parsed(name, texts.finite_number) for name in self._weights] or [None] * len(
            columns
        )
        read = [
            cell_text(layout, self._cell(name), weight)
            for name, weight in zip(columns, weights, strict=True)
        ]
        if self._has(layout.alternatives_json):
            listed = self._parsed(layout.alternatives_json or "", texts.json_texts)
            read += [cell_text(layout, text) for text in listed]
        if self._has(layout.weights_json):
            read = self._parsed(
                layout.weights_json or "", lambda cell: texts.with_weights(read, texts.json_weights(cell))
            )
        return read[0], read[1:]

    def _text_oddities(self, description: CellText, alternatives: Sequence[CellText]) -> Iterator[str]:
        if description.text:
            yield from texts.oddities(description)
        else:
            yield "without a description"
        seen = {description.text}
        # The alternatives in columns come first, one per column.
        names = [*self._alternative_names(), *([""] * len(alternatives))]
        for name, alternative in zip(names, alternatives, strict=False):
            if alternative.text:
                yield from (f"alternative {oddity}" for oddity in texts.oddities(alternative))
                if alternative.text in seen:
                    yield "alternative that repeats another text of the unit, kept"
                seen.add(alternative.text)
            else:
                yield f"blank {name!r}"
        for text in (description, *alternatives):
            if text.weight and not text.text:
                yield "weight without a text, left out"

    def _score_below_limit(self, row: DescriptionRow) -> Iterator[str]:
        limit = self._layout.weak_up_to
        if limit is not None and row.text is not None and row.score is not None and row.score <= limit:
            yield f"not above the threshold {limit}, kept"

    def _record_oddities(self, row: DescriptionRow) -> Iterator[str]:
        layout = self._layout
        unit = self._cell(layout.unit)
        if unit != str(int(unit)):
            yield "unit with spaces or leading zeros, rewritten"
        if layout.layer is not None and (cell := self._cell(layout.layer)) != cell.strip():
            yield "layer with surrounding space, stripped"
        # A byte order mark inside a file, where files were joined, would name another layer.
        if texts.has_invisible(row.layer) or texts.has_invisible(row.method):
            yield "layer or method with a control or invisible character, kept"
        if any("\n" in cell or "\r" in cell for cell in self._cells):
            yield from self._line_breaks()

    def _line_breaks(self) -> Iterator[str]:
        """Names the columns without texts that have a line break: a stray quote may join several rows."""
        with_texts = [*self._layout.text_columns().values(), *self._alternatives]
        names = {name.strip().lower() for name in with_texts}
        for name, cell in zip(self._names, self._cells, strict=True):
            if name not in names and ("\n" in cell or "\r" in cell):
                yield f"line break in column {name!r}"

    def _unit(self) -> int:
        column, first = self._layout.unit, self._layout.first_unit
        cell = self._cell(column).strip()
        # `isdigit` alone accepts digits of other scripts and superscripts, which `int` may refuse.
        if not (cell.isascii() and cell.isdigit()):
            self._refuse(column, f"{cell[:60]!r} is not the number of a unit")
        # Python refuses to convert thousands of digits.
        if len(cell) > 20 or int(cell) - first > _MOST:
            self._refuse(column, f"{cell[:60]} is too large for the number of a unit")
        if int(cell) < first:
            self._refuse(column, f"{cell}, but units of such a file are counted from {first}")
        return int(cell) - first

    def _score(self) -> tuple[float | None, list[str]]:
        column = self._layout.score
        if column is None or not self._has(column) or not self._cell(column).strip():
            return None, []
        score = self._parsed(column, texts.number)
        if math.isfinite(score):
            return score, []
        return None, ["with a score that is not finite, left out"]

    def _status(self, text: str) -> ScoreStatus:
        column = self._layout.status
        if column is None:
            return "ok" if text else "missing"
        cell = self._cell(column).strip()
        if cell not in STATUSES:
            self._refuse(column, f"{cell[:60]!r} is none of {', '.join(STATUSES)}")
        status = STATUSES[STATUSES.index(cell)]
        if (status == "ok") != bool(text):
            self._refuse(column, f"{cell!r} for a unit {'with' if text else 'without'} a description")
        return status

    def _layer_name(self) -> str:
        column = self._layout.layer
        return self._layer if column is None else self._layout.layer_prefix + self._name(column)

    def _method_name(self, method: str | None) -> str:
        column = self._layout.method_column
        return method or (self._method if column is None else self._name(column))

    def _name(self, column: str) -> str:
        return self._cell(column).strip() or self._refuse(column, "is blank")

    def _parsed(self, column: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(self._cell(column))
        except ValueError as error:
            self._refuse(column, str(error))

    def _has(self, column: str | None) -> bool:
        return column is not None and column.strip().lower() in self._names

    def _cell(self, column: str) -> str:
        """Returns a cell unchanged."""
        return self._cells[self._names.index(column.strip().lower())]

    def _numbered(self, columns: Sequence[str], without: str | None = None) -> list[str]:
        """Returns the columns that the header has; "*" in a name stands for every number, ascending."""
        present = []
        for column in columns:
            pattern = re.escape(column.strip().lower()).replace(r"\*", r"(\d{1,4})")
            matches = [match for name in self._names if (match := re.fullmatch(pattern, name, re.ASCII))]
            present += sorted(matches, key=lambda match: [int(n) for n in match.groups()])
        return [m[0] for m in present if m[0] != (without or "").strip().lower()]

    def _alternative_names(self) -> list[str]:
        """Returns, for each column of alternatives, the name under which a blank cell is counted."""
        patterns = self._layout.alternatives
        if len(patterns) == len(self._alternatives):
            return list(patterns)
        return [", ".join(patterns)] * len(self._alternatives)

    def _read_columns(self) -> list[str]:
        layout = self._layout
        named = (layout.layer, layout.method_column, layout.status, layout.score)
        listed = (layout.alternatives_json, layout.weights_json)
        columns = [layout.unit, *layout.text_columns().values(), *self._alternatives, *self._weights]
        return [*columns, *(column for column in (*named, *listed) if column is not None)]

    def _refuse(self, column: str, what: str) -> NoReturn:
        raise InputError(f"{self._path}, line {self._line}, column {column!r}: {what}")
