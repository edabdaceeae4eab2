"""Network Dissection: describes a unit by the label whose pixels its activation masks overlap best.

Bau et al., "Network Dissection: Quantifying Interpretability of Deep Visual Representations", CVPR 2017.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from ...harness.activations.exemplar_maps import exemplar_consumers
from ...harness.activations.map_pass import MapConsumer, run_map_pass
from ...harness.errors import InputError, one_of
from ...harness.illustrations import Illustration
from ...harness.probe import ProbedLayer
from ...harness.records import Candidate, Description
from ..method import Method
from ..upsample import Upsampling
from .detectors import BestLabels, DetectorCounts, best_labels, detectors
from .labelled_images import labels_of, words
from .overlaps import overlap_illustrations, overlap_images
from .tally import DENOMINATORS, Denominator, Pixels, Tally, category_of
from .tally_pass import TallyCounter, TallySettings
from .tally_store import TallyStore

Rule = Literal["linear", "kth", "lite"]
_FORMAT = 2  # of cached tallies


class NetworkDissection(Method):
    """Describes a unit by the label with the highest IoU between its activation masks and label pixels.

    The paper's definition: a unit's threshold T is exceeded by the fraction `quantile` of all positions
    of its feature maps over all images. Maps are up-sampled bilinearly to the label planes, and a pixel
    belongs to the mask if it is strictly above T. IoU(unit, label) sums intersections and unions over
    the images that contain any label of the label's primary category (equation 1). A unit of a
    fully-connected layer is a map of one cell that covers the whole image.

    `variant="official"` reproduces the numbers of the program NetDissect-Lite: it reads thresholds from
    1000 equally spaced quantiles, and its activation term counts an image only if the mask itself
    overlaps a label of the category. docs/methods/network_dissection.md lists the differences between
    the paper, the published programs and this class.

    A unit whose best IoU does not exceed `iou_threshold` has no text and the status "below_threshold";
    its best label is still in the candidates and in the evidence.

    Args:
        quantile: upper fraction of a unit's positions that exceeds its threshold.
        quantile_rule: how the threshold is computed from the M values. "linear": interpolated between
            order statistics; "kth": the (floor(quantile * M) + 1)-th largest value; "lite": as
            NetDissect-Lite computes it; None: "linear" or "lite", by `variant`.
        denominator: definition of the IoU, see `Tally.pixels`; None: "paper" or "lite", by `variant`.
        iou_threshold: a label describes a unit only if its IoU is above this.
        variant: "paper" or "official".
        upsampling: how maps are up-sampled to the label planes; None: half-pixel centres.
        keep_candidates: number of labels kept as candidates.
        workers: threads; None: one per core, at most 8. Results do not depend on it.

    Raises:
        InputError: if a setting is out of range.
    """

    name = "network_dissection"

    def __init__(
        self,
        quantile: float = 0.005,
        quantile_rule: Rule | None = None,
        denominator: Denominator | None = None,
        iou_threshold: Annotated[float, Ge(0), Le(1)] = 0.04,
        variant: Literal["paper", "official"] = "paper",
        upsampling: Upsampling | None = None,
        keep_candidates: int = 5,
        workers: Annotated[int, Ge(1)] | None = None,
    ) -> None:
        one_of("network_dissection.variant", variant, ("paper", "official"))
        official = variant == "official"
        self.quantile_rule: Rule = quantile_rule or ("lite" if official else "linear")
        self.denominator: Denominator = denominator or ("lite" if official else "paper")
        one_of("network_dissection.quantile_rule", self.quantile_rule, ("linear", "kth", "lite"))
        one_of("network_dissection.denominator", self.denominator, DENOMINATORS)
        if not 0 < quantile < 1:
            raise InputError(f"network_dissection.quantile must be between 0 and 1, not {quantile}")
        if keep_candidates < 1:
            raise InputError(
                f"network_dissection.keep_candidates must be at least 1, not {keep_candidates}"
            )
        self.quantile, self.iou_threshold, self.variant = quantile, iou_threshold, variant
        self.keep_candidates, self.workers = keep_candidates, workers
        self.settings = TallySettings(upsampling or Upsampling())

    def identity(self) -> Mapping[str, Any]:
        """See `Method.identity`."""
        return {
            **self._tally_identity(),
            "denominator": self.denominator,
            "iou_threshold": self.iou_threshold,
            "keep_candidates": self.keep_candidates,
        }

    def _tally_identity(self) -> dict[str, Any]:
        """Returns the settings that a tally depends on; denominators and candidates follow from it."""
        upsampling = self.settings.upsampling
        return {
            "format": _FORMAT,
            "quantile": self.quantile,
            "quantile_rule": self.quantile_rule,
            "upsampling": [upsampling.mode, upsampling.anchor],
        }

    def thresholds(self, layer: ProbedLayer) -> NDArray[np.float64]:
        """Returns float64 [units]: each unit's threshold T, from the maps at their own resolution."""
        if self.quantile_rule == "lite":
            return lite_threshold(layer, self.quantile)
        return layer.threshold(self.quantile, self.quantile_rule)

    def map_consumers(self, layer: ProbedLayer, units: Sequence[int]) -> Sequence[MapConsumer]:
        """See `Method.map_consumers`: the tally of those units that are not in the cache."""
        store = self._store(layer)
        missing = store.missing(units)
        if not missing:
            return ()
        thresholds = self.thresholds(layer)
        return [
            TallyCounter(layer, missing, thresholds, self.settings, workers=self.workers, store=store)
        ]

    def illustration_consumers(self, layer: ProbedLayer, units: Sequence[int]) -> Sequence[MapConsumer]:
        """See `Method.illustration_consumers`: maps of the images with the units' highest maxima."""
        alive = [unit for unit in units if not layer.dead[unit]]
        if layer.probe.annotations is None or not alive:
            return ()
        return exemplar_consumers(layer, alive, overlap_images(layer, alive))

    def illustrations(
        self, layer: ProbedLayer, records: Sequence[Description]
    ) -> Iterator[tuple[int, Illustration]]:
        """See `Method.illustrations`: masks of units and of their best labels."""
        return overlap_illustrations(layer, records, self.settings.upsampling)

    def tally(self, layer: ProbedLayer, units: Sequence[int] | None = None) -> Tally:
        """Returns the tally of units of a layer.

        What the layer's cache holds, as it does after a run with the same settings, is read from there:
        no image is read and the target is not called. Units that it lacks are counted in one pass over
        the layer's maps and added to the cache.

        Args:
            layer: a layer whose probing set has annotations.
            units: unit indices, in the order of the rows; None: all.

        Raises:
            InputError: if the layer's probing set has no labels.
        """
        chosen = list(range(layer.n_units)) if units is None else [int(unit) for unit in units]
        run_map_pass(self.map_consumers(layer, chosen))
        tally = self._store(layer).find(chosen)
        if tally is None:
            raise ValueError("the tally of no units")
        return tally

    def _store(self, layer: ProbedLayer) -> TallyStore:
        key = {
            "layer": layer.fingerprint,
            "annotations": labels_of(layer).fingerprint(),
            **self._tally_identity(),
        }
        return TallyStore(layer.cache.path("network_dissection", key, ""))

    def detectors(self, layer: ProbedLayer) -> DetectorCounts:
        """Counts the layer's detectors by both published rules, see `DetectorCounts`.

        Needs the tally of all units: those that are not in the cache are counted.
        """
        annotations = labels_of(layer)
        category = category_of(annotations)
        best = best_labels(
            self.tally(layer).iou(self.denominator, category), category, len(annotations.categories)
        )
        return detectors(best, annotations.categories, self.iou_threshold)

    def describe(self, layer: ProbedLayer, units: Sequence[int]) -> Iterator[Description]:
        """See `Method.describe`."""
        if not units:
            return
        started = time.perf_counter()
        results = _Results(self.tally(layer, units), layer, self.denominator)
        thresholds = self.thresholds(layer)
        # One NaN or infinity makes its unit's sum NaN or infinite; saves a bool array [images, units].
        finite = np.isfinite(np.sum(layer.values[:, list(units)], axis=0, dtype=np.float64))
        for unit, is_finite in zip(units, finite.tolist(), strict=True):
            threshold = float(thresholds[unit]) if is_finite else float("nan")
            description = self._describe(layer, unit, threshold, results)
            yield replace(description, seconds=time.perf_counter() - started)
            started = time.perf_counter()

    def _describe(
        self, layer: ProbedLayer, unit: int, threshold: float, results: _Results
    ) -> Description:
        unit_id = layer.unit(unit)
        if not np.isfinite(threshold):
            reason = {"reason": "its activations are not all finite numbers"}
            return Description(unit_id, self.name, None, "failed", evidence=reason)
        if layer.dead[unit]:
            return Description(unit_id, self.name, None, "dead")
        candidates = results.candidates(unit, self.keep_candidates)
        best = candidates[0] if candidates else None
        score = float(best.score or 0.0) if best else 0.0
        evidence = {"threshold": threshold, **results.evidence(unit)}
        if best and score > self.iou_threshold:
            return Description(unit_id, self.name, best.text, "ok", score, candidates, evidence)
        evidence["reason"] = f"no label has an IoU above {self.iou_threshold}"
        return Description(unit_id, self.name, None, "below_threshold", score, candidates, evidence)


