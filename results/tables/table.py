"""A table before it is written down: values and their kinds, which each format shows in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..statistics import Summary

Kind = Literal["text", "count", "number", "coverage", "estimate"]


@dataclass(frozen=True)
class Coverage:
    """How many of a method's units have a score, and why the others have none.

    Attributes:
        scored: units with a score.
        units: units that were to be described.
        below_threshold: units whose best candidate does not pass the method's own threshold.
        dead: units whose value never changes over the probing set.
        failed: units whose description failed.
        missing: units without a description.
        other: units that are described, but have no score for another reason.
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
        kind: what its cells hold: "text" (str), "count" (int), "number" (float), "coverage"
            (`Coverage`) or "estimate" (`Summary`). None stands for a value that is not defined.
        percent: whether texts show it in percent, with two decimals; otherwise with four. Files of
            numbers always hold the value itself.
    """

    name: str
    kind: Kind = "text"
    percent: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: one value per column.
        control: whether it is a control, which stands below a line.
        best: numbers of the columns in which it is the best of the rows that can be ranked.
    """

    cells: tuple[Value, ...]
    control: bool = False
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Table:
    """A table with what a reader has to know about it.

    Attributes:
        name: stem of the files it is written to.
        title: what it shows.
        columns: its columns.
        rows: methods first, controls last.
        notes: sentences that qualify single values, such as why one is not there.
        footer: the models and settings behind the numbers, by what they are.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    footer: Mapping[str, str] = field(default_factory=dict)
