"""The scores of one layer by method, metric and unit: coverage, ranking, and reasons for gaps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...harness.scores import STATUSES, ScoreRow, check_scores, score_rows
from .table import Coverage

if TYPE_CHECKING:
    import pandas as pd


class LayerScores:
    """The rows of a score table that belong to one layer of one target.

    Attributes:
        target: name of the target.
        layer: name of the layer.
        metrics: names of the metrics, in the table's order.
        methods: names of the methods, without controls, in the table's order.
        controls: names of the controls.

    Raises:
        InputError: if it is not a score table; see `check_scores`.
        ValueError: if the rows are not of exactly one layer.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        check_scores(frame, "the score table")
        layers = set(zip(frame["target"], frame["layer"], strict=True))
        if len(layers) != 1:
            raise ValueError(f"the rows must belong to one layer of one target, not to {sorted(layers)}")
        [(self.target, self.layer)] = layers
        self._rows: dict[str, dict[str, dict[int, ScoreRow]]] = {}
        for row in score_rows(frame):
            self._rows.setdefault(row.method, {}).setdefault(row.metric, {})[row.unit] = row
        self.metrics = list(dict.fromkeys(frame["metric"]))
        controls = set(frame.loc[frame["control"], "method"])
        self.methods = [method for method in self._rows if method not in controls]
        self.controls = [method for method in self._rows if method in controls]

    def by_unit(self, method: str, metric: str) -> Mapping[int, ScoreRow]:
        """Returns the rows of a method by unit; empty if the metric was not computed for it."""
        return self._rows[method].get(metric, {})

    def scored_units(self, method: str, metric: str) -> frozenset[int]:
        """Returns the units for which a method has a score."""
        rows = self.by_unit(method, metric)
        return frozenset(unit for unit, row in rows.items() if not math.isnan(row.score))

    def coverage(self, method: str) -> Coverage:
        """Counts the units of a method; a unit counts as scored if it has a score by any metric."""
        status = {unit: row.status for rows in self._rows[method].values() for unit, row in rows.items()}
        scored = frozenset().union(*(self.scored_units(method, m) for m in self._rows[method]))
        # The status of a unit is the same in the rows of all metrics.
        left = Counter(status[unit] for unit in status if unit not in scored)
        counts = {name: left.pop(name, 0) for name in STATUSES if name != "ok"}
        return Coverage(len(scored), len(status), **counts, other=left.total())

    def distinct(self, method: str) -> int:
        """Counts the different texts of a method."""
        rows = (row for by_unit in self._rows[method].values() for row in by_unit.values())
        return len({row.prediction for row in rows if row.status == "ok"})

    def ranked(self, metric: str) -> list[str]:
        """Returns the methods that can be ranked: those that share the largest set of scored units.

        Means over different units cannot be compared: a method that fails on hard units would gain from
        it. Empty if there are fewer than two such methods, or if different sets are equally large.
        """
        units = {method: self.scored_units(method, metric) for method in self.methods}
        size = max(map(len, units.values()), default=0)
        largest = {scored for scored in units.values() if len(scored) == size}
        # Of two different sets of the same size, neither is the better basis for a ranking.
        if size == 0 or len(largest) > 1:
            return []
        ranked = [method for method, scored in units.items() if scored in largest]
        return ranked if len(ranked) > 1 else []

    def gaps(self, method: str) -> Mapping[str, Mapping[str, int]]:
        """Counts the described units without a score: by reason, by metric."""
        gaps: dict[str, Counter[str]] = {}
        for metric, rows in self._rows[method].items():
            for row in rows.values():
                if row.status == "ok" and row.reason:
                    gaps.setdefault(row.reason, Counter())[metric] += 1
        return gaps
