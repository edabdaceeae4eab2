"""Scores descriptions: makes the score table of one layer, with controls.

No unit is dropped: one without a description or without a reference keeps its rows, with the reason why
it has no score. Two controls are scored like methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..harness.scores import score_frame
from .metric import Metric
from .unscored import Prediction, UnscoredRow, unscored_layer

if TYPE_CHECKING:
    import pandas as pd

    from ..datasets.references import References


def score_descriptions(
    predictions: Iterable[Prediction],
    references: References,
    metrics: Sequence[Metric],
    *,
    units: Sequence[int] | None = None,
    control_text: str = "depiction",
    seed: int = 0,
) -> pd.DataFrame:
    """Scores the descriptions of one layer against the references of its units.

    Predictions and references are joined by unit index, never by order. A text without any letter or
    digit (empty, or only punctuation) is no description: the unit is "missing" for that method.

    The controls are "constant: <text>", which gives every unit the same text, and "shuffled: <method>",
    which gives each unit the text of another unit of the same method (a seeded cyclic permutation of the
    units that have one; it does not depend on the other methods).

    Args:
        predictions: at most one per method and unit, in any order.
        references: the references of each unit, by index.
        metrics: the metrics; each sees all texts of the table in one call.
        units: the units that were to be described; None: all that have a reference or a prediction.
        control_text: text of the constant control.
        seed: seed of the shuffled control.

    Returns:
        A score table (see `ScoreRow`): one row per method or control, unit and metric, in this order.

    Raises:
        InputError: if a method describes a unit twice or is named like a control, or the control text has
            no letter or digit.
        ValueError: if there are no predictions, if they are of several layers, if two metrics have the
            same name, or if a metric returns a score that is not finite.
    """
    predictions = list(predictions)
    if units is None:
        units = [*range(len(references)), *(prediction.unit.index for prediction in predictions)]
    layer = unscored_layer(predictions, units=units, control_text=control_text, seed=seed)
    layer = layer.with_references(references.texts)
    by_metric = _scores(layer.rows, metrics)
    reasons = [row.reason for row in layer.rows]
    columns = [layer.score_rows(metric, column, reasons) for metric, column in by_metric.items()]
    # Row by row, with the metrics of a row next to each other.
    return score_frame(row for rows in zip(*columns, strict=True) for row in rows)


def _scores(rows: Sequence[UnscoredRow], metrics: Sequence[Metric]) -> dict[str, list[float]]:
    """Returns for every metric the score of every row, NaN where there is a reason."""
    if len({metric.name for metric in metrics}) != len(metrics):
        raise ValueError(f"metrics need different names: {[metric.name for metric in metrics]}")
    scorable = [place for place, row in enumerate(rows) if row.reason is None]
    texts = [rows[place].text or "" for place in scorable]
    references = [rows[place].references for place in scorable]
    by_metric: dict[str, list[float]] = {}
    for metric in metrics:
        # NaN and not 0: a unit without a score must not lower the mean of its method.
        column = np.full(len(rows), np.nan)
        column[scorable] = metric.score(texts, references)
        wrong = [place for place in scorable if not np.isfinite(column[place])]
        if wrong:
            row = rows[wrong[0]]
            raise ValueError(
                f"{metric.name} returned {column[wrong[0]]} for {row.text!r} (unit {row.unit} of "
                f"{row.method}), not a finite score"
            )
        by_metric[metric.name] = column.tolist()
    return by_metric
