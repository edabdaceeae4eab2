"""Chooses the units of a figure by a stated rule, so that a caption can say how they were chosen."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from ...harness.errors import InputError, at_least, one_of
from ...harness.finished_run import FinishedRun
from ...harness.records import Description, UnitId
from ...harness.scores import score_rows

Rule = Literal["random", "best", "worst", "disagree"]
RULES: tuple[Rule, ...] = ("random", "best", "worst", "disagree")

Records = Mapping[UnitId, Mapping[str, Description]]


@dataclass(frozen=True)
class UnitChoice:
    """The units of a figure.

    Attributes:
        units: the units, in the order of layers.
        sentence: how they were chosen, for the caption.
    """

    units: tuple[UnitId, ...]
    sentence: str


def chosen_by_hand(units: Sequence[UnitId]) -> UnitChoice:
    """Returns units that a person has chosen."""
    return UnitChoice(tuple(units), "The units were chosen by hand.")


def choose_units(
    run: FinishedRun,
    rule: Rule,
    *,
    per_layer: int = 2,
    seed: int = 0,
    layers: Sequence[str] = (),
    methods: Sequence[str] = (),
    metric: str | None = None,
) -> UnitChoice:
    """Chooses units of each layer among those that the last command of a run selected.

    Args:
        run: the run.
        rule: "random": a seeded sample of the units that are not dead; "best" and "worst": by the mean
            over methods of a metric, among the units that every method has a score for; "disagree": the
            units whose descriptions share the fewest words, among those with at least two descriptions.
        per_layer: how many units of each layer, fewer where a layer has fewer.
        seed: of the sample, and of the order of units with equal values.
        layers: the layers; default: all, or all with scores for "best" and "worst".
        methods: the methods whose scores and descriptions count; default: all.
        metric: the metric of "best" and "worst"; default: the first one of the score table.

    Raises:
        InputError: for an unknown layer, method or metric, or if no unit can be chosen.
    """
    one_of("--select", rule, RULES)
    at_least("--per-layer", per_layer, 1)
    records = selected_records(run, methods)
    known = list(dict.fromkeys(unit.layer for unit in records))
    wanted = [one_of("--layer", layer, known) for layer in layers] or known
    values, words = _values(run, records, rule, metric)
    units: list[UnitId] = []
    for layer in wanted:
        candidates = {unit: value for unit, value in values.items() if unit.layer == layer}
        units += _first(candidates, layer, per_layer, seed)
    drawn = ", ".join(dict.fromkeys(unit.layer for unit in units))
    if not units:
        raise InputError(
            f"--select {rule}: no unit of {', '.join(wanted)} can be chosen", f"it takes units {words}"
        )
    count = f"{per_layer} unit{'s' if per_layer > 1 else ''}"
    return UnitChoice(
        tuple(units),
        f"The units were chosen by a rule (seed {seed}): {count} of each of {drawn}, {words}.",
    )


def selected_records(run: FinishedRun, methods: Sequence[str] = ()) -> Records:
    """Returns the selected records by unit and method, in the order of layers, units and methods.

    Raises:
        InputError: if the run has no descriptions, or has no such method.
    """
    selection = run.selection
    if selection is None or not run.records:
        raise InputError(f"{run.path} has no descriptions of units", "give the folder of a run")
    chosen = [one_of("--method", method, selection.methods) for method in methods] or selection.methods
    records: dict[UnitId, dict[str, Description]] = {}
    for layer, indices in selection.units.items():
        for index in indices:
            records[UnitId(selection.target, layer, index)] = {}
    for record in run.records:
        if record.method in chosen:
            records[record.unit][record.method] = record
    return {unit: of_unit for unit, of_unit in records.items() if of_unit}


def _first(values: Mapping[UnitId, float], layer: str, count: int, seed: int) -> list[UnitId]:
    """Returns the units with the lowest values, in ascending order of value, then of chance."""
    units = sorted(values)
    # The name is part of the seed: layers of equal size would otherwise share their sample.
    shuffled = np.random.default_rng([seed, *layer.encode()]).permutation(len(units)).tolist()
    ordered = sorted((units[position] for position in shuffled), key=values.__getitem__)  # stable
    return ordered[:count]


def _values(
    run: FinishedRun, records: Records, rule: Rule, metric: str | None
) -> tuple[dict[UnitId, float], str]:
    """Returns the value of each unit that can be chosen, lowest first, and the rule in words."""
    if rule == "random":
        alive = [unit for unit, d in records.items() if any(r.status != "dead" for r in d.values())]
        return dict.fromkeys(alive, 0.0), "drawn at random among its described units that are not dead"
    if rule == "disagree":
        agreement = {unit: _agreement(of_unit) for unit, of_unit in records.items()}
        return (
            {unit: value for unit, value in agreement.items() if value is not None},
            "with the least agreement between methods (mean share of common words over pairs of "
            "descriptions), among those with at least two descriptions; equal values in random order",
        )
    return _mean_scores(run, records, rule, metric)


def _agreement(of_unit: Mapping[str, Description]) -> float | None:
    """Returns the mean Jaccard index of the words of two descriptions; None for fewer than two."""
    words = [set(re.findall(r"\w+", d.text.casefold())) for d in of_unit.values() if d.text is not None]
    pairs = list(combinations(words, 2))
    if not pairs:
        return None
    # Two descriptions without any word are equal.
    return math.fsum(len(a & b) / len(a | b) if a | b else 1.0 for a, b in pairs) / len(pairs)


def _mean_scores(
    run: FinishedRun, records: Records, rule: Rule, metric: str | None
) -> tuple[dict[UnitId, float], str]:
    if run.scores is None or run.scores.empty:
        raise InputError(
            f"{run.path} has no scores, which --select {rule} needs", "use --select random or disagree"
        )
    known = list(dict.fromkeys(run.scores["metric"]))
    metric = known[0] if metric is None else one_of("--metric", metric, known)
    methods = {method for of_unit in records.values() for method in of_unit}
    scores: dict[UnitId, list[float]] = {}
    for row in score_rows(run.scores):
        unit = UnitId(row.target, row.layer, row.unit)
        if row.metric == metric and row.method in methods and unit in records and not row.reason:
            scores.setdefault(unit, []).append(row.score)
    higher_is_better = metric not in run.metrics or run.metrics[metric].higher_is_better
    # The lowest values are chosen.
    sign = -1.0 if higher_is_better == (rule == "best") else 1.0
    # A mean over the easy units of one method would not be comparable with one over all methods.
    complete = {unit: values for unit, values in scores.items() if len(values) == len(methods)}
    return (
        {unit: sign * math.fsum(values) / len(values) for unit, values in complete.items()},
        f"with the {rule} mean {metric} over the {len(methods)} methods, among those that every method "
        "has a score for; equal values in random order",
    )
