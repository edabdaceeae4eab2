"""The overview: per layer and method, how many units are described, in how many texts, at what cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...harness.records import Description, Spent, UnitId
from ..statistics import RESAMPLES, summary
from .table import Column, Row, Table, Value, undefined_notes


def overview_table(
    descriptions: Iterable[Description],
    *,
    models: Mapping[str, str] | None = None,
    spent: Mapping[tuple[UnitId, str], Spent] | None = None,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> Table:
    """Returns one row per layer and method; needs no references.

    Args:
        descriptions: the records of one target; a later record of a unit replaces an earlier one.
        models: names of the models used, by their role.
        spent: time and cost of describing each unit, by unit and method. There is a column for time if
            it is known for any row, and one for money if any was spent.
        seed: seed of the bootstrap.
        n_resamples: number of bootstrap resamples.

    Raises:
        ValueError: if the records are of several targets.
    """
    latest = {(d.unit, d.method): d for d in descriptions}.values()
    targets = sorted({d.unit.target for d in latest})
    if len(targets) > 1:
        raise ValueError(f"an overview shows one target, not {targets}")
    groups: dict[tuple[str, str], list[Description]] = {}
    for description in latest:
        groups.setdefault((description.unit.layer, description.method), []).append(description)
    # Layers in the order of the records, and the methods of one layer next to each other.
    layers = list(dict.fromkeys(layer for layer, _ in groups))
    ordered = sorted(groups, key=lambda key: layers.index(key[0]))
    costs, cost_cells = _cost_columns([groups[key] for key in ordered], spent or {})
    columns = (
        Column("layer"),
        Column("method"),
        *(Column(name, "count") for name in ("units", "described", "below threshold", "dead", "failed")),
        Column("distinct", "count"),
        Column("own score", "estimate"),
        *costs,
    )
    rows = tuple(
        Row((*key, *_counts(groups[key], seed, n_resamples), *cells))
        for key, cells in zip(ordered, cost_cells, strict=True)
    )
    notes = [
        "own score: the score by which the method chose; not comparable between methods.",
        *(note for key in ordered for note in _failures(*key, groups[key])),
    ]
    return Table(
        "descriptions",
        f"Descriptions: {targets[0]}" if targets else "Descriptions",
        columns,
        rows,
        (*notes, *undefined_notes(columns, rows)) if rows else (),
        {**(models or {}), "seed": str(seed), "resamples": str(n_resamples)},
    )


def _counts(group: Sequence[Description], seed: int, n_resamples: int) -> tuple[Value, ...]:
    described = [d for d in group if d.text is not None]
    status = Counter(d.status for d in group)
    # NaN, so that the summary counts descriptions without a score as missing.
    scores = [math.nan if d.score is None else d.score for d in described]
    return (
        len(group),
        len(described),
        status["below_threshold"],
        status["dead"],
        status["failed"],
        len({d.text for d in described}),
        summary(scores, seed=seed, n_resamples=n_resamples),
    )


def _cost_columns(
    groups: Sequence[Sequence[Description]], spent: Mapping[tuple[UnitId, str], Spent]
) -> tuple[list[Column], list[tuple[Value, ...]]]:
    """Returns the columns for time and money that have something to show, and their cells by group."""
    totals = [_total(group, spent) for group in groups]
    columns, cells = [], []
    if any(total is not None for total in totals):
        columns.append(Column("time", "seconds"))
        cells.append([total and total.seconds for total in totals])
    if any(total is not None and total.cost_usd > 0 for total in totals):
        columns.append(Column("cost", "usd"))
        cells.append([total and total.cost_usd for total in totals])
    return columns, list(zip(*cells, strict=True)) if cells else [()] * len(groups)


def _total(group: Sequence[Description], spent: Mapping[tuple[UnitId, str], Spent]) -> Spent | None:
    """Returns the total time and cost of one layer and method; None if they are unknown."""
    parts = [spent[d.unit, d.method] for d in group if (d.unit, d.method) in spent]
    if not parts:
        return None
    # fsum, so that the total does not depend on the order of the records.
    return Spent(math.fsum(p.seconds for p in parts), math.fsum(p.cost_usd for p in parts))


def _failures(layer: str, method: str, group: Sequence[Description]) -> Iterator[str]:
    """Yields why descriptions failed, the most frequent reason first."""
    reasons = Counter(str(d.evidence.get("reason", "unknown")) for d in group if d.status == "failed")
    for reason, n in reasons.most_common():
        yield f"{layer}, {method}: {n} failed: {reason}"
