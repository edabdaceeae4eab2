"""Ranks of methods on a board and across targets, and differences to a baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ...harness.scores import MetricInfo
from ..ranks import RankInterval, rank_intervals, smallest_detectable_difference
from ..statistics import Summary, holm, paired_permutation, summary
from ..tables.layer_scores import LayerScores
from .board import Board, Difference


@dataclass(frozen=True)
class Ranking:
    """The ranks on one board.

    Attributes:
        places: by metric and label, for the methods that can be ranked.
        columns: float64 [units] of the ranked methods, by metric and label.
        detectable: by metric; see `Board`.
        differences: by label and metric; empty without a baseline.
    """

    places: dict[str, dict[str, RankInterval]] = field(default_factory=dict)
    columns: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    detectable: dict[str, float | None] = field(default_factory=dict)
    differences: dict[tuple[str, str], Difference] = field(default_factory=dict)


def rank(
    scores: LayerScores | None,
    metrics: Mapping[str, MetricInfo],
    *,
    baseline: str | None,
    seed: int,
    n_resamples: int,
) -> Ranking:
    """Ranks the methods that were scored on the same units.

    Args:
        scores: the scores of a board; None without any.
        metrics: properties of the metrics.
        baseline: label of the method that the others are compared with.
        seed: seed of the tests.
        n_resamples: number of bootstrap resamples and of drawn sign patterns.
    """
    ranking = Ranking()
    for metric, info in metrics.items():
        assert scores is not None
        ranked = sorted(scores.ranked(metric))
        columns = {label: _column(scores, label, metric) for label in ranked}
        ranking.columns[metric] = columns
        ranking.places[metric] = {}
        if columns:
            ranking.places[metric] = rank_intervals(
                columns, higher_is_better=info.higher_is_better, seed=seed, n_resamples=n_resamples
            )
        ranking.detectable[metric] = _detectable(columns)
    if baseline is not None:
        ranking.differences.update(_differences(ranking.columns, baseline, seed, n_resamples))
    return ranking


def _column(scores: LayerScores, label: str, metric: str) -> NDArray[np.float64]:
    # Ranked methods have the same scored units, so equal places are equal units.
    rows = scores.by_unit(label, metric)
    return np.array([rows[unit].score for unit in sorted(scores.scored_units(label, metric))])


def _detectable(columns: Mapping[str, NDArray[np.float64]]) -> float | None:
    """Returns the largest of the detectable differences of all pairs: it holds for any two methods."""
    pairs = combinations(columns.values(), 2)
    differences = [smallest_detectable_difference(first - second) for first, second in pairs]
    return max((value for value in differences if value is not None), default=None)


def _differences(
    columns: Mapping[str, Mapping[str, NDArray[np.float64]]], baseline: str, seed: int, n_resamples: int
) -> dict[tuple[str, str], Difference]:
    tests = {
        (label, metric): paired_permutation(
            values, by_label[baseline], seed=seed, n_resamples=n_resamples
        )
        for metric, by_label in columns.items()
        if baseline in by_label
        for label, values in by_label.items()
        if label != baseline
    }
    tested = {key: test.p_value for key, test in tests.items() if test.p_value is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {key: Difference(test.difference, corrected.get(key)) for key, test in tests.items()}


@dataclass(frozen=True)
class MeanRank:
    """The mean rank of a method over targets.

    Attributes:
        label: the method.
        rank: mean over targets of the middle of the rank interval, with the 95 % bootstrap interval over
            targets.
        best: mean of the best ranks that the significant differences leave open.
        worst: mean of the worst ones.
    """

    label: str
    rank: Summary
    best: float
    worst: float


@dataclass(frozen=True)
class Across:
    """The mean ranks by one metric, of the methods that are ranked on every board of every target.

    Attributes:
        metric: label of the metric.
        targets: names of the targets.
        boards: number of boards.
        rows: the best first.
        left_out: methods that are not ranked on every board.
    """

    metric: str
    targets: list[str]
    boards: int
    rows: list[MeanRank]
    left_out: list[str]


def across_targets(boards: Sequence[Board], *, seed: int, n_resamples: int) -> list[Across]:
    """Returns the mean ranks over targets, for every metric of at least two targets.

    Only methods that are ranked on every board are compared, and they are ranked among each other: a rank
    among three methods is not comparable with one among ten.
    """
    metrics = sorted({metric for board in boards for metric in board.metrics})
    found = (_across(metric, boards, seed, n_resamples) for metric in metrics)
    return [across for across in found if across is not None]


def _across(metric: str, boards: Sequence[Board], seed: int, n_resamples: int) -> Across | None:
    ranked = [board for board in boards if board.scores.get(metric)]
    targets = {board.target.fingerprint: board.target.name for board in ranked}
    labels = [set(board.scores[metric]) for board in ranked]
    common = sorted(set.intersection(*labels)) if labels else []
    if len(targets) < 2 or len(common) < 2:
        return None
    # Of several layers of a target, the mean counts: the target is the sample.
    by_target: dict[str, list[dict[str, RankInterval]]] = {target: [] for target in targets}
    for board in ranked:
        columns = {label: board.scores[metric][label] for label in common}
        places = rank_intervals(
            columns,
            higher_is_better=board.metrics[metric].higher_is_better,
            seed=seed,
            n_resamples=n_resamples,
        )
        by_target[board.target.fingerprint].append(places)
    rows = []
    for label in common:
        best = [_mean([places[label].best for places in group]) for group in by_target.values()]
        worst = [_mean([places[label].worst for places in group]) for group in by_target.values()]
        middle = [(low + high) / 2 for low, high in zip(best, worst, strict=True)]
        rows.append(
            MeanRank(
                label, summary(middle, seed=seed, n_resamples=n_resamples), _mean(best), _mean(worst)
            )
        )
    rows.sort(key=lambda row: (row.rank.mean, row.label))
    left_out = sorted(set.union(*labels) - set(common))
    return Across(metric, sorted(targets.values()), len(ranked), rows, left_out)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
