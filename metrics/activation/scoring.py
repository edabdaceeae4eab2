"""Scores descriptions on the activations of one layer: makes rows of the score table, with controls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...harness.probe import ProbedLayer
from ...harness.scores import score_frame
from ..unscored import Prediction, unscored_layer
from .metric import ActivationMetric

if TYPE_CHECKING:
    import pandas as pd


def score_on_activations(
    predictions: Iterable[Prediction],
    layer: ProbedLayer,
    metrics: Sequence[ActivationMetric],
    *,
    units: Sequence[int] | None = None,
    references: Sequence[Sequence[str]] = (),
    control_text: str = "depiction",
    seed: int = 0,
) -> pd.DataFrame:
    """Scores the descriptions of one layer against its activations, with the controls of all metrics.

    Args:
        predictions: at most one per method and unit, in any order.
        layer: the activations to score on: of images that the methods have not seen.
        metrics: the metrics; each sees every distinct pair of unit and text once.
        units: the units that were to be described; None: all that have a prediction.
        references: the references of each unit, by index, if any; they are listed, not used.
        control_text: text of the constant control.
        seed: seed of the shuffled control.

    Returns:
        A score table, see `score_descriptions`.

    Raises:
        InputError: if a method describes a unit twice or is named like a control, the control text has no
            letter or digit, or the layer lacks what a metric needs.
        ValueError: if there are no predictions, or they are not of this layer.
    """
    table = unscored_layer(predictions, units=units, control_text=control_text, seed=seed)
    if (table.target, table.layer) != (layer.target, layer.name):
        raise ValueError(f"predictions of {table.target}, {table.layer} on {layer.target}, {layer.name}")
    table = table.with_references(references)
    pairs = [(row.unit, row.text or "") for row in table.rows]
    described = [place for place, row in enumerate(table.rows) if row.status == "ok"]
    distinct = list(dict.fromkeys(pairs[place] for place in described))
    columns = []
    for metric in metrics:
        scored = metric.score(layer, distinct)
        place_of = {pair: number for number, pair in enumerate(distinct)}
        scores, reasons = np.full(len(pairs), np.nan), [row.status for row in table.rows]
        by_row: list[str | None] = list(reasons)
        for place in described:
            number = place_of[pairs[place]]
            scores[place], by_row[place] = scored.values[number], scored.reasons[number]
        columns.append(table.score_rows(metric.name, scores.tolist(), by_row))
    return score_frame(row for rows in zip(*columns, strict=True) for row in rows)
