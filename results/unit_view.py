"""Collects what a finished run knows about one unit: descriptions, scores, exemplars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..harness.activations.stored_values import stored_images, stored_values
from ..harness.errors import InputError, nearest
from ..harness.finished_run import FinishedRun
from ..harness.probe import ProbedLayer
from ..harness.records import Description, UnitId
from ..harness.scores import ScoreRow, score_rows


@dataclass(frozen=True)
class Exemplar:
    """One of the images with the highest values of a unit.

    Attributes:
        image: index of the image, as in the evidence of records.
        value: the unit's value.
        path: path or another permanent name of the image; None if the images are not available.
    """

    image: int
    value: float
    path: str | None


@dataclass(frozen=True)
class UnitView:
    """One unit of a run.

    Attributes:
        unit: the unit.
        descriptions: the record of each method, in the order of the methods.
        references: the true texts of the unit; empty if they are not known.
        scores: the rows of the score table about the unit, without controls.
        exemplars: the images with the highest values, in descending order.
        notes: what is missing, and why.
    """

    unit: UnitId
    descriptions: tuple[Description, ...]
    references: tuple[str, ...]
    scores: tuple[ScoreRow, ...]
    exemplars: tuple[Exemplar, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the unit as JSON-able values."""
        return {
            **asdict(self.unit),
            "references": list(self.references),
            "descriptions": [_description_json(description) for description in self.descriptions],
            "scores": [_score_json(row) for row in self.scores],
            "exemplars": [asdict(exemplar) for exemplar in self.exemplars],
            "notes": list(self.notes),
        }


def find_units(run: FinishedRun, texts: Sequence[str]) -> list[UnitId]:
    """Returns the units that texts such as "layer4:17" name, without repetitions, in the given order.

    Raises:
        InputError: if a text is not of this form, or the run has no record of the unit; the hint has the
            nearest names.
    """
    units = list(dict.fromkeys(unit for unit, _ in run.all_records))
    if not units:
        raise InputError(f"{run.path} has no descriptions of units", "give the folder of a run")
    return list(dict.fromkeys(find_unit(units, text, str(run.path)) for text in texts))


def find_unit(units: Sequence[UnitId], text: str, source: str) -> UnitId:
    """Returns the unit that a text such as "layer4:17" names.

    Args:
        units: the units with a description.
        text: the name.
        source: where the units are from, for messages.

    Raises:
        InputError: see `find_units`.
    """
    # From the right: the name of a layer may contain a colon.
    layer, colon, index = text.rpartition(":")
    if not colon or not index.isdecimal():
        raise InputError(f"{text!r} is not a unit", "write LAYER:UNIT, such as layer4:17")
    layers = list(dict.fromkeys(unit.layer for unit in units))
    if layer not in layers:
        hint = f"{nearest(layer, layers)} its layers are {', '.join(layers)}".strip()
        raise InputError(f"{source} has no layer {layer!r}", hint)
    indices = {unit.index: unit for unit in units if unit.layer == layer}
    if int(index) not in indices:
        close = sorted(sorted(indices, key=lambda known: abs(known - int(index)))[:5])
        raise InputError(
            f"{source} has no description of unit {index} of layer {layer}",
            f"it describes {len(indices)} units of this layer; the nearest are "
            f"{', '.join(map(str, close))}",
        )
    return indices[int(index)]


def unit_view(
    run: FinishedRun, unit: UnitId, *, exemplars: int = 10, layer: ProbedLayer | None = None
) -> UnitView:
    """Collects what a run knows about a unit. What is not available is a note, not an error.

    Args:
        run: the run, in any state.
        unit: a unit with a record, see `find_units`.
        exemplars: number of exemplars.
        layer: the layer of the unit; None: its values and images are opened through the run.
    """
    descriptions = [record for (of, _), record in run.all_records.items() if of == unit]
    if run.selection is not None:
        order = list(run.selection.methods)
        # Methods of earlier commands come last.
        descriptions.sort(
            key=lambda d: (order.index(d.method) if d.method in order else len(order), d.method)
        )
    rows = [] if run.scores is None else list(score_rows(run.scores))
    rows = [
        row for row in rows if (row.target, row.layer, row.unit) == (unit.target, unit.layer, unit.index)
    ]
    references = next((row.references for row in rows if row.references), ())
    images, notes = _exemplars(run, unit, exemplars, layer)
    return UnitView(
        unit,
        tuple(descriptions),
        references,
        tuple(row for row in rows if not row.control),
        tuple(images),
        tuple(notes),
    )


def _exemplars(
    run: FinishedRun, unit: UnitId, k: int, layer: ProbedLayer | None
) -> tuple[list[Exemplar], list[str]]:
    notes = []
    try:
        values = stored_values(run, unit.layer) if layer is None else layer
    except InputError as error:
        return [], [f"no exemplars: {error.message}; {error.hint}"]
    strongest = values.exemplars(unit.index, k)
    paths: list[str | None] = [None] * len(strongest.indices)
    try:
        images = values.probe if isinstance(values, ProbedLayer) else stored_images(run, values)
        paths = [images.locate(index) for index in strongest.indices.tolist()]
    except InputError as error:
        notes.append(f"no paths of images: {error.message}; {error.hint}")
    return [
        Exemplar(image, value, path)
        for image, value, path in zip(
            strongest.indices.tolist(), strongest.values.tolist(), paths, strict=True
        )
    ], notes


def _description_json(description: Description) -> dict[str, Any]:
    content = asdict(description)
    # The unit is the same for all; time and cost are not part of a record, see `Description`.
    for key in ("unit", "seconds", "cost_usd"):
        del content[key]
    return content


def _score_json(row: ScoreRow) -> dict[str, Any]:
    return {
        "method": row.method,
        "metric": row.metric,
        "score": None if math.isnan(row.score) else row.score,
        "reason": row.reason,
    }
