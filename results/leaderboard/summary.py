"""The counts and means of a bundle, which `validate` computes again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bundle import DescribedUnit, RunInfo, ScoredUnit


def summarise(
    info: RunInfo, descriptions: Sequence[DescribedUnit], scores: Sequence[ScoredUnit]
) -> dict[str, Any]:
    """Returns counts by layer and method, and means by method and metric.

    Sums are exact (`math.fsum`), so that equal rows give equal numbers on every machine.

    Returns:
        {"descriptions": {layer: {method: {"units", "described", "below_threshold", "dead", "failed",
        "missing", "distinct", "seconds", "cost_usd"}}}, "scores": {method: {metric: {"scored",
        "mean"}}}}. Seconds, cost and mean are None without any value.
    """
    groups: dict[tuple[str, str], list[DescribedUnit]] = {}
    for row in descriptions:
        groups.setdefault((row.layer, row.method), []).append(row)
    columns: dict[str, dict[str, list[float]]] = {}
    for row in scores:
        column = columns.setdefault(row.method, {}).setdefault(row.metric, [])
        if row.score is not None:
            column.append(row.score)
    return {
        "descriptions": {
            layer: {
                method: _counts(groups.get((layer, method), []), len(units)) for method in info.methods
            }
            for layer, units in info.units.items()
        },
        "scores": {
            method: {
                metric: {
                    "scored": len(values),
                    "mean": math.fsum(values) / len(values) if values else None,
                }
                for metric, values in by_metric.items()
            }
            for method, by_metric in columns.items()
        },
    }


def _counts(rows: Sequence[DescribedUnit], n_units: int) -> dict[str, Any]:
    status = Counter(row.status for row in rows)
    return {
        "units": n_units,
        "described": status["ok"],
        **{name: status[name] for name in ("below_threshold", "dead", "failed")},
        "missing": n_units - len(rows),
        "distinct": len({row.text for row in rows if row.text is not None}),
        "seconds": _total([row.seconds for row in rows]),
        "cost_usd": _total([row.cost_usd for row in rows]),
    }


def _total(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return math.fsum(present) if present else None
