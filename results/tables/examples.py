"""The examples: a few units of a layer, each with its references and every method's description."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...harness.records import Description
from .table import Column, Row, Table


def examples_table(
    descriptions: Iterable[Description], references: Sequence[Sequence[str]], layer: str, limit: int = 10
) -> Table:
    """Returns the first units of a layer with their references and the descriptions of every method.

    Args:
        descriptions: records of one target; those of other layers are ignored.
        references: the references of each unit, by index; later units have none.
        layer: the layer.
        limit: how many units to show, in ascending order.
    """
    # A later record of a unit replaces an earlier one, as in the other tables.
    by_unit = {(d.unit.index, d.method): d for d in descriptions if d.unit.layer == layer}
    methods = list(dict.fromkeys(method for _, method in by_unit))
    units = sorted({unit for unit, _ in by_unit})
    columns = (Column("unit", "count"), Column("reference"), *map(Column, methods))
    rows = tuple(
        Row((unit, _reference(references, unit), *(_text(by_unit.get((unit, m))) for m in methods)))
        for unit in units[:limit]
    )
    which = f"the first {limit} of {len(units)} units" if len(units) > limit else "all units"
    return Table(f"examples_{layer}", f"Descriptions of layer {layer}: {which}", columns, rows)


def _reference(references: Sequence[Sequence[str]], unit: int) -> str:
    return " | ".join(references[unit]) if unit < len(references) else ""


def _text(description: Description | None) -> str:
    if description is None:
        return "(no record)"
    if description.text is not None:
        return description.text
    return f"({description.status.replace('_', ' ')})"
