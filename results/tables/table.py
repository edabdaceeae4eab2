"""A table as data: values and their kinds, which each output format shows in its own way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..statistics import Summary

Kind = Literal["text", "count", "number", "seconds", "usd", "coverage", "estimate"]


@dataclass(frozen=True)
class Coverage:
    """How many of a method's units have a score, and why the others have none.

    Attributes:
        scored: units with a score.
        units: units that were to be described.
        below_threshold: units whose best candidate does not pass the method's own threshold.
        dead: units whose value is constant over the probing set.
        failed: units whose description failed.
        missing: units without a description.
        other: described units without a score, such as units without a reference.
    """

    scored: int
    units: int
    below_threshold: int = 0
    dead: int = 0
    failed: int = 0
    missing: int = 0
    other: int = 0


Value = str | int | float | Summary | Coverage | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading.
        kind: the type of its cells: "text" (str), "count" (int), "number", "seconds" or "usd" (float),
            "coverage" (`Coverage`) or "estimate" (`Summary`). None is a value that is not defined.
        percent: whether formats for readers show it in percent, with two decimals instead of four. CSV
            always has the value itself.
    """

    name: str
    kind: Kind = "text"
    percent: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: one value per column.
        control: whether it is a control; controls are printed below a line.
        best: indices of the columns in which it is the best of the rows that can be ranked.
    """

    cells: tuple[Value, ...]
    control: bool = False
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Table:
    """A table with its notes.

    Attributes:
        name: name of the files it is written to, without suffix.
        title: what it shows.
        columns: its columns.
        rows: methods first, controls last.
        notes: sentences about single values, such as why one is missing.
        footer: the models and settings that the numbers depend on, by their role.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    footer: Mapping[str, str] = field(default_factory=dict)


def undefined_notes(columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[str]:
    """Yields a note for every undefined value: the row, the columns and the reason."""
    for row in rows:
        name = ", ".join(value for value in row.cells if isinstance(value, str))  # method, layer, metric
        by_reason: dict[str, list[str]] = {}
        for column, value in zip(columns, row.cells, strict=True):
            if isinstance(value, Summary) and value.reason:
                by_reason.setdefault(value.reason, []).append(column.name)
        for reason, undefined in by_reason.items():
            yield f"{name}: {', '.join(undefined)}: {reason}."
