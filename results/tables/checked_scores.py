"""The scores of one layer, checked: who has how many of them, and why the others are not there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .table import Coverage

if TYPE_CHECKING:
    import pandas as pd

CONTROLS = ("constant: ", "shuffled: ")
COLUMNS = ("target", "layer", "unit", "method", "metric", "score", "reason", "status", "prediction")


class Score(NamedTuple):
    """One row of the long table: the score of a unit's description, or the reason why there is none."""

    score: float
    reason: str | None
    status: str
    prediction: str | None


def is_control(method: str) -> bool:
    """Says whether a method of the score table is a control."""
    return method.startswith(CONTROLS)


class LayerScores:
    """The rows of the long table that are about one layer of one model.

    Attributes:
        target: name of the target.
        layer: name of the layer.
        metrics: names of the metrics, in the table's order.
        methods: names of the methods, without controls, in the table's order.
        controls: names of the controls.

    Raises:
        ValueError: if columns are missing, the rows are not of exactly one layer, a unit is scored twice,
            or a score is missing without a reason.
    """

    def __init__(self, scores: pd.DataFrame) -> None:
        absent = [column for column in COLUMNS if column not in scores]
        if absent:
            raise ValueError(f"the score table lacks the columns {absent}")
        places = set(zip(scores["target"], scores["layer"], strict=True))
        if len(places) != 1:
            raise ValueError(f"a table is about one layer of one model, not about {sorted(places)}")
        [(self.target, self.layer)] = places
        self._rows: dict[str, dict[str, dict[int, Score]]] = {}
        for _, _, unit, method, metric, *values in zip(*(scores[name] for name in COLUMNS), strict=True):
            of_metric = self._rows.setdefault(method, {}).setdefault(metric, {})
            if unit in of_metric:
                raise ValueError(f"{method}, {metric}: unit {unit} is scored twice")
            of_metric[int(unit)] = _score(f"{method}, {metric}, unit {unit}", *values)
        self.metrics = list(dict.fromkeys(scores["metric"]))
        self.methods = [method for method in self._rows if not is_control(method)]
        self.controls = [method for method in self._rows if is_control(method)]

    def of(self, method: str, metric: str) -> Mapping[int, Score]:
        """Returns the scores of a method by unit; empty if the metric was not computed for it."""
        return self._rows[method].get(metric, {})

    def scored_units(self, method: str, metric: str) -> frozenset[int]:
        """Returns the units for which a method has a score."""
        rows = self.of(method, metric)
        return frozenset(unit for unit, row in rows.items() if not math.isnan(row.score))

    def coverage(self, method: str) -> Coverage:
        """Counts the units of a method; a unit counts as scored if it has a score by any metric."""
        status = {unit: row.status for rows in self._rows[method].values() for unit, row in rows.items()}
        scored = frozenset().union(*(self.scored_units(method, m) for m in self._rows[method]))
        left = Counter(status[unit] for unit in status if unit not in scored)
        other = left.total() - left["dead"] - left["failed"] - left["missing"]
        return Coverage(len(scored), len(status), left["dead"], left["failed"], left["missing"], other)

    def distinct(self, method: str) -> int:
        """Counts the different texts of a method."""
        rows = (row for by_unit in self._rows[method].values() for row in by_unit.values())
        return len({row.prediction for row in rows if row.status == "ok"})

    def is_share(self, metric: str) -> bool:
        """Says whether a metric is hit or miss for every unit, so that its mean is a share of units."""
        rows = (row for of_method in self._rows.values() for row in of_method.get(metric, {}).values())
        values = {row.score for row in rows if not math.isnan(row.score)}
        return bool(values) and values <= {0.0, 1.0}

    def ranked(self, metric: str) -> list[str]:
        """Returns the methods that can be ranked: those that share the largest set of scored units.

        Empty if there are fewer than two, or if different sets are equally large.
        """
        units = {method: self.scored_units(method, metric) for method in self.methods}
        size = max(map(len, units.values()), default=0)
        largest = {of_method for of_method in units.values() if len(of_method) == size}
        if size == 0 or len(largest) > 1:
            return []
        ranked = [method for method, of_method in units.items() if of_method in largest]
        return ranked if len(ranked) > 1 else []

    def gaps(self, method: str) -> Mapping[str, Mapping[str, int]]:
        """Counts the described units without a score: by reason, by metric."""
        gaps: dict[str, Counter[str]] = {}
        for metric, rows in self._rows[method].items():
            for row in rows.values():
                if row.status == "ok" and row.reason:
                    gaps.setdefault(row.reason, Counter())[metric] += 1
        return gaps


def _score(where: str, score: Any, reason: Any, status: str, prediction: Any) -> Score:
    value = math.nan if score is None else float(score)
    why = reason if isinstance(reason, str) and reason else None  # a file may give NaN for None
    if math.isnan(value) and why is None:
        raise ValueError(f"{where}: no score and no reason")
    return Score(value, why, status, prediction if isinstance(prediction, str) else None)
