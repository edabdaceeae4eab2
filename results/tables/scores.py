"""Score tables for readers: the mean score of each method, and which differences are significant."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...harness.scores import MetricInfo
from ..ranks import effect_size, smallest_detectable_difference
from ..statistics import RESAMPLES, Summary, holm, paired_permutation, summary
from .layer_scores import LayerScores
from .table import Column, Row, Table, undefined_notes

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class _Resampling:
    """The arguments of `score_tables` that every estimate and test needs."""

    seed: int
    n_resamples: int


_NOT_COMPUTED = Summary(None, None, None, None, 0, 0, "this metric was not computed")


def score_tables(
    frame: pd.DataFrame,
    metrics: Mapping[str, MetricInfo],
    *,
    models: Mapping[str, str] | None = None,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> list[Table]:
    """Returns for every layer the comparison of its methods, where there are several, and its scores.

    The scores come last, because the last table is the one that a reader of a terminal sees first.

    Args:
        frame: a score table (see `ScoreRow`), of any number of layers and targets.
        metrics: the properties of each metric, by name.
        models: names of the models used, by their role ("target", "mpnet_cosine, sentence encoder").
        seed: seed of all resampling.
        n_resamples: number of bootstrap resamples and of drawn sign patterns.

    Raises:
        InputError: if `frame` is not a score table.
        ValueError: if `metrics` lacks a metric of the table.
    """
    footer = {**(models or {}), "seed": str(seed), "resamples": str(n_resamples)}
    resampling = _Resampling(seed, n_resamples)
    tables = []
    for _, rows in frame.groupby(["target", "layer"], sort=False):
        scores = LayerScores(rows)
        if len(scores.methods) > 1:
            tables.append(_comparison_table(scores, metrics, resampling))
        tables.append(_score_table(scores, metrics, resampling))
    return [replace(table, footer=footer) for table in tables]


def _score_table(
    scores: LayerScores, metrics: Mapping[str, MetricInfo], resampling: _Resampling
) -> Table:
    """Returns one row per method, then the controls: coverage, distinct texts, each metric.

    The best method of a metric is marked only among methods that were scored on the same units; the notes
    name those that were not.
    """
    metrics = _properties(scores, metrics)
    estimates = {
        (method, metric): _estimate(scores, method, metric, resampling)
        for method in (*scores.methods, *scores.controls)
        for metric in metrics
    }
    best = {metric: _best(scores, estimates, metric, metrics[metric]) for metric in metrics}
    columns = [Column("method"), Column("scored", "coverage"), Column("distinct", "count")]
    first_metric = len(columns)
    columns += [Column(metric, "estimate", info.percent) for metric, info in metrics.items()]
    rows = [
        Row(
            cells=(
                method,
                scores.coverage(method),
                scores.distinct(method),
                *(estimates[method, metric] for metric in metrics),
            ),
            control=method in scores.controls,
            best=frozenset(i for i, metric in enumerate(metrics, first_metric) if method in best[metric]),
        )
        for method in (*scores.methods, *scores.controls)
    ]
    notes = (
        *_column_notes(metrics, controls=bool(scores.controls)),
        *_legend(best),
        *_direction_note(metrics),
        *_ranking_notes(scores),
        *_gap_notes(scores),
        *undefined_notes(columns, rows),
    )
    return Table(
        f"scores_{scores.layer}",
        f"Scores of descriptions: {scores.target}, layer {scores.layer}",
        tuple(columns),
        tuple(rows),
        notes,
    )


def _comparison_table(
    scores: LayerScores, metrics: Mapping[str, MetricInfo], resampling: _Resampling
) -> Table:
    """Returns for every metric and pair of methods whether they differ, on the units that both have.

    Controls are left out. The correction counts all comparisons of the table as one family, so that no
    metric can be picked for its small p-value.
    """
    metrics = _properties(scores, metrics)
    sides = {
        (metric, *pair): _sides(scores, metric, *pair)
        for metric in metrics
        for pair in combinations(scores.methods, 2)
    }
    tests = {key: paired_permutation(*pair, **vars(resampling)) for key, pair in sides.items()}
    tested = {key: test.p_value for key, test in tests.items() if test.p_value is not None}
    # Comparisons without a common unit have no p-value, and do not count in the family.
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    columns = (
        *(Column(name) for name in ("metric", "first", "second")),
        Column("units", "count"),
        Column("difference", "estimate"),
        Column("d", "number"),
        Column("detectable", "number"),
        Column("p", "number"),
        Column("p (Holm)", "number"),
    )
    rows = tuple(
        Row(
            (
                *(*key, test.difference.n, test.difference),
                *(effect_size(first - second), smallest_detectable_difference(first - second)),
                *(test.p_value, corrected.get(key)),
            )
        )
        for (key, test), (first, second) in zip(tests.items(), sides.values(), strict=True)
    )
    notes = [
        "difference: first minus second, on the units that both methods have; percentages as fractions.",
        *_direction_note(metrics),
        "mean ± standard error over units [95 % bootstrap interval].",
        "d: mean / standard deviation of the differences.",
        "detectable: the difference that a test on these units would have found with probability 0.8.",
        "p: two-sided sign-flip permutation test.",
        f"p (Holm): corrected for the {len(tested)} comparisons of this table.",
        *undefined_notes(columns, rows),
    ]
    return Table(
        f"comparisons_{scores.layer}",
        f"Differences between methods: {scores.target}, layer {scores.layer}",
        columns,
        rows,
        tuple(notes),
    )


def _properties(scores: LayerScores, metrics: Mapping[str, MetricInfo]) -> dict[str, MetricInfo]:
    """Returns the properties of the metrics of a layer, in the score table's order."""
    unknown = [metric for metric in scores.metrics if metric not in metrics]
    if unknown:
        raise ValueError(f"no properties given of the metrics {unknown}")
    return {metric: metrics[metric] for metric in scores.metrics}


