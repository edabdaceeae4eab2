"""The plan of a run: what will be done, and what is done already, printed before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from rich.console import Console
from rich.table import Table

from .journal import read_descriptions
from .records import Description, UnitId
from .run import Parts, run_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..methods.dnd.expected_calls import ExpectedCalls
    from ..methods.method import Method


@runtime_checkable
class _Asking(Protocol):
    """A method that can tell what it will ask of a language model."""

    def expected_calls(self, units: int) -> ExpectedCalls | None: ...


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
    console.print(
        f"[bold]language-model calls[/] {_calls(parts, records, retry_failed)}", highlight=False
    )


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
            done = len(parts.units[name]) - _to_do(parts, records, name, method, retry_failed)
            to_do = len(parts.units[name]) - done
            counts.append(f"{to_do} to do" + (f", {done} done" if done else ""))
        size = "–" if info.map_shape == (1, 1) else f"{info.map_shape[0]} × {info.map_shape[1]}"
        chosen = len(parts.units[name])
        table.add_row(name, info.kind, size, str(info.n_units), str(chosen), *counts)
    return table


def _to_do(
    parts: Parts,
    records: Mapping[tuple[UnitId, str], Description],
    layer: str,
    method: Method,
    retry_failed: bool,
) -> int:
    """How many of a layer's chosen units a method has still to describe."""
    found = [records.get((UnitId(parts.target.name, layer, u), method.name)) for u in parts.units[layer]]
    return sum(r is None or (retry_failed and r.status == "failed") for r in found)


def _calls(parts: Parts, records: Mapping[tuple[UnitId, str], Description], retry_failed: bool) -> str:
    """Sums up what the methods that ask a language model expect; no unit is taken for dead."""
    expected = [
        method.expected_calls(sum(_to_do(parts, records, n, method, retry_failed) for n in parts.layers))
        for method in parts.methods
        if isinstance(method, _Asking)
    ]
    asked = [calls for calls in expected if calls is not None and calls.calls]
    if not asked:
        return "0 (cost 0 USD)"
    number = sum(calls.calls for calls in asked)
    if any(calls.cost_usd is None for calls in asked):
        return f"{number} expected, if none is cached (at a price that is not known)"
    usd, most = (sum(getattr(c, name) for c in asked) for name in ("cost_usd", "most_usd"))
    return f"{number} expected, if none is cached (about {usd:.2f} USD, at most {most:.2f} USD)"
