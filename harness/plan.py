"""The plan of a run: what will be done, and what is done already, printed before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from .records import Description, UnitId, read_descriptions
from .run import Parts, run_name

if TYPE_CHECKING:
    from collections.abc import Mapping


def print_plan(parts: Parts, runs: Path, console: Console, *, retry_failed: bool = False) -> None:
    """Prints images × layers × units × methods, and how much of it is on record."""
    folder = runs / run_name(parts)
    records = _records(folder / "descriptions.jsonl")
    console.print(f"[bold]run[/]          {folder}", highlight=False)
    console.print(f"[bold]target[/]       {parts.target.name} on {parts.target.device}", highlight=False)
    console.print(
        f"[bold]probing set[/]  {parts.probe.name}, {len(parts.probe)} images, shown once",
        highlight=False,
    )
    for method in parts.methods:
        models = ", ".join(method.models().values()) or "no foundation model"
        console.print(f"[bold]method[/]       {method.name}: {models}", highlight=False)
    for metric in parts.metrics if parts.final_layer else ():
        models = ", ".join(metric.models().values()) or "no model"
        console.print(f"[bold]metric[/]       {metric.name}: {models}", highlight=False)
    console.print(_units(parts, records, retry_failed=retry_failed))
    console.print("[bold]language-model calls[/] 0 (cost 0 USD)", highlight=False)


def _records(path: Path) -> Mapping[tuple[UnitId, str], Description]:
    if not path.exists():
        return {}
    return {(record.unit, record.method): record for record in read_descriptions(path)}


def _units(
    parts: Parts, records: Mapping[tuple[UnitId, str], Description], *, retry_failed: bool
) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("layer", "kind", "map", "units", "chosen", *(m.name for m in parts.methods)):
        table.add_column(column, justify="left" if column in ("layer", "kind") else "right")
    for name, info in parts.layers.items():
        counts = []
        for method in parts.methods:
            found = [
                records.get((UnitId(parts.target.name, name, unit), method.name))
                for unit in parts.units[name]
            ]
            done = sum(r is not None and not (retry_failed and r.status == "failed") for r in found)
            counts.append(f"{len(found) - done} to do" + (f", {done} done" if done else ""))
        size = "–" if info.map_shape == (1, 1) else f"{info.map_shape[0]} × {info.map_shape[1]}"
        chosen = len(parts.units[name])
        table.add_row(name, info.kind, size, str(info.n_units), str(chosen), *counts)
    return table
