"""Ratings of a study as arrays: one row per judgement, one column per method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ....harness.errors import InputError
from ....harness.records import UnitId
from ..answers import Answer, is_simulated
from ..judgements import Judgement, Judgements, Rules, judge
from ..study import Study


@dataclass(frozen=True)
class Ratings:
    """Judgements of units by raters; a judgement is what one rater answered about one unit.

    Attributes:
        methods: names of the methods, in the order of tables.
        layers: names of the layers, in the order of tables; with the target if there are several targets.
        units: the units that were judged, sorted.
        raters: the raters, sorted.
        unit: int64 [judgements], index into `units`.
        rater: int64 [judgements], index into `raters`.
        values: float64 [judgements, methods], the rating; NaN without one.
        best: float64 [judgements, methods], 1 if the method's description was chosen as the best, else 0;
            a row of zeros for "none of them"; NaN in the whole row without an answer.
        slots: int64 [judgements, methods], number of the text that the rater saw; methods with equal
            numbers share one text; -1 if the method had none.
        simulated: whether a program gave the answers.
        flags: by name, bool [judgements], marks that raters gave the whole unit.
    """

    methods: tuple[str, ...]
    layers: tuple[str, ...]
    units: tuple[UnitId, ...]
    raters: tuple[str, ...]
    unit: NDArray[np.int64]
    rater: NDArray[np.int64]
    values: NDArray[np.float64]
    best: NDArray[np.float64]
    slots: NDArray[np.int64]
    simulated: bool = False
    flags: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.unit)

    @cached_property
    def layer_of_unit(self) -> NDArray[np.int64]:
        """int64 [units], index into `layers`."""
        several = len({unit.target for unit in self.units}) > 1
        place = {layer: number for number, layer in enumerate(self.layers)}
        return np.array([place[layer_name(unit, several)] for unit in self.units], np.int64)

    @cached_property
    def layer(self) -> NDArray[np.int64]:
        """int64 [judgements], index into `layers`."""
        return self.layer_of_unit[self.unit]

    def only(self, kept: NDArray[np.bool_]) -> Ratings:
        """Returns the judgements for which `kept` is true; units and raters keep their indices."""
        return replace(
            self,
            unit=self.unit[kept],
            rater=self.rater[kept],
            values=self.values[kept],
            best=self.best[kept],
            slots=self.slots[kept],
            flags={name: flag[kept] for name, flag in self.flags.items()},
        )

    def unit_means(self) -> NDArray[np.float64]:
        """Returns float64 [units, methods], the mean rating of each unit; NaN without a rating."""
        sums, counts = self._unit_sums()
        with np.errstate(invalid="ignore"):
            return sums / np.where(counts > 0, counts, np.nan)

    def unit_counts(self) -> NDArray[np.int64]:
        """Returns int64 [units, methods], the number of ratings of each unit."""
        return self._unit_sums()[1].astype(np.int64)

    def _unit_sums(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sums = np.zeros((len(self.units), len(self.methods)))
        counts = np.zeros_like(sums)
        np.add.at(sums, self.unit, np.nan_to_num(self.values))
        np.add.at(counts, self.unit, ~np.isnan(self.values))
        return sums, counts


def layer_name(unit: UnitId, several_targets: bool) -> str:
    """Returns the name of a unit's layer in tables."""
    return f"{unit.target}: {unit.layer}" if several_targets else unit.layer


def study_ratings(
    study: Study, answers: Sequence[Answer], rules: Rules | None = None
) -> tuple[Ratings, Judgements]:
    """Returns the ratings that the rules leave of the answers to a study, and all judgements.

    Raises:
        InputError: if the study is not one of ratings, or has no accepted answer.
    """
    if study.settings.kind != "rating":
        raise InputError(f"{study.path} is a study of the kind {study.settings.kind}, not of ratings")
    judgements = judge(study, answers, rules)
    if not judgements.accepted:
        counts = ", ".join(f"{rule} {n}" for rule, n in judgements.dropped.items() if n)
        hint = f"all are dropped: {counts}" if answers else "`dissectbench study import` reads answers"
        raise InputError(f"{study.path} has no accepted answer", hint)
    return ratings_of(study, judgements.accepted, simulated=any(map(is_simulated, answers))), judgements


def ratings_of(study: Study, judgements: Iterable[Judgement], *, simulated: bool = False) -> Ratings:
    """Returns judgements of a study as arrays."""
    judgements = list(judgements)
    methods = study.settings.methods
    units = sorted({_unit(judgement) for judgement in judgements})
    raters = sorted({judgement.rater for judgement in judgements})
    place_of_unit = {unit: number for number, unit in enumerate(units)}
    place_of_rater = {rater: number for number, rater in enumerate(raters)}
    values = np.full((len(judgements), len(methods)), np.nan)
    best = np.full_like(values, np.nan)
    slots = np.full(values.shape, -1, np.int64)
    for row, judgement in enumerate(judgements):
        of_method = {key.method: key.slot for key in study.key[judgement.task_id]}
        for column, method in enumerate(methods):
            values[row, column] = judgement.ratings.get(method, np.nan)
            slots[row, column] = of_method.get(method, -1)
            if judgement.best is not None:
                best[row, column] = method in judgement.best
    several = len({unit.target for unit in units}) > 1
    names = list(dict.fromkeys(layer_name(unit, several) for unit in units))
    # The order of the design, within each target.
    names.sort(key=lambda name: _layer_order(name, study.settings.layers, several))
    return Ratings(
        *(methods, tuple(names), tuple(units), tuple(raters)),
        unit=np.array([place_of_unit[_unit(judgement)] for judgement in judgements], np.int64),
        rater=np.array([place_of_rater[judgement.rater] for judgement in judgements], np.int64),
        values=values,
        best=best,
        slots=slots,
        simulated=simulated,
    )


def _unit(judgement: Judgement) -> UnitId:
    return UnitId(judgement.target, judgement.layer, judgement.unit)


def _layer_order(name: str, layers: Sequence[str], several: bool) -> tuple[str, int]:
    target, _, layer = name.rpartition(": ") if several else ("", "", name)
    return target, layers.index(layer) if layer in layers else len(layers)
