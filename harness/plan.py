"""Prints the plan of a run before it starts: what will be done, and what is already done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from .files import read_json
from .journal import read_descriptions
from .parts import Parts, run_name
from .records import Description, UnitId
from .run_folder import SKIPPED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..methods.method import Method


def print_plan(parts: Parts, runs: Path, console: Console, *, retry_failed: bool = False) -> None:
    """Prints target, images, methods, metrics, the units of each layer and the language-model calls."""
    folder = runs / run_name(parts)
    records = _records(folder / "descriptions.jsonl")
    console.print(f"[bold]run[/]          {folder}", highlight=False)
    console.print(f"[bold]target[/]       {parts.target.name} on {parts.target.device}", highlight=False)
    console.print(
        f"[bold]probing set[/]  {parts.probe.name}, {_images(parts, folder)}",
        highlight=False,
    )
    for method in parts.methods:
        models = ", ".join(method.models().values()) or "no foundation model"
        console.print(f"[bold]method[/]       {method.name}: {models}", highlight=False)
    if parts.held_out is not None:
        console.print(f"[bold]held out[/]     {_held_out(parts)}", highlight=False)
    for metric in parts.used_metrics:
        models = ", ".join(metric.models().values()) or "no model"
        console.print(f"[bold]metric[/]       {metric.name}: {models}", highlight=False)
    console.print(f"[bold]scored[/]       {_scored(parts)}", highlight=False)
    if parts.tinyworld:
        console.print(
            f"[bold yellow]warning[/]      made for tinyworld, not for {parts.probe.name}: "
            f"{', '.join(parts.tinyworld)}",
            highlight=False,
        )
    console.print(_units_table(parts, records, retry_failed=retry_failed))
    calls = _calls(parts, records, retry_failed)
    if calls is not None:
        console.print(f"[bold]language-model calls[/] {calls}", highlight=False)


def _images(parts: Parts, folder: Path) -> str:
    skipped = read_json(folder / SKIPPED) if (folder / SKIPPED).exists() else {}
    left_out = f", {len(skipped)} of them unreadable and left out" if skipped else ""
    return f"{len(parts.probe)} images{left_out}"


def _held_out(parts: Parts) -> str:
    """Returns on which images activation metrics are computed."""
    if parts.held_out is parts.probe:
        return "none: metrics on activations see the images that methods see (held_out=0)"
    assert parts.held_out is not None
    return f"{len(parts.held_out)} further images, for metrics on activations"


def _scored(parts: Parts) -> str:
    """Returns which layer is scored against which references, or why none is."""
    if parts.scored and parts.references is not None:
        return f"{parts.final_layer} against {parts.references.name}"
    if parts.final_layer is None and parts.settings.config.final_layer == "auto":
        return "nothing: no layer is the target's output (final_layer=NAME scores another one)"
    return "nothing"


def _records(path: Path) -> Mapping[tuple[UnitId, str], Description]:
    # Not through a `RunFolder`, which would create and lock the folder, even for --dry-run.
    if not path.exists():
        return {}
    return {(record.unit, record.method): record for record in read_descriptions(path)}


def _units_table(
    parts: Parts, records: Mapping[tuple[UnitId, str], Description], *, retry_failed: bool
) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("layer", "kind", "map", "units", "chosen", *(m.name for m in parts.methods)):
        table.add_column(column, justify="left" if column in ("layer", "kind") else "right")
    for name, info in parts.layers.items():
        chosen = len(parts.units[name])
        counts = []
        for method in parts.methods:
            to_do = _to_do(parts, records, name, method, retry_failed)
            done = chosen - to_do
            counts.append(f"{to_do} to do" + (f", {done} done" if done else ""))
        size = "–" if info.map_shape == (1, 1) else f"{info.map_shape[0]} × {info.map_shape[1]}"
        table.add_row(name, info.kind, size, str(info.n_units), str(chosen), *counts)
    return table


def _to_do(
    parts: Parts,
    records: Mapping[tuple[UnitId, str], Description],
    layer: str,
    method: Method,
    retry_failed: bool,
) -> int:
    """Counts the chosen units of a layer that a method still has to describe."""
    units = [UnitId(parts.target.name, layer, index) for index in parts.units[layer]]
    existing = [records.get((unit, method.name)) for unit in units]
    return sum(r is None or (retry_failed and r.status == "failed") for r in existing)


def _calls(
    parts: Parts, records: Mapping[tuple[UnitId, str], Description], retry_failed: bool
) -> str | None:
    """Sums the calls that the methods expect; None if no method uses a language model.

    Dead units are not known yet, so they are counted too.
    """
    expected = [
        method.expected_calls(
            sum(_to_do(parts, records, layer, method, retry_failed) for layer in parts.layers)
        )
        for method in parts.methods
    ]
    if all(estimate is None for estimate in expected):
        return None
    calls = [estimate for estimate in expected if estimate is not None and estimate.calls]
    if not calls:
        return "0 (cost 0 USD)"
    number = sum(estimate.calls for estimate in calls)
    costs = [estimate.cost_usd for estimate in calls if estimate.cost_usd is not None]
    bounds = [estimate.most_usd for estimate in calls if estimate.most_usd is not None]
    # A sum without one of the prices would look like the whole cost.
    if len(costs) < len(calls) or len(bounds) < len(calls):
        return f"{number} expected if none is cached (price unknown)"
    return (
        f"{number} expected if none is cached (about {sum(costs):.2f} USD, at most {sum(bounds):.2f} USD)"
    )
