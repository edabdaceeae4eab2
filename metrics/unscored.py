"""The rows of a score table before they are scored: methods and controls, with every unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..harness.errors import InputError
from ..harness.records import Description, UnitId
from ..harness.scores import (
    NO_REFERENCE,
    ScoreRow,
    ScoreStatus,
    check_method_name,
    constant_control,
    shuffled_control,
)


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
class UnscoredRow:
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


@dataclass(frozen=True)
class UnscoredLayer:
    """All rows of one layer: each method, then the controls, with the same units in the same order."""

    target: str
    layer: str
    rows: tuple[UnscoredRow, ...]

    def with_references(self, texts: Sequence[Sequence[str]]) -> UnscoredLayer:
        """Returns the rows with the references of their units, by index."""
        # A dictionary, because units may have an index beyond the last reference.
        by_unit = dict(enumerate(texts))
        rows = (replace(row, references=tuple(by_unit.get(row.unit, ()))) for row in self.rows)
        return replace(self, rows=tuple(rows))

    def score_rows(
        self, metric: str, scores: Sequence[float], reasons: Sequence[str | None]
    ) -> list[ScoreRow]:
        """Returns the rows with the scores of a metric.

        Args:
            metric: name of the metric.
            scores: [rows]; NaN where there is a reason.
            reasons: [rows] why there is no score; None where there is one.
        """
        return [
            ScoreRow(
                target=self.target,
                layer=self.layer,
                unit=row.unit,
                method=row.method,
                control=row.control,
                metric=metric,
                score=score,
                reason=reason,
                status=row.status,
                prediction=row.text,
                references=row.references,
            )
            for row, score, reason in zip(self.rows, scores, reasons, strict=True)
        ]


def unscored_layer(
    predictions: Iterable[Prediction],
    *,
    units: Sequence[int] | None = None,
    control_text: str = "depiction",
    seed: int = 0,
) -> UnscoredLayer:
    """Returns the rows of a layer, with controls; `score_descriptions` says which.

    Args:
        predictions: at most one per method and unit, in any order.
        units: the units that were to be described; None: all that have a prediction.
        control_text: text of the constant control.
        seed: seed of the shuffled control.

    Raises:
        InputError: if a method describes a unit twice or is named like a control, or the control text has
            no letter or digit.
        ValueError: if there are no predictions, or they are of several layers.
    """
    if not _has_words(control_text):
        raise InputError(
            f"the text of the constant control, {control_text!r}, has no letter or digit",
            "set table.control_text to a word",
        )
    by_method = _by_method(predictions)
    target, layer = _one_layer(by_method)
    if units is None:
        units = [unit for by_unit in by_method.values() for unit in by_unit]
    rows = _methods_and_controls(by_method, sorted(set(units)), control_text, seed)
    return UnscoredLayer(target, layer, tuple(rows))


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
) -> list[UnscoredRow]:
    methods = [_method_rows(method, by_unit, units) for method, by_unit in by_method.items()]
    name = constant_control(control_text)
    constant = [UnscoredRow(name, unit, control_text, "ok", control=True) for unit in units]
    shuffled = [_shuffled(rows, seed) for rows in methods]
    return [row for rows in (*methods, constant, *shuffled) for row in rows]


def _method_rows(
    method: str, by_unit: Mapping[int, Prediction], units: Sequence[int]
) -> list[UnscoredRow]:
    rows = []
    for unit in units:
        prediction = by_unit.get(unit)
        if prediction is None:
            rows.append(UnscoredRow(method, unit, None, "missing"))
        elif prediction.status == "ok" and not _has_words(prediction.text or ""):
            rows.append(UnscoredRow(method, unit, prediction.text, "missing"))
        else:
            rows.append(UnscoredRow(method, unit, prediction.text, prediction.status))
    return rows


def _has_words(text: str) -> bool:
    # Files of other tools have a lone "-" where a unit has no description.
    return any(character.isalnum() for character in text)


def _shuffled(rows: Sequence[UnscoredRow], seed: int) -> list[UnscoredRow]:
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
