"""Scores descriptions: makes the score table of one layer, with controls.

No unit is dropped: one without a description or without a reference keeps its rows, with the reason why
it has no score. Two controls are scored like methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..harness.errors import InputError
from ..harness.records import Description, UnitId
from ..harness.scores import (
    NO_REFERENCE,
    ScoreRow,
    ScoreStatus,
    check_method_name,
    constant_control,
    score_frame,
    shuffled_control,
)
from .metric import Metric

if TYPE_CHECKING:
    import pandas as pd

    from ..datasets.references import References


@dataclass(frozen=True)
class Prediction:
    """A method's description of a unit, reduced to what is scored.

    Attributes:
        unit: which unit; all predictions scored together are of one layer.
        method: name of the method.
        text: the description; None unless `status` is "ok".
        status: the status of the description, or "missing".
    """

    unit: UnitId
    method: str
    text: str | None
    status: ScoreStatus = "ok"

    @classmethod
    def of(cls, description: Description) -> Prediction:
        """Takes from a record what is scored."""
        return cls(description.unit, description.method, description.text, description.status)


@dataclass(frozen=True)
class _Row:
    """One unit of one method or control, not scored yet; `text` counts only if `status` is "ok"."""

    method: str
    unit: int
    text: str | None
    status: ScoreStatus
    control: bool = False
    references: tuple[str, ...] = ()

    @property
    def reason(self) -> str | None:
        """Why there is no score; None if there is one."""
        if self.status != "ok":
            return self.status
        return None if self.references else NO_REFERENCE


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
    if not _has_words(control_text):
        raise InputError(
            f"the text of the constant control, {control_text!r}, has no letter or digit",
            "set table.control_text to a word",
        )
    by_method = _by_method(predictions)
    target, layer = _one_layer(by_method)
    if units is None:
        described = {unit for by_unit in by_method.values() for unit in by_unit}
        units = list(described.union(range(len(references))))
    rows = _methods_and_controls(by_method, sorted(set(units)), control_text, seed)
    # A dictionary, because units may have an index beyond the last reference.
    texts = dict(enumerate(references.texts))
    rows = [replace(row, references=tuple(texts.get(row.unit, ()))) for row in rows]
    return score_frame(_score_rows(target, layer, rows, _scores(rows, metrics)))


def _by_method(predictions: Iterable[Prediction]) -> dict[str, dict[int, Prediction]]:
    by_method: dict[str, dict[int, Prediction]] = {}
    for prediction in predictions:
        by_unit = by_method.setdefault(check_method_name(prediction.method), {})
        if prediction.unit.index in by_unit:
            raise InputError(
                f"{prediction.method} describes unit {prediction.unit.index} twice",
                "remove one of the two, or give two sources different method names",
            )
        by_unit[prediction.unit.index] = prediction
    return by_method


def _one_layer(by_method: Mapping[str, Mapping[int, Prediction]]) -> tuple[str, str]:
    units = [prediction.unit for by_unit in by_method.values() for prediction in by_unit.values()]
    layers = {(unit.target, unit.layer) for unit in units}
    if len(layers) != 1:
        raise ValueError(
            f"predictions of exactly one layer can be scored at a time, not of {sorted(layers)}"
        )
    return layers.pop()


def _methods_and_controls(
    by_method: Mapping[str, Mapping[int, Prediction]],
    units: Sequence[int],
    control_text: str,
    seed: int,
) -> list[_Row]:
    methods = [_method_rows(method, by_unit, units) for method, by_unit in by_method.items()]
    name = constant_control(control_text)
    constant = [_Row(name, unit, control_text, "ok", control=True) for unit in units]
    shuffled = [_shuffled(rows, seed) for rows in methods]
    return [row for rows in (*methods, constant, *shuffled) for row in rows]


def _method_rows(method: str, by_unit: Mapping[int, Prediction], units: Sequence[int]) -> list[_Row]:
    rows = []
    for unit in units:
        prediction = by_unit.get(unit)
        if prediction is None:
            rows.append(_Row(method, unit, None, "missing"))
        elif prediction.status == "ok" and not _has_words(prediction.text or ""):
            rows.append(_Row(method, unit, prediction.text, "missing"))
        else:
            rows.append(_Row(method, unit, prediction.text, prediction.status))
    return rows


def _has_words(text: str) -> bool:
    # Files of other tools have a lone "-" where a unit has no description.
    return any(character.isalnum() for character in text)


def _shuffled(rows: Sequence[_Row], seed: int) -> list[_Row]:
    """Gives each unit that has a text the text of another unit."""
    described = [place for place, row in enumerate(rows) if row.status == "ok"]
    shuffled = [replace(row, method=shuffled_control(row.method), control=True) for row in rows]
    if len(described) == 1:  # there is no other text
        shuffled[described[0]] = replace(shuffled[described[0]], text=None, status="missing")
        return shuffled
    # In one random cycle no text stays where it is, unlike in a random permutation. The cycle depends on
    # the seed and the described units alone, so that a method's control does not depend on other methods.
    cycle = np.random.default_rng(seed).permutation(len(described))
    for receiver, giver in zip(cycle, np.roll(cycle, 1), strict=True):
        place = described[receiver]
        shuffled[place] = replace(shuffled[place], text=rows[described[giver]].text)
    return shuffled


def _scores(rows: Sequence[_Row], metrics: Sequence[Metric]) -> dict[str, list[float]]:
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


def _score_rows(
    target: str, layer: str, rows: Sequence[_Row], scores: Mapping[str, Sequence[float]]
) -> list[ScoreRow]:
    return [
        ScoreRow(
            target=target,
            layer=layer,
            unit=row.unit,
            method=row.method,
            control=row.control,
            metric=metric,
            score=column[place],
            reason=row.reason,
            status=row.status,
            prediction=row.text,
            references=row.references,
        )
        for place, row in enumerate(rows)
        for metric, column in scores.items()
    ]
