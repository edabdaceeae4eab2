"""Shows the exemplars of described units with their masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...harness.activations.exemplar_maps import read_exemplar_maps
from ...harness.illustrations import Box, EvidenceImage, Illustration, Mask
from ...harness.probe import ProbedLayer
from ...harness.records import Description
from .exemplars import masks
from .settings import ExemplarSettings

SHOWN = 10
"""Number of exemplars that are shown of a unit."""


def masked_exemplars(
    layer: ProbedLayer, records: Sequence[Description], settings: ExemplarSettings
) -> Iterator[tuple[int, Illustration]]:
    """Yields the strongest exemplars of each unit as the encoder weights them: outside is darkened.

    Maps are read from the layer's cache.
    """
    described = [record for record in records if "images" in record.evidence]
    if not described:
        return
    units = [record.unit.index for record in described]
    images = np.array([record.evidence["images"] for record in described], np.int64)
    thresholds = np.array([record.evidence["threshold"] for record in described])
    of_units: dict[tuple[int, int], EvidenceImage] = {}
    for index, positions, maps in read_exemplar_maps(layer, units, images):
        rows, ranks = np.divmod(positions, images.shape[1])
        box = _shown_part(layer, index, settings)
        strong = np.flatnonzero(ranks < SHOWN)
        visible = masks(maps[strong], thresholds[rows[strong]], settings)
        for row, rank, mask in zip(rows[strong].tolist(), ranks[strong].tolist(), visible, strict=True):
            value = float(layer.values[index, units[row]])
            # A mask that covers the whole image has nothing to show.
            shapes = () if mask.all() else (Mask(mask, "visible"),)
            of_units[row, rank] = EvidenceImage(index, "", value, box, shapes)
    total = images.shape[1]
    shown = min(SHOWN, total)
    which = f"The strongest {shown} of {total}" if shown < total else f"All {total}"
    note = f"{which}, by the largest value of their maps. Below each image: the value of the unit."
    for row, unit in enumerate(units):
        exemplars = tuple(of_units[row, rank] for rank in range(shown))
        yield unit, Illustration("Exemplars with their masks", exemplars, note)


def _shown_part(layer: ProbedLayer, index: int, settings: ExemplarSettings) -> Box | None:
    """Returns the part of an image that its exemplar shows; None: the part that the target saw."""
    if settings.variant == "paper":
        return None
    # The central square of 7/8 of the shorter side, see `exemplar_pixels`.
    width, height = layer.probe.image(index).size
    side = min(width, height) * 7 / 8
    x, y = side / width / 2, side / height / 2
    return 0.5 - x, 0.5 - y, 0.5 + x, 0.5 + y
