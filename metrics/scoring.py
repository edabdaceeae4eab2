"""From descriptions to one long table of scores: which unit, which method, which metric, which score.

Nothing is dropped on the way: a unit without a description, or without a reference, keeps its rows with
the reason why it has no score. Two controls stand beside the methods and are scored like them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..harness.errors import InputError
from ..harness.records import Description, UnitId
from .metric import Metric

if TYPE_CHECKING:
    import pandas as pd

    from ..datasets.classes import References

PredictionStatus = Literal["ok", "dead", "failed", "missing"]
CONSTANT, SHUFFLED = "constant: {}", "shuffled: {}"
BETWEEN_REFERENCES = " | "
COLUMNS = (
    *("target", "layer", "unit", "method", "metric"),
    *("score", "reason", "status", "prediction", "reference"),
)


@dataclass(frozen=True)
class Prediction:
    """What a method says of a unit, as far as scoring is concerned.

    Attributes:
        unit: which unit; all predictions scored together are of one layer.
        method: name of the method.
        text: the words, or None.
        status: "ok", "dead", "failed" or "missing".
    """

    unit: UnitId
    method: str
    text: str | None
    status: PredictionStatus = "ok"

    @classmethod
    def of(cls, description: Description) -> Prediction:
        """Takes from a record what is scored."""
        return cls(description.unit, description.method, description.text, description.status)


@dataclass(frozen=True)
class _Row:
    """One unit of one method or control; `text` is scored exactly if `status` is "ok"."""

    method: str
    unit: int
    text: str | None
    status: PredictionStatus
    references: tuple[str, ...]

    @property
    def reason(self) -> str | None:
        """Why there is no score; None if there is one."""
        if self.status != "ok":
            return self.status
        return None if self.references else "no reference"


def score_descriptions(
    predictions: Iterable[Prediction],
    references: References,
    metrics: Sequence[Metric],
    *,
    units: Sequence[int] | None = None,
    constant: str = "depiction",
    seed: int = 0,
) -> pd.DataFrame:
    """Scores the descriptions of one layer against the true texts of its units.

    Predictions and references meet by unit index, never by order. A text without any letter or digit
    (empty, or the "-" of Network Dissection) says nothing: the unit is "missing" for that method.

    The controls are the methods "constant: <text>", which says the same of every unit, and
    "shuffled: <method>", which gives each unit the text of another unit of the same method (a seeded
    cyclic permutation of the units that have one, the same whatever else is scored).

    Args:
        predictions: at most one per method and unit, in any order.
        references: the true texts of each unit, by index.
        metrics: what to score by; each sees all texts of the table in one call.
        units: the units that were to be described; None: all that have a reference or a prediction.
        constant: text of the constant control.
        seed: of the shuffled control.

    Returns:
        One row per method or control, unit and metric, in this order, with the columns target, layer,
        unit, method, metric, score (float64), reason, status, prediction, reference. The score is NaN
        exactly where `reason` is "missing", "dead", "failed" or "no reference", and None elsewhere.
        Several references of a unit stand in `reference` with " | " between them.

    Raises:
        InputError: if a method describes a unit twice, or the constant says nothing.
        ValueError: if there are no predictions, if they are of several layers, if two metrics have one
            name, or if a metric gives a score that is not finite.
    """
    if _says_nothing(constant):
        raise InputError(
            f"the constant control {constant!r} says nothing", "set table.constant to a word"
        )
    given = _by_method(predictions)
    place = _one_layer(given)
    if units is None:
        mentioned = {unit for texts in given.values() for unit in texts}
        units = list(mentioned.union(range(len(references))))
    rows = _with_references(_methods_and_controls(given, sorted(set(units)), constant, seed), references)
    return _table(place, rows, _scores(rows, metrics))


def _by_method(predictions: Iterable[Prediction]) -> dict[str, dict[int, Prediction]]:
    given: dict[str, dict[int, Prediction]] = {}
    for prediction in predictions:
        texts = given.setdefault(prediction.method, {})
        if prediction.unit.index in texts:
            raise InputError(
                f"{prediction.method} describes unit {prediction.unit.index} twice",
                "remove one of the two, or give two sources different method names",
            )
        texts[prediction.unit.index] = prediction
    return given


def _one_layer(given: Mapping[str, Mapping[int, Prediction]]) -> tuple[str, str]:
    places = {(p.unit.target, p.unit.layer) for texts in given.values() for p in texts.values()}
    if len(places) != 1:
        raise ValueError(
            f"predictions of exactly one layer can be scored at a time, got {sorted(places)}"
        )
    return places.pop()


def _methods_and_controls(
    given: Mapping[str, Mapping[int, Prediction]], units: Sequence[int], constant: str, seed: int
) -> list[_Row]:
    methods = {method: _rows_of(method, texts, units) for method, texts in given.items()}
    shuffled = [row for rows in methods.values() for row in _shuffled(rows, seed)]
    same = [_Row(CONSTANT.format(constant), unit, constant, "ok", ()) for unit in units]
    return [*(row for rows in methods.values() for row in rows), *same, *shuffled]


def _rows_of(method: str, texts: Mapping[int, Prediction], units: Sequence[int]) -> list[_Row]:
    rows = []
    for unit in units:
        prediction = texts.get(unit)
        text, status = (None, "missing") if prediction is None else (prediction.text, prediction.status)
        if status == "ok" and (text is None or _says_nothing(text)):
            status = "missing"
        rows.append(_Row(method, unit, text, status, ()))
    return rows


def _says_nothing(text: str) -> bool:
    return not any(character.isalnum() for character in text)


def _shuffled(rows: Sequence[_Row], seed: int) -> list[_Row]:
    """Gives each unit that has a text the text of another one."""
    described = [place for place, row in enumerate(rows) if row.status == "ok"]
    shuffled = [replace(row, method=SHUFFLED.format(row.method)) for row in rows]
    if len(described) == 1:  # there is no other text to give
        shuffled[described[0]] = replace(shuffled[described[0]], text=None, status="missing")
        return shuffled
    # A random cycle moves every text, and draws the same units in the same way for every method.
    cycle = np.random.default_rng(seed).permutation(len(described))
    for receiver, giver in zip(cycle, np.roll(cycle, 1), strict=True):
        place = described[receiver]
        shuffled[place] = replace(shuffled[place], text=rows[described[giver]].text)
    return shuffled


def _with_references(rows: Sequence[_Row], references: References) -> list[_Row]:
    known = dict(enumerate(references.texts))
    return [replace(row, references=known.get(row.unit, ())) for row in rows]


def _scores(rows: Sequence[_Row], metrics: Sequence[Metric]) -> dict[str, list[float]]:
    """Returns for every metric the score of every row, NaN where there is a reason."""
    if len({metric.name for metric in metrics}) != len(metrics):
        raise ValueError(f"metrics need different names: {[metric.name for metric in metrics]}")
    scorable = [place for place, row in enumerate(rows) if row.reason is None]
    texts = [rows[place].text or "" for place in scorable]
    references = [rows[place].references for place in scorable]
    found: dict[str, list[float]] = {}
    for metric in metrics:
        column = np.full(len(rows), np.nan)
        column[scorable] = metric.score(texts, references)
        wrong = [place for place in scorable if not np.isfinite(column[place])]
        if wrong:
            raise ValueError(f"{metric.name} gave no finite score for {rows[wrong[0]]}")
        found[metric.name] = column.tolist()
    return found


def _table(
    place: tuple[str, str], rows: Sequence[_Row], scores: Mapping[str, Sequence[float]]
) -> pd.DataFrame:
    import pandas as pd

    records = [
        (*place, row.unit, row.method, metric, column[number], row.reason, row.status, row.text, joined)
        for number, row in enumerate(rows)
        for joined in [BETWEEN_REFERENCES.join(row.references) or None]
        for metric, column in scores.items()
    ]
    # Columns of objects: an absent reason or text is None, whatever the version of pandas.
    table = pd.DataFrame(records, columns=list(COLUMNS), dtype=object)
    return table.astype({"unit": np.int64, "score": np.float64})
