"""Gathers what the report shows of each unit: every method's description with its scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...harness.finished_run import FinishedRun
from ...harness.records import Description
from ...harness.scores import ScoreRow, references_by_unit, score_rows, shuffled_control
from .evidence import Block, evidence_blocks
from .illustrations import ShownIllustration
from .images import UnitImages
from .neighbours import Neighbour, nearest_descriptions
from .sentences import Sentences

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class MetricScore:
    """The score of one description by one metric.

    Attributes:
        metric: name of the metric.
        score: None if there is none.
        rank: 1 for the best of the layer's units by this method; equal scores share the best rank.
        units: number of units that have a score.
        control: score of another unit's description on this unit.
    """

    metric: str
    score: float | None
    rank: int | None
    units: int
    control: float | None


@dataclass(frozen=True)
class MethodDescription:
    """What one method found for a unit.

    Attributes:
        method: name of the method.
        text: its description; None unless `status` is "ok".
        status: the status of the record; "missing" if there is none.
        score: the method's own score.
        reason: why there is no description.
        metrics: the scores by each metric.
        evidence: what the record holds besides.
        category: Network Dissection's category of the label.
        nearest: the units with the most similar descriptions by this method.
    """

    method: str
    text: str | None
    status: str
    score: float | None = None
    reason: str = ""
    metrics: tuple[MetricScore, ...] = ()
    evidence: tuple[Block, ...] = ()
    category: str = ""
    nearest: tuple[Neighbour, ...] = ()
    illustrations: tuple[ShownIllustration, ...] = ()

    def metric(self, name: str) -> MetricScore | None:
        """Returns the score by one metric, None if the metric was not computed."""
        return next((score for score in self.metrics if score.metric == name), None)


@dataclass(frozen=True)
class UnitReport:
    """One unit of the report.

    Attributes:
        layer: name of the layer.
        index: index of the unit.
        descriptions: what each method found; for several runs, "run: method" is the name.
        references: the true texts of the unit.
        fingerprint: hash of everything that the layer's activations depend on, of each run.
        images: its images, by the name of the run; "" for a single run.
        dead: whether its value is the same for every image, in any run.
        changes: number of methods whose descriptions differ between the runs.
        agreement: mean cosine of the methods' descriptions; None without embeddings or without a pair.
    """

    layer: str
    index: int
    descriptions: tuple[MethodDescription, ...]
    references: tuple[str, ...] = ()
    fingerprint: str = ""
    images: tuple[tuple[str, UnitImages], ...] = ()
    dead: bool = False
    changes: int = 0
    agreement: float | None = None

    @property
    def key(self) -> str:
        """Address of the unit in the page."""
        return f"{self.layer}/{self.index}"

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics of any description."""
        return list(dict.fromkeys(score.metric for d in self.descriptions for score in d.metrics))

    @property
    def texts(self) -> list[str]:
        """The descriptions, one for each method that has one."""
        return [d.text for d in self.descriptions if d.text is not None]

    @property
    def distinct(self) -> int:
        """Number of different descriptions, regardless of case."""
        return len({text.lower() for text in self.texts})

    def as_json(self) -> dict[str, Any]:
        """Returns the unit without its evidence and images, for a reader who copies it."""
        return {
            "layer": self.layer,
            "unit": self.index,
            "layer_fingerprint": self.fingerprint,
            "references": list(self.references),
            "descriptions": [
                {
                    "method": d.method,
                    "text": d.text,
                    "status": d.status,
                    "score": d.score,
                    "metrics": {m.metric: m.score for m in d.metrics},
                    "nearest": {near.key: near.likeness for near in d.nearest},
                }
                for d in self.descriptions
            ],
            "correlated": {
                near.key: near.likeness for near in (self.images[0][1].correlated if self.images else ())
            },
            "exemplars": [
                {"image": image.name, "value": round(image.value, 6)}
                for image in (self.images[0][1].top if self.images else ())
            ],
        }


def unit_reports(
    run: FinishedRun,
    images: Mapping[tuple[str, int], UnitImages],
    only: Mapping[str, Sequence[int]] | None = None,
) -> list[UnitReport]:
    """Returns the selected units of a run, or some of them by layer, in the order of layers and units."""
    selection = run.selection
    if selection is None:
        return []
    records = {(d.unit.layer, d.unit.index, d.method): d for d in run.records}
    scores = _Scores(run)
    return [
        UnitReport(
            layer,
            unit,
            tuple(
                replace(
                    _description(records.get((layer, unit, method)), method, scores, layer, unit),
                    illustrations=_illustrations(images.get((layer, unit)), method),
                )
                for method in selection.methods
            ),
            scores.references(layer, unit),
            str(run.identity.get(f"layer/{layer}", "")),
            (("", images[layer, unit]),) if (layer, unit) in images else (),
            any(
                (record := records.get((layer, unit, method))) is not None and record.status == "dead"
                for method in selection.methods
            ),
        )
        for layer, chosen in (only or selection.units).items()
        for unit in chosen
    ]


