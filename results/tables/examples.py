"""A few units with what each method says of them: the first thing a reader looks at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...harness.records import Description
from .table import Column, Row, Table


def examples_table(
    descriptions: Iterable[Description], references: Sequence[Sequence[str]], layer: str, limit: int = 10
) -> Table:
    """Returns the first units of a layer with their true names and every method's words.

    Args:
        descriptions: records of one target; those of other layers are passed over.
        references: the true texts of each unit, by index; units beyond them have no true name.
        layer: the layer.
        limit: how many units to show, in ascending order.
    """
    found = {(d.unit.index, d.method): d for d in descriptions if d.unit.layer == layer}
    methods = list(dict.fromkeys(method for _, method in found))
    units = sorted({unit for unit, _ in found})
    columns = (Column("unit", "count"), Column("true name"), *map(Column, methods))
    rows = tuple(
        Row((unit, _true_name(references, unit), *(_words(found.get((unit, m))) for m in methods)))
        for unit in units[:limit]
    )
    shown = f"the first {limit} of {len(units)} units" if len(units) > limit else "all units"
    return Table(f"examples_{layer}", f"What the methods say of layer {layer}: {shown}", columns, rows)


def _true_name(references: Sequence[Sequence[str]], unit: int) -> str:
    return " | ".join(references[unit]) if unit < len(references) else ""


def _words(description: Description | None) -> str:
    if description is None:
        return "(no record)"
    if description.text is not None:
        return description.text
    return f"({description.status.replace('_', ' ')})"
