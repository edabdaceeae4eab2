"""Summarises the scores of runs for charts: one point per run, layer, method and metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from ...harness.errors import InputError, one_of
from ...harness.finished_run import FinishedRun
from ...harness.scores import MetricInfo
from ..statistics import RESAMPLES, Summary, summary


@dataclass(frozen=True)
class Point:
    """The mean score of one method on one layer of one run.

    Attributes:
        run: label of the run.
        layer: name of the layer.
        method: name of the method or control.
        control: whether the method is a control.
        metric: name of the metric.
        summary: mean and interval over units.
        seconds: mean wall time of a unit; None for controls, or if the run has no times.
        cost_usd: mean cost of a unit; None likewise.
    """

    run: str
    layer: str
    method: str
    control: bool
    metric: str
    summary: Summary
    seconds: float | None
    cost_usd: float | None

    def to_json(self) -> dict[str, Any]:
        """Returns the point as JSON-able values."""
        fields = asdict(self)
        return {**fields, **fields.pop("summary")}


def score_points(
    runs: Sequence[FinishedRun],
    *,
    metrics: Sequence[str] = (),
    layers: Sequence[str] = (),
    methods: Sequence[str] = (),
) -> list[Point]:
    """Returns the points of all runs, in the order of runs, metrics, layers and methods.

    Args:
        runs: finished runs, or folders that `dissectbench score --out` wrote.
        metrics: the metrics; default: all.
        layers: the layers; default: all with scores.
        methods: the methods; default: all. Controls are always among the points.

    Raises:
        InputError: if a run has no scores, or no run has such a metric, layer or method.
    """
    labels = _labels(runs)
    for run in runs:
        if run.scores is None or run.scores.empty:
            raise InputError(f"{run.path} has no scores", "give runs whose final layer was scored")
    frames = [run.scores for run in runs if run.scores is not None]
    for option, column, chosen in (
        ("--metric", "metric", metrics),
        ("--layer", "layer", layers),
        ("--method", "method", methods),
    ):
        known = list(dict.fromkeys(value for frame in frames for value in frame[column]))
        for value in chosen:
            one_of(option, value, known)
    points = []
    for run, frame, label in zip(runs, frames, labels, strict=True):
        table = run.settings.get("table") or {}
        sampling = {"seed": run.settings.get("seed", 0), "n_resamples": table.get("resamples", RESAMPLES)}
        spent = _spent(run)
        for key, rows in frame.groupby(["metric", "layer", "method", "control"], sort=False):
            metric, layer, method, control = cast(tuple[str, str, str, bool], key)
            wanted = (metric in (metrics or [metric])) and (layer in (layers or [layer]))
            if not wanted or not (control or method in (methods or [method])):
                continue
            seconds, cost = spent.get((layer, method), (None, None))
            scores = summary(rows["score"], **sampling)
            points.append(Point(label, layer, method, bool(control), metric, scores, seconds, cost))
    return points


def metric_infos(runs: Sequence[FinishedRun]) -> dict[str, MetricInfo]:
    """Returns the properties of the metrics of all runs, by name."""
    return {name: info for run in runs for name, info in run.metrics.items()}


def _labels(runs: Sequence[FinishedRun]) -> list[str]:
    paths = [run.path.resolve() for run in runs]
    if len(set(paths)) < len(paths):
        raise InputError("a run is given twice", "give each run once")
    # As short as the names are distinct: runs of the same name may be in different folders.
    for parts in range(1, max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _spent(run: FinishedRun) -> dict[tuple[str, str], tuple[float, float]]:
    """Returns mean seconds and dollars per unit, by layer and method, over the selected records."""
    spent: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for record in run.records:
        # Dead units take no time and are not described.
        if record.status != "dead" and (record.unit, record.method) in run.spent:
            of_record = run.spent[record.unit, record.method]
            key = (record.unit.layer, record.method)
            spent.setdefault(key, []).append((of_record.seconds, of_record.cost_usd))
    return {
        key: (
            math.fsum(seconds for seconds, _ in values) / len(values),
            math.fsum(cost for _, cost in values) / len(values),
        )
        for key, values in spent.items()
    }
