"""Chooses the units of a study by a stated rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ....harness.errors import InputError, at_least, one_of
from ....harness.records import UnitId
from ...unit_view import find_unit
from .frame import Frame


@dataclass(frozen=True)
class UnitRule:
    """How the units of a study are chosen: one of the first three; by default 50 of each layer.

    Attributes:
        named: units such as "layer4:17".
        count: size of a random sample over all layers.
        per_layer: size of the random sample of each layer; a layer with fewer units is used completely.
        layers: the layers of a sample; empty for all.
        incomplete: also choose units that some method has no description of, if at least one has; the
            methods without one are not shown and get no rating. Otherwise a unit needs a description by
            every method, so that all methods are compared on the same units.
        seed: seed of the sample.
    """

    named: Sequence[str] = ()
    count: int | None = None
    per_layer: int | None = None
    layers: Sequence[str] = ()
    incomplete: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if sum((bool(self.named), self.count is not None, self.per_layer is not None)) > 1:
            raise InputError(
                "units are chosen by more than one rule",
                "give --units LIST, --units NUMBER or --per-layer NUMBER",
            )
        if self.named and self.layers:
            raise InputError("--layer restricts a sample", "leave it out with a list of units")
        for option, number in (("--units", self.count), ("--per-layer", self.per_layer)):
            if number is not None:
                at_least(option, number, 1)


@dataclass(frozen=True)
class StudyUnits:
    """The units of a study.

    Attributes:
        units: the units, in the order of layers and units.
        sentence: how they were chosen.
        notes: what is less than was asked for.
    """

    units: tuple[UnitId, ...]
    sentence: str
    notes: tuple[str, ...] = field(default=())


def choose_study_units(frame: Frame, rule: UnitRule) -> StudyUnits:
    """Chooses units that are not dead and have the descriptions that the rule asks for.

    A larger sample of the same seed contains every smaller one.

    Raises:
        InputError: for an unknown unit or layer, a unit that cannot be shown, or if no unit is left.
    """
    if rule.named:
        return _named(frame, rule)
    layers = [one_of("--layer", layer, frame.layers) for layer in rule.layers] or list(frame.layers)
    of_layers = [unit for unit in frame.texts if unit.layer in layers]
    eligible = [unit for unit in of_layers if rule.incomplete or not frame.missing(unit)]
    left_out = {
        "dead": sum(unit.layer in layers for unit in frame.dead),
        "without a description by every method": len(of_layers) - len(eligible),
    }
    if not eligible:
        raise InputError(
            f"no unit of {', '.join(layers)} has a description by every method",
            "--methods compares fewer methods, --incomplete shows units with fewer descriptions",
        )
    if rule.count is not None:
        units = _sample(eligible, rule.count, rule.seed, "")
        notes = [] if len(units) == rule.count else [f"only {len(units)} units can be shown"]
        size = f"{len(units)} units of {', '.join(layers)}"
    else:
        units, notes, size = _stratified(eligible, layers, rule)
    reasons = [f"{count} {reason}" for reason, count in left_out.items() if count]
    sentence = (
        f"{size}, drawn at random (seed {rule.seed}) among {len(eligible)} units that are not dead and "
        f"have a description by {'at least one' if rule.incomplete else 'every'} method"
        + (f"; left out: {', '.join(reasons)}." if reasons else ".")
    )
    chosen = set(units)
    return StudyUnits(tuple(unit for unit in eligible if unit in chosen), sentence, tuple(notes))


def _stratified(
    eligible: Sequence[UnitId], layers: Sequence[str], rule: UnitRule
) -> tuple[list[UnitId], list[str], str]:
    per_layer = 50 if rule.per_layer is None else rule.per_layer
    units: list[UnitId] = []
    notes = []
    for layer in layers:
        sample = _sample([unit for unit in eligible if unit.layer == layer], per_layer, rule.seed, layer)
        if len(sample) < per_layer:
            notes.append(f"layer {layer}: only {len(sample)} of {per_layer} units can be shown")
        units += sample
    plural = "s" if per_layer > 1 else ""
    return units, notes, f"{per_layer} unit{plural} of each of {', '.join(layers)}"


def _sample(units: Sequence[UnitId], count: int, seed: int, layer: str) -> list[UnitId]:
    # The name is part of the seed: layers of equal size would otherwise share their sample.
    order = np.random.default_rng([seed, *layer.encode()]).permutation(len(units)).tolist()
    return [units[position] for position in order[:count]]


def _named(frame: Frame, rule: UnitRule) -> StudyUnits:
    known = list(frame.texts) + list(frame.dead)
    units = list(dict.fromkeys(find_unit(known, name, "the run") for name in rule.named))
    for unit in units:
        name = f"{unit.layer}:{unit.index}"
        if unit in frame.dead:
            raise InputError(f"--units: {name} is dead: it has no exemplars to show", "leave it out")
        if not rule.incomplete and (missing := frame.missing(unit)):
            raise InputError(
                f"--units: {name} has no description by {', '.join(missing)}",
                "leave it out, compare fewer methods with --methods, or add --incomplete",
            )
    order = {unit: place for place, unit in enumerate(frame.texts)}
    return StudyUnits(tuple(sorted(units, key=order.__getitem__)), "The units were chosen by hand.")
