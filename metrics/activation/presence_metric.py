"""Metrics that compare a unit's values with the presence of its description in the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...harness.errors import InputError, one_of
from ...harness.probe import ProbedLayer
from .measures import MEASURES, THRESHOLDED, Compared
from .metric import ActivationMetric, PairScores, UnitText
from .presence import Presence, PresenceBlock

_CELLS = 1 << 22  # values compared at once: 32 MiB in float64


class PresenceMetric(ActivationMetric):
    """How well a unit's values and the presence of its description agree, over all images.

    Over the whole range of activations: a description of the strongest images alone, or of much more than
    the unit responds to, loses. Correlation and AUPRC pass the missing-labels and extra-labels tests of
    Neuron_Eval (Oikarinen et al., ICML 2025); recall, AUC and MAD do not.

    Args:
        presence: how much each image shows what a text says.
        measure: name of the measure, see `measures.MEASURES`.
        top: fraction of the images that counts as active, for measures of active images.
        name: column name; default: made of presence and measure, such as "simulation_auprc".

    Raises:
        InputError: for an unknown measure, or if `top` is not in (0, 1].
    """

    def __init__(
        self,
        presence: Presence,
        measure: str = "correlation",
        top: float = 0.005,
        name: str | None = None,
    ) -> None:
        if not 0 < top <= 1:
            raise InputError(f"metric.top={top} must be above 0 and at most 1")
        self.presence, self.top = presence, top
        self.measure = one_of("metric.measure", measure, MEASURES)
        if measure in THRESHOLDED and not presence.is_probability:
            raise InputError(
                f"metric.measure={measure} counts images with a presence of at least one half, but the "
                "presence is a cosine",
                "set presence.scale and presence.shift to make it a probability",
            )
        self.name = name or f"{presence.name}_{measure}"
        words = {"correlation": "Pearson's correlation", "auprc": "average precision"}
        of_measure = words.get(measure, measure.replace("_", " "))
        self.meaning = f"{of_measure} of the unit's values and the {presence.meaning}"

    def score(self, layer: ProbedLayer, pairs: Sequence[UnitText]) -> PairScores:
        """See `ActivationMetric.score`."""
        units = _finite_columns(layer, pairs)
        rows: dict[str, list[int]] = {}
        scores = np.full(len(pairs), np.nan)
        reasons: list[str | None] = [self.presence.missing()] * len(pairs)
        for row, (unit, text) in enumerate(pairs):
            # Some measures are finite for a constant unit, all of whose images are active.
            if np.ptp(units[unit]) == 0:
                reasons[row] = "unit constant on these images"
            else:
                rows.setdefault(text, []).append(row)
        for block in self.presence.blocks(layer.probe, list(rows), layer.cache):
            for row, score in self._block(block, rows, pairs, units):
                scores[row] = score
                reasons[row] = None if np.isfinite(score) else "no image shows the text, or every image"
        return PairScores(scores, reasons)

    def _block(
        self,
        block: PresenceBlock,
        rows: Mapping[str, Sequence[int]],
        pairs: Sequence[UnitText],
        units: Mapping[int, np.ndarray],
    ) -> list[tuple[int, float]]:
        """Returns the score of each row with one of the texts of a block."""
        places = [(row, number) for number, text in enumerate(block.texts) for row in rows[text]]
        size = max(1, _CELLS // block.values.shape[1])
        scores: list[tuple[int, float]] = []
        for start in range(0, len(places), size):
            part = places[start : start + size]
            compared = Compared(
                np.stack([units[pairs[row][0]] for row, _ in part]).astype(np.float64),
                block.values[[number for _, number in part]].astype(np.float64),
                self.top,
            )
            values = MEASURES[self.measure](compared)
            scores += [(row, float(value)) for (row, _), value in zip(part, values, strict=True)]
        return scores

    def models(self) -> Mapping[str, str]:
        """The models of the presence."""
        return self.presence.models()

    def identity(self) -> Mapping[str, Any]:
        """Presence, measure and active fraction."""
        return {**self.presence.identity(), "measure": self.measure, "top": self.top}


def _finite_columns(layer: ProbedLayer, pairs: Sequence[UnitText]) -> dict[int, np.ndarray]:
    """Returns the values of the units of some pairs, float32 [images] by unit.

    Raises:
        InputError: for a value that is not finite.
    """
    units = sorted({unit for unit, _ in pairs})
    # One strided read for all units: values are stored image by image.
    columns = np.ascontiguousarray(np.asarray(layer.values[:, units]).T)
    if not np.isfinite(columns).all():
        unit = units[int(np.argmin(np.isfinite(columns).all(axis=1)))]
        raise InputError(f"layer {layer.name}, unit {unit}: a value is not finite")
    return dict(zip(units, columns, strict=True))