def side_by_side(runs: Mapping[str, Sequence[UnitReport]]) -> list[UnitReport]:
    """Returns the units of several runs, by their names, each with the descriptions of all runs."""
    by_key: dict[str, dict[str, UnitReport]] = {}
    for name, units in runs.items():
        for unit in units:
            by_key.setdefault(unit.key, {})[name] = unit
    # Layers in the order of the runs, and units of one layer next to each other.
    layers = list(dict.fromkeys(unit.layer for units in runs.values() for unit in units))
    joined = [_joined(of_unit) for of_unit in by_key.values()]
    return sorted(joined, key=lambda unit: (layers.index(unit.layer), unit.index))


def compared(units: Sequence[UnitReport], sentences: Sentences) -> list[UnitReport]:
    """Returns the units with the agreement of their descriptions, and their nearest units."""
    nearest = nearest_descriptions(units, sentences)
    return [
        replace(
            unit,
            agreement=sentences.agreement(unit.texts),
            descriptions=tuple(
                replace(found, nearest=nearest.get((unit.key, found.method), ()))
                for found in unit.descriptions
            ),
        )
        for unit in units
    ]


def _joined(runs: Mapping[str, UnitReport]) -> UnitReport:
    first = next(iter(runs.values()))
    texts: dict[str, set[str | None]] = {}
    for unit in runs.values():
        for found in unit.descriptions:
            texts.setdefault(found.method, set()).add(found.text)
    # Equal fingerprints mean equal activations, so the same images.
    images: dict[str, tuple[str, UnitImages]] = {}
    for name, unit in runs.items():
        for _, of_unit in unit.images:
            images.setdefault(unit.fingerprint, (name, of_unit))
    return replace(
        first,
        descriptions=tuple(
            replace(found, method=f"{name}: {found.method}")
            for name, unit in runs.items()
            for found in unit.descriptions
        ),
        references=next((unit.references for unit in runs.values() if unit.references), ()),
        fingerprint=", ".join(dict.fromkeys(unit.fingerprint for unit in runs.values())),
        images=tuple(images.values()),
        dead=any(unit.dead for unit in runs.values()),
        changes=sum(len(found) > 1 for found in texts.values()),
    )


def _description(
    record: Description | None, method: str, scores: _Scores, layer: str, unit: int
) -> MethodDescription:
    metrics = scores.of(layer, method, unit)
    if record is None:
        return MethodDescription(method, None, "missing", metrics=metrics)
    reason = str(record.evidence.get("reason", ""))
    blocks = tuple(evidence_blocks(record))
    described = record.status == "ok" and record.candidates
    category = str(record.candidates[0].details.get("category", "")) if described else ""
    return MethodDescription(
        method, record.text, record.status, record.score, reason, metrics, blocks, category
    )


def _illustrations(images: UnitImages | None, method: str) -> tuple[ShownIllustration, ...]:
    return () if images is None else images.evidence.get(method, ())


@dataclass
class _Scores:
    """The score table, by layer, method and metric."""

    run: FinishedRun
    _rows: dict[tuple[str, str, str], dict[int, ScoreRow]] = field(default_factory=dict)
    _ranks: dict[tuple[str, str, str], dict[int, int]] = field(default_factory=dict)
    _references: dict[str, Sequence[tuple[str, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frame: pd.DataFrame | None = self.run.scores
        if frame is None:
            return
        for row in score_rows(frame):
            self._rows.setdefault((row.layer, row.method, row.metric), {})[row.unit] = row
        for key, rows in self._rows.items():
            self._ranks[key] = self._ranked(key[2], rows)
        for layer, part in frame.groupby("layer"):
            self._references[str(layer)] = references_by_unit(part)

    def _ranked(self, metric: str, rows: Mapping[int, ScoreRow]) -> dict[int, int]:
        info = self.run.metrics.get(metric)
        sign = -1 if info is None or info.higher_is_better else 1
        values = {unit: sign * row.score for unit, row in rows.items() if not math.isnan(row.score)}
        first: dict[float, int] = {}
        for rank, value in enumerate(sorted(values.values()), 1):
            first.setdefault(value, rank)
        return {unit: first[value] for unit, value in values.items()}

    def of(self, layer: str, method: str, unit: int) -> tuple[MetricScore, ...]:
        """Returns the scores of a method's description of a unit, by metric."""
        found = []
        for row_layer, row_method, metric in self._rows:
            if (row_layer, row_method) == (layer, method):
                key = (layer, method, metric)
                control = self._rows.get((layer, shuffled_control(method), metric), {})
                found.append(
                    MetricScore(
                        metric,
                        _score(self._rows[key].get(unit)),
                        self._ranks[key].get(unit),
                        len(self._ranks[key]),
                        _score(control.get(unit)),
                    )
                )
        return tuple(found)

    def references(self, layer: str, unit: int) -> tuple[str, ...]:
        """Returns the references of a unit; empty if there are none."""
        of_layer = self._references.get(layer, ())
        return of_layer[unit] if unit < len(of_layer) else ()


def _score(row: ScoreRow | None) -> float | None:
    return None if row is None or math.isnan(row.score) else row.score
