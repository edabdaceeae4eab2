"""What was described at all: for layers whose true names nobody knows, this is the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...harness.records import Description
from ..statistics import RESAMPLES, summary
from .scores import undefined_notes
from .table import Column, Row, Table


def overview_table(
    descriptions: Iterable[Description],
    *,
    models: Mapping[str, str] | None = None,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> Table:
    """Returns one row per layer and method: how many units have a description, and how many texts.

    Args:
        descriptions: the records of one target; a later record of a unit replaces an earlier one.
        models: names of the models behind the descriptions by what they are.
        seed: seed of the bootstrap.
        n_resamples: number of bootstrap resamples.

    Raises:
        ValueError: if the records are of several targets.
    """
    latest = {(d.unit, d.method): d for d in descriptions}.values()
    targets = sorted({d.unit.target for d in latest})
    if len(targets) > 1:
        raise ValueError(f"an overview is about one target, not about {targets}")
    groups: dict[tuple[str, str], list[Description]] = {}
    for description in latest:
        groups.setdefault((description.unit.layer, description.method), []).append(description)
    layers = list(dict.fromkeys(layer for layer, _ in groups))
    columns = (
        Column("layer"),
        Column("method"),
        *(Column(name, "count") for name in ("units", "described", "below threshold", "dead", "failed")),
        Column("distinct", "count"),
        Column("own score", "estimate"),
    )
    rows = tuple(
        Row((layer, method, *_row(group, seed, n_resamples)))
        for (layer, method), group in sorted(groups.items(), key=lambda item: layers.index(item[0][0]))
    )
    notes = [
        "own score: by which the method chose; not comparable between methods.",
        *(note for (layer, method), group in groups.items() for note in _failures(layer, method, group)),
    ]
    return Table(
        "descriptions",
        f"Descriptions: {targets[0]}" if targets else "Descriptions",
        columns,
        rows,
        (*notes, *undefined_notes(columns, rows)) if rows else (),
        {**(models or {}), "seed": str(seed), "resamples": str(n_resamples)},
    )


def _row(group: Sequence[Description], seed: int, n_resamples: int) -> tuple:
    described = [d for d in group if d.text is not None]
    status = Counter(d.status for d in group)
    scores = [float("nan") if d.score is None else d.score for d in described]
    return (
        len(group),
        len(described),
        status["below_threshold"],
        status["dead"],
        status["failed"],
        len({d.text for d in described}),
        summary(scores, seed=seed, n_resamples=n_resamples),
    )


def _failures(layer: str, method: str, group: Sequence[Description]) -> Iterator[str]:
    """Says why descriptions failed, the most frequent reason first."""
    reasons = Counter(str(d.evidence.get("reason", "unknown")) for d in group if d.status == "failed")
    for reason, n in reasons.most_common():
        yield f"{layer}, {method}: {n} failed: {reason}"
