"""Checks the content of a bundle: computes again what follows from its descriptions and references."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ...harness.errors import InputError
from ...harness.records import Status
from ...harness.scores import NO_REFERENCE, ScoreRow, check_scores, reserved_prefix, score_frame
from .bundle import Bundle, DescribedUnit
from .privacy import cleaned
from .reading import printable
from .summary import summarise

# Accuracies are 0 or 1. The tolerance is for means over references, summed in another order.
_TOLERANCE = 1e-9


class Recomputable(Protocol):
    """A metric that needs no model, such as `dissectbench.metrics.ExactAccuracy`."""

    @property
    def name(self) -> str:
        """Name of the metric."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """What the scores depend on; another identity is another definition of the metric."""
        ...

    def score(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]]
    ) -> NDArray[np.float64]:
        """Returns float64 [n]: the score of each prediction against its own references."""
        ...


@dataclass(frozen=True)
class Recomputed:
    """What `validate` checked.

    Attributes:
        descriptions: number of descriptions.
        scores: number of scores.
        metrics: the metrics whose scores were computed again.
        not_recomputed: the metrics that need a model, or that are defined in another way here.
    """

    descriptions: int
    scores: int
    metrics: list[str] = field(default_factory=list)
    not_recomputed: list[str] = field(default_factory=list)


def validate(bundle: Bundle, metrics: Sequence[Recomputable] = ()) -> Recomputed:
    """Checks that counts, coverage, means and scores follow from descriptions and references.

    Args:
        bundle: a bundle that was read.
        metrics: the metrics to compute again where the bundle has scores by them.

    Raises:
        InputError: if something does not; names the file, the method and the unit.
    """
    try:
        _check_names(bundle)
        _check_descriptions(bundle)
        rows = list(bundle.score_table())
        _check_score_rows(bundle, rows)
        recomputed = [metric.name for metric in metrics if _recompute(bundle, rows, metric)]
        _check_summary(bundle)
    except InputError as error:
        raise InputError(
            printable(f"{bundle.source}: {error.message}"), error.hint and printable(error.hint)
        ) from error
    return Recomputed(
        len(bundle.descriptions),
        len(rows),
        recomputed,
        [name for name in bundle.info.metrics if name not in recomputed],
    )


def _check_names(bundle: Bundle) -> None:
    """Checks what is printed: names of one line, without control characters."""
    info = bundle.info
    references = [info.references.name] if info.references else []
    names = [
        info.target.name,
        info.probing_set.name,
        *references,
        *info.methods,
        *info.metrics,
        *info.layers,
    ]
    for name in names:
        if not name.strip() or not name.isprintable():
            raise InputError(f"{name!r} is no name: it is empty or has control characters")
    for layer, units in info.units.items():
        if len(set(units)) != len(units) or min(units, default=0) < 0:
            raise InputError(f"{layer}: a unit is listed twice, or is negative")


def _check_descriptions(bundle: Bundle) -> None:
    info = bundle.info
    if set(info.layers) != set(info.units):
        raise InputError("layers and units name different layers")
    for method in info.methods:
        if reserved_prefix(method):
            raise InputError(f"the method {method!r} is named like a control")
    units = {layer: frozenset(indices) for layer, indices in info.units.items()}
    for row in bundle.descriptions:
        where = f"{row.layer}, unit {row.unit}, {row.method}"
        if row.method not in info.methods or row.unit not in units.get(row.layer, ()) or row.unit < 0:
            raise InputError(f"{where}: is not one of the units, layers and methods of the run")
        if row.status not in get_args(Status):
            raise InputError(f"{where}: unknown status {row.status!r}")
        if (row.status == "ok") != (row.text is not None):
            raise InputError(f"{where}: a description has a text exactly if its status is ok")
        for value in (row.score, row.seconds, row.cost_usd):
            if value is not None and not math.isfinite(value):
                raise InputError(f"{where}: score, seconds and cost must be finite")
        if min(row.seconds or 0.0, row.cost_usd or 0.0) < 0:
            raise InputError(f"{where}: negative time or cost")
    [(key, count)] = Counter(map(_key, bundle.descriptions)).most_common(1) or [(None, 0)]
    if count > 1:
        raise InputError(f"{key}: is described {count} times")


def _key(row: DescribedUnit) -> tuple[str, str, int]:
    return row.layer, row.method, row.unit


def _check_score_rows(bundle: Bundle, rows: Sequence[ScoreRow]) -> None:
    references = bundle.info.references
    if references is None:
        return
    if references.layer not in bundle.info.units:
        raise InputError(f"the scored layer {references.layer} is not one of the layers")
    for unit, references_of_unit in references.texts.items():
        if not references_of_unit or not all(text.strip() for text in references_of_unit):
            raise InputError(f"unit {unit} has an empty reference")
    check_scores(score_frame(rows), "scores")
    texts = {_key(row): row for row in bundle.descriptions}
    for row in rows:
        where = f"{row.method}, {row.metric}, unit {row.unit}"
        if row.metric not in bundle.info.metrics:
            raise InputError(f"{where}: the metric is not described")
        if (row.status == "ok") and not _has_words(row.prediction):
            raise InputError(f"{where}: a text without a letter or digit is scored")
        if row.control != bool(reserved_prefix(row.method)):
            raise InputError(f"{where}: a control is named 'constant: ...' or 'shuffled: ...'")
        expected = row.status if row.status != "ok" else None if row.references else NO_REFERENCE
        if row.reason != expected:
            raise InputError(f"{where}: the reason is {row.reason!r} instead of {expected!r}")
        if not row.control:
            _check_scored_text(row, texts.get((row.layer, row.method, row.unit)), where)
    _check_complete(bundle, rows)


def _check_scored_text(row: ScoreRow, description: DescribedUnit | None, where: str) -> None:
    text = description.text if description else None
    status = description.status if description else "missing"
    # A text without a letter or digit counts as a missing description; see `score_descriptions`.
    if status == "ok" and not _has_words(text):
        status = "missing"
    if (row.status, row.prediction) != (status, text):
        raise InputError(
            f"{where}: scored was {row.prediction!r} ({row.status}), described is {text!r} ({status})"
        )


def _has_words(text: str | None) -> bool:
    return any(character.isalnum() for character in text or "")


def _check_complete(bundle: Bundle, rows: Sequence[ScoreRow]) -> None:
    """Checks that every method and control has a row of every metric and unit."""
    references = bundle.info.references
    assert references is not None
    present = {(row.method, row.metric, row.unit) for row in rows}
    for method in dict.fromkeys([*bundle.info.methods, *(row.method for row in rows)]):
        for metric in bundle.info.metrics:
            for unit in bundle.info.units[references.layer]:
                if (method, metric, unit) not in present:
                    raise InputError(f"{method}, {metric}: unit {unit} is missing from the scores")
    expected = len(bundle.info.units[references.layer]) * len(bundle.info.metrics)
    if len(rows) != expected * len({row.method for row in rows}):
        raise InputError("the scores have units that are not of the run")


def _recompute(bundle: Bundle, rows: Sequence[ScoreRow], metric: Recomputable) -> bool:
    """Computes the scores of a metric again; False if the bundle has none, or by another definition."""
    info = bundle.info.metrics.get(metric.name)
    if info is None or dict(info.identity) != cleaned(metric.identity()):
        return False
    scored = [row for row in rows if row.metric == metric.name and not math.isnan(row.score)]
    expected = metric.score([row.prediction or "" for row in scored], [row.references for row in scored])
    for row, score in zip(scored, expected, strict=True):
        if abs(row.score - score) > _TOLERANCE:
            raise InputError(
                f"{row.method}, {row.metric}, unit {row.unit}: the score is {row.score}, but "
                f"{row.prediction!r} against {', '.join(row.references)!r} gives {score}",
                "the bundle was changed after the run, or another version computed the scores",
            )
    return True


def _check_summary(bundle: Bundle) -> None:
    expected = summarise(bundle.info, bundle.descriptions, bundle.scores)
    difference = _first_difference(expected, bundle.summary, "summary")
    if difference is not None:
        raise InputError(difference, "the bundle was changed after the run: submit it again")


def _first_difference(expected: Any, value: Any, where: str) -> str | None:
    if isinstance(expected, Mapping) and isinstance(value, Mapping):
        if set(expected) != set(value):
            return (
                f"{where}: has {', '.join(map(str, value))}; recomputed: {', '.join(map(str, expected))}"
            )
        differences = (
            _first_difference(expected[key], value[key], f"{where}, {key}") for key in expected
        )
        return next((difference for difference in differences if difference), None)
    # Sums are exact, so equal rows give equal numbers.
    return None if expected == value else f"{where}: is {value}, recomputed: {expected}"