def _estimate(scores: LayerScores, method: str, metric: str, resampling: _Resampling) -> Summary:
    rows = scores.by_unit(method, metric)
    if not rows:
        return _NOT_COMPUTED
    return summary([row.score for row in rows.values()], **vars(resampling))


def _best(
    scores: LayerScores,
    estimates: Mapping[tuple[str, str], Summary],
    metric: str,
    info: MetricInfo,
) -> list[str]:
    """Returns the methods with the best mean among those that can be ranked."""
    means = {method: estimates[method, metric].mean for method in scores.ranked(metric)}
    choose = max if info.higher_is_better else min
    # Exact comparison: `summary` rounds the exact sum once, so methods with the same scores are equal.
    best = choose((mean for mean in means.values() if mean is not None), default=None)
    return [method for method, mean in means.items() if mean == best]


def _sides(
    scores: LayerScores, metric: str, first: str, second: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the scores of two methods on the units that either has; NaN where one has none."""
    a, b = scores.by_unit(first, metric), scores.by_unit(second, metric)
    units = sorted({*a, *b})
    one, other = (
        np.array([side[unit].score if unit in side else math.nan for unit in units], np.float64)
        for side in (a, b)
    )
    return one, other


def _column_notes(metrics: Mapping[str, MetricInfo], *, controls: bool) -> Iterator[str]:
    """Yields what the columns and the controls are."""
    yield "scored: units with a score, of those asked for. distinct: number of different descriptions."
    for name, info in metrics.items():
        if info.meaning:
            yield f"{name}: {info.meaning}{', in percent' if info.percent else ''}."
    if controls:
        yield (
            "constant and shuffled are controls: one text for every unit, and a method's descriptions on "
            "other units than its own."
        )


def _legend(best: Mapping[str, list[str]]) -> Iterator[str]:
    yield "mean ± standard error over units [95 % bootstrap interval]."
    if any(best.values()):
        yield "marked: the best mean among the methods that were scored on the same units."


def _direction_note(metrics: Mapping[str, MetricInfo]) -> Iterator[str]:
    lower = [metric for metric, info in metrics.items() if not info.higher_is_better]
    if lower:
        yield f"lower is better: {', '.join(lower)}."


def _ranking_notes(scores: LayerScores) -> Iterator[str]:
    """Yields which methods are not ranked because they were scored on other units than the rest."""
    by_note: dict[str, list[str]] = {}
    for metric in scores.metrics:
        units = {method: scores.scored_units(method, metric) for method in scores.methods}
        if len(set(units.values())) < 2:
            continue
        ranked = scores.ranked(metric)
        counts = ", ".join(f"{method} {len(units[method])}" for method in units if method not in ranked)
        effect = "these are not ranked with the others" if ranked else "no method is ranked"
        by_note.setdefault(f"{effect} (units scored: {counts}).", []).append(metric)
    for note, metrics in by_note.items():
        yield f"{', '.join(metrics)}: the methods were scored on different units; {note}"


def _gap_notes(scores: LayerScores) -> Iterator[str]:
    """Yields why described units have no score; the controls have the same gaps."""
    for method in scores.methods:
        for reason, by_metric in scores.gaps(method).items():
            counts = ", ".join(f"{metric} {n}" for metric, n in by_metric.items())
            yield f"{method}: described units without a score, by metric: {counts}: {reason}."
