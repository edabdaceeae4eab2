"""Reads ratings of any origin from one CSV file: wide (one row per unit) or long (one per rating)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import MinLen
from numpy.typing import NDArray
from pydantic import Field

from ....harness.errors import InputError
from ....harness.records import UnitId
from ...csv_files import number, read_csv
from ...yaml_models import Model, Name
from .ratings import Ratings

Columns = Annotated[tuple[Name, ...], MinLen(1)]
Record = dict[str, str]
LONG = ("layer", "unit", "method", "rater", "rating")
"""The columns of a long file; "target", "best" and "text" may follow, in any order."""


class WideLayout(Model):
    """The columns of a file with one row per unit; every tuple has one column per rater, in one order.

    Attributes:
        layer: column of the layer.
        unit: column of the unit; None if rows are numbered.
        raters: names of the raters.
        ratings: by method, the columns of its ratings.
        flags: by name, the columns of a flag of the whole unit: "TRUE" or "FALSE".
        labels: by method, the column of its description.
    """

    layer: Name
    unit: Name | None = None
    raters: Columns
    ratings: dict[Name, Columns]
    flags: dict[Name, Columns] = Field(default_factory=dict)
    labels: dict[Name, Name] = Field(default_factory=dict)

    def columns(self) -> list[str]:
        """Returns the names of all columns that are read."""
        several = chain(*self.ratings.values(), *self.flags.values())
        return [self.layer, *([self.unit] if self.unit else []), *several, *self.labels.values()]

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields (key, problem) for tuples that do not have one column per rater."""
        for kind, by_name in (("ratings", self.ratings), ("flags", self.flags)):
            for name, columns in by_name.items():
                if len(columns) != len(self.raters):
                    yield f"{kind}.{name}", f"{len(columns)} columns for {len(self.raters)} raters"

    def arrays(self, records: Sequence[Record], file: str) -> WideRatings:
        """Converts the rows of a file.

        Raises:
            InputError: if a cell is not a rating or not a flag; names file, row and column.
        """
        where = [f"{file}, row {row}" for row in range(1, len(records) + 1)]
        rated = [
            [[_rating(r, c, w) for c in columns] for columns in self.ratings.values()]
            for r, w in zip(records, where, strict=True)
        ]
        flags = {
            name: np.array(
                [[_flag(r, c, w) for c in columns] for r, w in zip(records, where, strict=True)]
            )
            for name, columns in self.flags.items()
        }
        labels = {name: [record[column] for record in records] for name, column in self.labels.items()}
        layers = [record[self.layer] for record in records]
        return WideRatings(list(self.ratings), layers, np.array(rated, np.float64), flags, labels)


@dataclass(frozen=True)
class WideRatings:
    """Ratings of a wide file as arrays.

    Attributes:
        methods: names of the methods.
        layers: [units] the layer of each unit.
        values: float64 [units, methods, raters]; NaN for an empty cell.
        flags: by name, bool [units, raters].
        labels: by method, [units] the descriptions.
    """

    methods: list[str]
    layers: list[str]
    values: NDArray[np.float64]
    flags: Mapping[str, NDArray[np.bool_]]
    labels: Mapping[str, Sequence[str]]


def read_ratings(path: Path, layout: WideLayout | None = None) -> Ratings:
    """Reads ratings from a CSV file.

    Args:
        path: the file.
        layout: the columns of a wide file; None for a long file, see `LONG`.

    Raises:
        InputError: if the file cannot be read, lacks a column, has a cell that is no rating, or has two
            ratings of one method by one rater on one unit.
    """
    records = read_csv(path)
    required = LONG if layout is None else layout.columns()
    missing = [column for column in required if not records or column not in records[0]]
    if missing:
        hint = f"a long file has the columns {', '.join(LONG)}; --layout describes another file"
        raise InputError(f"{path}, line 1: column {missing[0]!r} is missing, or there are no rows", hint)
    return _wide(path, records, layout) if layout else _long(path, records)


