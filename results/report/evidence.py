"""Arranges the candidates and the evidence of a record as tables and lists.

Evidence is JSON whose fields depend on the method, so the arrangement depends on its form alone: a method
that is not part of this package is shown like the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...harness.records import Description

ROWS = 60
"""Longer tables end here; the records have the rest."""


@dataclass(frozen=True)
class Block:
    """A table with a title; without columns, a table of names and values.

    Attributes:
        title: what it shows.
        columns: headings; empty for names and values.
        rows: the cells.
        left_out: number of further rows.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0


def evidence_blocks(record: Description) -> list[Block]:
    """Returns the candidates of a record and everything that its evidence holds."""
    blocks = []
    candidates = [
        {"candidate": c.text, "score": c.score, **_scalars(c.details)} for c in record.candidates
    ]
    if candidates:
        blocks.append(_table("Candidates, best first", candidates))
    single = _scalars(record.evidence)
    if single:
        rows = tuple((words(name), text(value)) for name, value in single.items())
        blocks.append(Block("Values", (), rows))
    for name, value in record.evidence.items():
        if name not in single:
            blocks.extend(_nested(words(name), value))
    return blocks


def _nested(title: str, value: Any) -> Iterator[Block]:
    if isinstance(value, Mapping):
        if value and all(isinstance(row, Mapping) for row in value.values()):
            yield _table(title, [{"": name, **_scalars(row)} for name, row in value.items()])
        elif value:
            yield Block(title, (), tuple((words(name), text(entry)) for name, entry in value.items()))
    elif value and all(isinstance(row, Mapping) for row in value):
        yield _table(title, value)
    elif value and any(isinstance(entry, str) for entry in value):
        # Captions and replies: one per line.
        rows = tuple((str(number), text(entry)) for number, entry in enumerate(value, 1))
        yield Block(title, (), rows[:ROWS], max(0, len(rows) - ROWS))
    elif value:
        yield Block(title, (), (("", text(value)),))


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Block:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    cells = tuple(tuple(text(row.get(name)) for name in columns) for row in rows[:ROWS])
    return Block(title, tuple(map(words, columns)), cells, max(0, len(rows) - ROWS))


def _scalars(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in values.items() if not isinstance(value, (Mapping, list, tuple))
    }


def words(name: str) -> str:
    """Returns the name of a field in words."""
    return name.replace("_", " ")


def text(value: Any) -> str:
    """Returns a value for a reader: numbers with four significant digits, lists with commas."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)) and not any(isinstance(v, (Mapping, list)) for v in value):
        return ", ".join(map(text, value))
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
