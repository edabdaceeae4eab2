"""Bundles and leaderboards for tests, without runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dissectbench.harness.scores import MetricInfo
from dissectbench.results.leaderboard.boards import Leaderboard, build
from dissectbench.results.leaderboard.bundle import (
    Bundle,
    DescribedUnit,
    Environment,
    MethodInfo,
    ProbingSetInfo,
    ReferencesInfo,
    RunInfo,
    ScoredUnit,
    TargetInfo,
)
from dissectbench.results.leaderboard.summary import summarise

GOOD = [0.9, 0.8, 0.9, 0.7, 0.8, 0.9, 0.8, 0.9]
BAD = [0.1, 0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.1]


def bundle(
    scores: Mapping[str, Sequence[float | None]],
    *,
    source: str = "a.zip",
    net: str = "net",
    setting: Any = 1,
    ended: str = "2026-01-02",
    metric: str = "cosine",
    text: str = "text",
    **info: Any,
) -> Bundle:
    """A bundle of methods with given scores of units (None: not described)."""
    n = len(next(iter(scores.values())))
    metrics = {metric: info.pop("metric_info", MetricInfo())}
    run = RunInfo(
        target=TargetInfo(net, f"hash of {net}"),
        probing_set=ProbingSetInfo("photos", "hash of photos", 50),
        layers={"fc": "hash of fc"},
        units={"fc": list(range(n))},
        methods={name: MethodInfo({"setting": setting}, {}) for name in scores},
        metrics=metrics,
        references=ReferencesInfo("names", "hash of names", "fc", {u: [f"name {u}"] for u in range(n)}),
        models={},
        settings={},
        environment=Environment("cpu", "3.11", "Linux", {"dissectbench": "0.1.0"}),
        started=ended,
        ended=ended,
    )
    run = replace(run, **info)
    descriptions, rows = [], []
    for name, values in scores.items():
        for unit, value in enumerate(values):
            described = None if value is None else f"{text} {unit}"
            status = "dead" if value is None else "ok"
            descriptions.append(DescribedUnit("fc", unit, name, status, described, None, None, 1.0, 0.0))
            reason = "dead" if value is None else None
            rows.append(ScoredUnit(unit, name, False, metric, value, reason, status, described))
            rows.append(ScoredUnit(unit, "constant: it", True, metric, 0.0, None, "ok", "it"))
    rows = list(dict.fromkeys(rows))
    return Bundle(run, descriptions, rows, summarise(run, descriptions, rows), source)


def large_leaderboard(rows: int) -> Leaderboard:
    """A leaderboard with at least so many rows: one board under many names."""
    scores = {f"method {number}": [value - number / 100 for value in GOOD] for number in range(7)}
    small = build(
        [bundle(scores, text="a long description of what the unit responds to")], n_resamples=100
    )
    [board] = small.boards
    boards = [
        replace(board, layer=f"layer{number}", target=replace(board.target, name=f"network {number % 5}"))
        for number in range(-(-rows // len(board.entries)))
    ]
    return replace(small, boards=boards)