def _wide(path: Path, records: Sequence[Record], layout: WideLayout) -> Ratings:
    for key, problem in layout.problems():
        raise InputError(f"the layout of {path}, {key}: {problem}")
    arrays = layout.arrays(records, str(path))
    units = [
        UnitId(
            "", layer, row if layout.unit is None else _unit(record, layout.unit, f"{path}, row {row}")
        )
        for row, (layer, record) in enumerate(zip(arrays.layers, records, strict=True), 1)
    ]
    if len(set(units)) < len(units):
        twice = next(unit for number, unit in enumerate(units) if unit in units[:number])
        raise InputError(f"{path}: unit {twice.index} of layer {twice.layer} has two rows")
    judged = ~np.isnan(arrays.values).all(axis=1)  # [units, raters]
    rows, raters = np.nonzero(judged)
    values = arrays.values[rows, :, raters]
    texts = [
        [arrays.labels[m][row] if m in arrays.labels else m for m in arrays.methods]
        for row in range(len(units))
    ]
    slots = np.array([_slots(of_unit) for of_unit in texts], np.int64).reshape(-1, len(arrays.methods))
    return _ratings(
        arrays.methods,
        [units[row] for row in rows],
        [layout.raters[rater] for rater in raters],
        values=values,
        best=np.full_like(values, np.nan),
        slots=slots[rows],
        flags={name: flag[rows, raters] for name, flag in arrays.flags.items()},
    )


def _long(path: Path, records: Sequence[Record]) -> Ratings:
    methods = list(dict.fromkeys(record["method"] for record in records))
    judgements: dict[tuple[UnitId, str], dict[str, tuple[int, Record]]] = {}
    for row, record in enumerate(records, 1):
        where = f"{path}, row {row}"
        unit = UnitId(record.get("target", ""), record["layer"], _unit(record, "unit", where))
        of_judgement = judgements.setdefault((unit, record["rater"]), {})
        if record["method"] in of_judgement:
            other = of_judgement[record["method"]][0]
            raise InputError(f"{where}: the same unit, rater and method as row {other}")
        of_judgement[record["method"]] = (row, record)
    values = np.full((len(judgements), len(methods)), np.nan)
    best = np.full_like(values, np.nan)
    slots = np.full(values.shape, -1, np.int64)
    for number_, of_judgement in enumerate(judgements.values()):
        present = [method for method in methods if method in of_judgement]
        texts = [of_judgement[method][1].get("text") or method for method in present]
        slots[number_, [methods.index(method) for method in present]] = _slots(texts)
        chosen = {m: _choice(record, f"{path}, row {row}") for m, (row, record) in of_judgement.items()}
        answered = any(choice is not None for choice in chosen.values())
        for column, method in enumerate(methods):
            if method in of_judgement:
                row, record = of_judgement[method]
                values[number_, column] = _rating(record, "rating", f"{path}, row {row}")
            if answered:
                best[number_, column] = bool(chosen.get(method))
    units, raters = zip(*judgements, strict=True)
    return _ratings(methods, units, raters, values=values, best=best, slots=slots)


def _ratings(
    methods: Sequence[str], units: Sequence[UnitId], raters: Sequence[str], **arrays: object
) -> Ratings:
    """Returns the ratings of judgements that are given by their unit and rater."""
    known_units, known_raters = sorted(set(units)), sorted(set(raters))
    several = len({unit.target for unit in known_units}) > 1
    names = (f"{unit.target}: {unit.layer}" if several else unit.layer for unit in units)
    place_of_unit = {unit: place for place, unit in enumerate(known_units)}
    place_of_rater = {rater: place for place, rater in enumerate(known_raters)}
    return Ratings(
        *(tuple(methods), tuple(dict.fromkeys(names)), tuple(known_units), tuple(known_raters)),
        np.array([place_of_unit[unit] for unit in units], np.int64),
        np.array([place_of_rater[rater] for rater in raters], np.int64),
        **arrays,  # pyright: ignore[reportArgumentType]
    )


def _slots(texts: Sequence[str]) -> list[int]:
    """Numbers the texts of a judgement; equal ones, regardless of case, have one number."""
    keys = [text.strip().casefold() for text in texts]
    distinct = list(dict.fromkeys(keys))
    return [distinct.index(key) for key in keys]


def _unit(record: Record, column: str, where: str) -> int:
    value = number(record, column, where)
    if value != int(value) or value < 0:
        raise InputError(f"{where}, column {column!r}: {record[column]!r} is not the index of a unit")
    return int(value)


def _rating(record: Record, column: str, where: str) -> float:
    return number(record, column, where) if record[column].strip() else math.nan


def _choice(record: Record, where: str) -> bool | None:
    cell = record.get("best", "").strip().upper()
    if not cell:
        return None
    if cell not in _TRUE + _FALSE:
        raise InputError(f"{where}, column 'best': {record['best']!r} is not 1, 0 or empty")
    return cell in _TRUE


_TRUE, _FALSE = ("1", "TRUE", "YES"), ("0", "FALSE", "NO")


def _flag(record: Record, column: str, where: str) -> bool:
    cell = record[column].strip().upper()
    if cell not in ("TRUE", "FALSE"):
        raise InputError(f"{where}, column {column!r}: {record[column]!r} is neither TRUE nor FALSE")
    return cell == "TRUE"
