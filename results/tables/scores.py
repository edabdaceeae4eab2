"""Tables of scores: how good each method is, and which differences between methods hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from ..statistics import RESAMPLES, PairedTest, Summary, holm, paired_permutation, summary
from .checked_scores import LayerScores
from .table import Column, Row, Table

if TYPE_CHECKING:
    import pandas as pd

_NOT_COMPUTED = Summary(None, None, None, None, 0, 0, "this metric was not computed")


def score_tables(
    scores: pd.DataFrame,
    *,
    models: Mapping[str, str] | None = None,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> list[Table]:
    """Returns the leaderboard of every layer, and the comparison of methods where there are several.

    Args:
        scores: the long table: one row per unit, method and metric, with at least the columns
            `scores.COLUMNS`; of any number of layers and models.
        models: names of the models behind the numbers by what they are ("target", "clip_cos", ...).
        seed: seed of all resampling.
        n_resamples: number of bootstrap resamples and of drawn sign patterns.

    Raises:
        ValueError: if the long table is not what `LayerScores` demands.
    """
    footer = {**(models or {}), "seed": str(seed), "resamples": str(n_resamples)}
    tables = []
    for _, rows in scores.groupby(["target", "layer"], sort=False):
        layer = LayerScores(rows)
        tables.append(leaderboard(layer, footer=footer, seed=seed, n_resamples=n_resamples))
        if len(layer.methods) > 1:
            tables.append(comparisons(layer, footer=footer, seed=seed, n_resamples=n_resamples))
    return tables


def leaderboard(
    scores: LayerScores,
    *,
    footer: Mapping[str, str] | None = None,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> Table:
    """Returns one row per method, then the controls: coverage, distinct texts, each metric.

    The best method of a metric is marked only among methods that were scored on the very same units;
    the notes name those that were not. Metrics whose scores are all 0 or 1 are shown in percent.
    """
    estimates = {
        (method, metric): _estimate(scores, method, metric, seed, n_resamples)
        for method in (*scores.methods, *scores.controls)
        for metric in scores.metrics
    }
    best = {metric: _best(scores, estimates, metric) for metric in scores.metrics}
    columns = [Column("method"), Column("scored", "coverage"), Column("distinct", "count")]
    columns += [Column(metric, "estimate", scores.is_share(metric)) for metric in scores.metrics]
    rows = [
        Row(
            cells=(
                method,
                scores.coverage(method),
                scores.distinct(method),
                *(estimates[method, metric] for metric in scores.metrics),
            ),
            control=method in scores.controls,
            best=frozenset(i for i, metric in enumerate(scores.metrics, 3) if method in best[metric]),
        )
        for method in (*scores.methods, *scores.controls)
    ]
    return Table(
        f"scores_{scores.layer}",
        f"Scores of descriptions: {scores.target}, layer {scores.layer}",
        tuple(columns),
        tuple(rows),
        (*_legend(best), *_ranking_notes(scores), *_gap_notes(scores), *undefined_notes(columns, rows)),
        footer or {},
    )


def comparisons(
    scores: LayerScores,
    *,
    footer: Mapping[str, str] | None = None,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> Table:
    """Returns for every metric and pair of methods whether they differ, on the units that both have.

    Controls are left out. The correction counts all comparisons of the table as one family, so that no
    metric can be picked for its small p-value.
    """
    tests = {
        (metric, *pair): _compare(scores, metric, *pair, seed=seed, n_resamples=n_resamples)
        for metric in scores.metrics
        for pair in combinations(scores.methods, 2)
    }
    tested = {key: test.p_value for key, test in tests.items() if test.p_value is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    columns = (
        *(Column(name) for name in ("metric", "first", "second")),
        Column("units", "count"),
        Column("difference", "estimate"),
        Column("p", "number"),
        Column("p (Holm)", "number"),
    )
    rows = tuple(
        Row((*key, test.difference.n, test.difference, test.p_value, corrected.get(key)))
        for key, test in tests.items()
    )
    notes = [
        "difference: first minus second, on the units that both methods have; shares as fractions of 1.",
        "mean ± standard error over units [95 % bootstrap interval].",
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
        footer or {},
    )


def undefined_notes(columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[str]:
    """Yields, for every value that is not defined, whose it is and why."""
    for row in rows:
        name = ", ".join(value for value in row.cells if isinstance(value, str))
        by_reason: dict[str, list[str]] = {}
        for column, value in zip(columns, row.cells, strict=True):
            if isinstance(value, Summary) and value.reason:
                by_reason.setdefault(value.reason, []).append(column.name)
        for reason, undefined in by_reason.items():
            yield f"{name}: {', '.join(undefined)}: {reason}."


def _estimate(scores: LayerScores, method: str, metric: str, seed: int, n_resamples: int) -> Summary:
    rows = scores.of(method, metric)
    if not rows:
        return _NOT_COMPUTED
    return summary([row.score for row in rows.values()], seed=seed, n_resamples=n_resamples)


def _best(scores: LayerScores, estimates: Mapping[tuple[str, str], Summary], metric: str) -> list[str]:
    """Returns the methods with the highest mean among those that can be ranked."""
    means = {method: estimates[method, metric].mean for method in scores.ranked(metric)}
    highest = max((mean for mean in means.values() if mean is not None), default=None)
    return [method for method, mean in means.items() if mean == highest]


def _compare(
    scores: LayerScores, metric: str, first: str, second: str, *, seed: int, n_resamples: int
) -> PairedTest:
    a, b = scores.of(first, metric), scores.of(second, metric)
    units = sorted({*a, *b})
    sides = [[side[unit].score if unit in side else math.nan for unit in units] for side in (a, b)]
    return paired_permutation(*sides, seed=seed, n_resamples=n_resamples)


def _legend(best: Mapping[str, list[str]]) -> Iterator[str]:
    yield "mean ± standard error over units [95 % bootstrap interval]."
    if any(best.values()):
        yield "marked: the best mean among the methods that were scored on the same units."


def _ranking_notes(scores: LayerScores) -> Iterator[str]:
    """Says which methods are not ranked because they were scored on other units than the rest."""
    by_note: dict[str, list[str]] = {}
    for metric in scores.metrics:
        units = {method: scores.scored_units(method, metric) for method in scores.methods}
        if len(set(units.values())) < 2:
            continue
        ranked = scores.ranked(metric)
        counts = ", ".join(f"{method} {len(units[method])}" for method in units if method not in ranked)
        what = "these are not ranked with the others" if ranked else "no method is ranked"
        by_note.setdefault(f"{what} (units scored: {counts}).", []).append(metric)
    for note, metrics in by_note.items():
        yield f"{', '.join(metrics)}: the methods were scored on different units; {note}"


def _gap_notes(scores: LayerScores) -> Iterator[str]:
    """Says why described units have no score; the controls have the same gaps."""
    for method in scores.methods:
        for reason, by_metric in scores.gaps(method).items():
            counts = ", ".join(f"{metric} {n}" for metric, n in by_metric.items())
            yield f"{method}: described units without a score, by metric: {counts}: {reason}."
