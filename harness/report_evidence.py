"""Collects the illustrations of the methods of a run for its report."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .errors import InputError
from .finished_run import FinishedRun

if TYPE_CHECKING:
    from ..methods.method import Method
    from ..results.report.illustrations import ShownIllustration
    from .activations.map_pass import MapConsumer
    from .illustrations import Illustration
    from .probe import ProbedLayer
    from .report_thumbnails import Thumbnails

_BLOCK = 64  # units whose masks are in memory at once

log = logging.getLogger(__name__)

OfUnits = dict[int, dict[str, tuple["ShownIllustration", ...]]]
"""Illustrations by unit and method."""


def open_methods(run: FinishedRun) -> list[Method]:
    """Builds the methods of a run again from its settings. No weights are loaded.

    Methods that cannot be built, or were given in memory, are left out: their evidence has no images.
    """
    from .config import build

    methods = []
    for key, node in (run.settings.get("method") or {}).items():
        try:
            methods.append(build(node, f"method.{key}"))
        except InputError as error:
            log.debug("method %s has no evidence images: %s", key, error)
    return methods


def illustration_consumers(
    methods: Iterable[Method], layer: ProbedLayer, units: Sequence[int]
) -> list[MapConsumer]:
    """Returns what gathers the maps that methods need for their illustrations of units."""
    consumers: list[MapConsumer] = []
    for method in methods:
        try:
            consumers += method.illustration_consumers(layer, units)
        # The page is made without these images, and `illustrate` notes the reason.
        except Exception:
            log.debug("illustration maps of %s", method.name, exc_info=True)
    return consumers


def illustrate(
    run: FinishedRun,
    methods: Iterable[Method],
    layer: ProbedLayer,
    ranges: Mapping[int, tuple[float, float]],
    thumbnails: Thumbnails,
) -> tuple[OfUnits, list[str]]:
    """Returns the illustrations of units of a layer, and notes about methods that have none.

    Args:
        run: provides the records.
        methods: methods of the run.
        layer: the layer.
        ranges: the units, with the lowest and the highest value of each.
        thumbnails: gets the images.
    """
    shown: OfUnits = {}
    notes: list[str] = []
    for method in methods:
        records = [
            record
            for record in run.records
            if record.method == method.name
            and record.unit.layer == layer.name
            and record.unit.index in ranges
        ]
        by_unit: dict[int, list[ShownIllustration]] = {}
        try:
            for start in range(0, len(records), _BLOCK):
                for unit, illustration in method.illustrations(layer, records[start : start + _BLOCK]):
                    shown_one = _shown(illustration, layer, ranges[unit], thumbnails)
                    by_unit.setdefault(unit, []).append(shown_one)
        # A method may be a user's: an error in it costs its images, not the report.
        except Exception as error:
            log.debug("illustrations of %s", method.name, exc_info=True)
            notes.append(
                f"The evidence of {method.name} for layer {layer.name} has no more images: "
                f"{error or type(error).__name__}"
            )
        for unit, illustrations in by_unit.items():
            shown.setdefault(unit, {})[method.name] = tuple(illustrations)
    return shown, notes


def _shown(
    illustration: Illustration,
    layer: ProbedLayer,
    values: tuple[float, float],
    thumbnails: Thumbnails,
) -> ShownIllustration:
    from ..results.report.illustrations import ShownEvidence, ShownIllustration, shown_mask

    images, unreadable = [], 0
    for image in illustration.images:
        number = (
            thumbnails.of_image(layer, image.source, image.box)
            if isinstance(image.source, int)
            else thumbnails.of_file(image.source)
        )
        if number is None:
            unreadable += 1
            continue
        masks = tuple(mask for mask in map(shown_mask, image.masks) if mask is not None)
        share = _share(image.value, values)
        images.append(ShownEvidence(number, image.caption, image.value, share, masks))
    notes = [illustration.note, f"{unreadable} images cannot be read." if unreadable else ""]
    return ShownIllustration(illustration.title, tuple(images), " ".join(filter(None, notes)))


def _share(value: float | None, values: tuple[float, float]) -> float | None:
    """Returns where a value is between the lowest and the highest one; responses may be beyond."""
    low, high = values
    if value is None or not high > low:
        return None
    return min(max((value - low) / (high - low), 0.0), 1.0)