def lite_threshold(layer: ProbedLayer, quantile: float) -> NDArray[np.float64]:
    """Returns float64 [units]: the threshold that NetDissect-Lite reads from its quantile sketch.

    The program computes 1000 equally spaced quantiles, both ends included, and takes the one with index
    int(1000 * (1 - quantile)) - 1: the quantile P = 994 / 999 for 0.005. If the sketch holds all M
    values, it places P at position P * M - 1/2 of the values in ascending order.
    """
    total = len(layer.values) * layer.map_shape[0] * layer.map_shape[1]
    fraction = (int(1000 * (1 - quantile)) - 1) / 999
    # `ProbedLayer.threshold` places an upper fraction f at position f * (M - 1) from the largest value,
    # so the position in the sketch is converted to that fraction.
    from_largest = (total - 1) - (fraction * total - 0.5)
    # A single value is every quantile; the fraction below would divide by total - 1.
    if from_largest <= 0 or total == 1:
        return layer.threshold(0.5 / total, "kth")  # the largest value
    return layer.threshold(min(1.0, from_largest / (total - 1)), "linear")


class _Results:
    """The tally of some units of a layer, read unit by unit: candidates and evidence."""

    def __init__(self, tally: Tally, layer: ProbedLayer, denominator: Denominator) -> None:
        annotations = labels_of(layer)
        self.labels, self.categories = annotations.labels, annotations.categories
        category = category_of(annotations)
        self.tally = tally
        self.rows = {unit: row for row, unit in enumerate(tally.units.tolist())}
        self.pixels: dict[Denominator, Pixels] = {d: tally.pixels(d, category) for d in DENOMINATORS}
        self.iou = {d: pixels.iou() for d, pixels in self.pixels.items()}
        self.denominator: Denominator = denominator
        self.best: BestLabels = best_labels(self.iou[denominator], category, len(self.categories))
        self.category = category[1:]  # without label 0

    def candidates(self, unit: int, count: int) -> tuple[Candidate, ...]:
        """Returns the labels with the highest IoU; ties: earliest category, then smallest number."""
        iou = self.iou[self.denominator][self.rows[unit], 1:]
        # The last key of lexsort is the primary one; it is stable, so label numbers break further ties.
        order = np.lexsort((self.category, -iou))[:count]
        best = (self.labels[i] for i in order if iou[i] > 0)
        return tuple(
            Candidate(
                words(label),
                float(iou[label.number - 1]),
                {"label": label.name, "number": label.number, "category": label.category},
            )
            for label in best
        )

    def evidence(self, unit: int) -> dict[str, Any]:
        """Returns the best label overall and of each category, with its IoU by every definition."""
        row = self.rows[unit]
        per_category = {
            name: self._label(row, int(number))
            for name, number in zip(self.categories, self.best.number[row], strict=True)
            if number
        }
        overall = self.best.overall[row]
        best = per_category[self.categories[overall]] if overall >= 0 else {}
        mask_pixels = int(self.tally.activation[row])
        settings = {"denominator": self.denominator, "mask_pixels": mask_pixels}
        return {**settings, **best, "categories": per_category}

    def _label(self, row: int, number: int) -> dict[str, Any]:
        label, pixels = self.labels[number - 1], self.pixels[self.denominator]
        return {
            "label": label.name,
            "number": number,
            "category": label.category,
            "iou": float(self.iou["paper"][row, number]),
            "iou_lite": float(self.iou["lite"][row, number]),
            "iou_all": float(self.iou["all"][row, number]),
            "iou_dissect": float(self.iou["dissect"][row, number]),
            "truth": int(pixels.truth[number]),
            "activation": int(pixels.activation[row, number]),
            "intersection": int(pixels.shared[row, number]),
        }
