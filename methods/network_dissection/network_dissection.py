"""Network Dissection: a unit is described by the label whose pixels its activations overlap best.

Bau et al., "Network Dissection: Quantifying Interpretability of Deep Visual Representations", CVPR 2017.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...datasets.concepts import readable
from ...datasets.probing_set import Label
from ...harness.errors import InputError, one_of
from ...harness.probe import ProbedLayer
from ...harness.records import Candidate, Description
from ..method import Method
from ..upsample import Mode, Upsampling
from .detectors import BestLabels, DetectorCounts, best_labels, detectors
from .tally import DENOMINATORS, Denominator, Pixels, Tally, category_of
from .tally_pass import TallySettings, labels_of, tally_layer

Rule = Literal["linear", "kth", "lite"]
_FORMAT = 1  # of kept tallies


class NetworkDissection(Method):
    """Describes a unit by the label of highest IoU between its activation masks and the label's pixels.

    The paper's definition: a unit's threshold T is the value that the fraction `q` of all cells of its
    feature maps over all images exceeds; maps are up-sampled bilinearly to the label
    planes; a pixel belongs to the mask if it is strictly above T; IoU(unit, label) sums intersections
    and unions over the images that show any label of the label's primary category (equation 1). Units
    of fully-connected layers are maps of one cell that covers the whole image.

    `variant="official"` gives the numbers of the program NetDissect-Lite instead: thresholds as it
    reads them from 1000 equally spaced quantiles, and an activation term that counts an image only if
    the mask itself meets a label of the category. docs/methods/network_dissection.md lists where the
    paper, the published programs and this class differ.

    A unit whose best IoU does not exceed `iou_threshold` has no text and the status "below_threshold";
    its best label is still in the candidates and in the evidence.

    Args:
        q: upper fraction of a unit's cells.
        rule: how the quantile is read. "linear": interpolated between order statistics; "kth": the
            (floor(q * M) + 1)-th largest of the M values; "lite": as NetDissect-Lite reads it when its
            sketch holds all values; None: what the variant says.
        denominator: whose activation term, see `Tally.pixels`; None: what the variant says.
        iou_threshold: an IoU must exceed it for its label to describe a unit.
        variant: "paper" or "official".
        upsampling: "half_pixel", "zero_padded" or "anchored", see `Upsampling`.
        anchor: for "anchored", (first centre, step) in mask pixels.
        top: how many labels to keep as candidates.
        workers: threads; None takes one per core, at most 8. Results do not depend on it.

    Raises:
        InputError: if a setting is out of range.
    """

    name = "network_dissection"

    def __init__(
        self,
        q: float = 0.005,
        rule: Rule | None = None,
        denominator: Denominator | None = None,
        iou_threshold: float = 0.04,
        variant: Literal["paper", "official"] = "paper",
        upsampling: Mode = "half_pixel",
        anchor: Sequence[float] | None = None,
        top: int = 5,
        workers: int | None = None,
    ) -> None:
        one_of("network_dissection.variant", variant, ("paper", "official"))
        official = variant == "official"
        self.rule: Rule = rule or ("lite" if official else "linear")
        self.denominator: Denominator = denominator or ("lite" if official else "paper")
        one_of("network_dissection.rule", self.rule, ("linear", "kth", "lite"))
        one_of("network_dissection.denominator", self.denominator, DENOMINATORS)
        if not 0 < q < 1:
            raise InputError(f"network_dissection.q must lie between 0 and 1, not {q}")
        if top < 1:
            raise InputError(f"network_dissection.top must be at least 1, not {top}")
        self.q, self.iou_threshold, self.variant, self.top = q, iou_threshold, variant, top
        self.workers = workers
        try:
            centres = None if anchor is None else (float(anchor[0]), float(anchor[1]))
            self.settings = TallySettings(Upsampling(upsampling, centres))
        except (TypeError, ValueError, IndexError) as error:
            raise InputError(f"network_dissection.upsampling, anchor: {error}") from error

    def identity(self) -> Mapping[str, Any]:
        """See `Method.identity`."""
        return {
            **self._tally_identity(),
            "denominator": self.denominator,
            "iou_threshold": self.iou_threshold,
            "top": self.top,
        }

    def _tally_identity(self) -> dict[str, Any]:
        upsampling = self.settings.upsampling
        return {
            "format": _FORMAT,
            "q": self.q,
            "rule": self.rule,
            "upsampling": [upsampling.mode, upsampling.anchor],
        }

    def thresholds(self, layer: ProbedLayer) -> NDArray[np.float64]:
        """Returns float64 [units]: each unit's threshold T, on the maps at their own resolution."""
        if self.rule != "lite":
            return layer.threshold(self.q, self.rule)
        return lite_threshold(layer, self.q)

    def tally(self, layer: ProbedLayer) -> Tally:
        """Returns the tally of the whole layer; counted once and kept in the layer's cache.

        Raises:
            InputError: if the layer's probing set has no labels.
        """
        annotations = labels_of(layer)
        key = {
            "layer": layer.fingerprint,
            "annotations": annotations.fingerprint(),
            **self._tally_identity(),
        }
        path = layer.cache.path("network_dissection", key, ".npz")
        tally = Tally.load(path)
        if tally is None:
            tally = tally_layer(
                layer,
                self.thresholds(layer),
                self.settings,
                workers=self.workers,
                checkpoint=path.with_suffix(".partial.npz"),
            )
            tally.save(path)
        return tally

    def detectors(self, layer: ProbedLayer) -> DetectorCounts:
        """Counts the layer's detectors by both published rules."""
        annotations = labels_of(layer)
        category = category_of(annotations)
        best = best_labels(
            self.tally(layer).iou(self.denominator, category), category, len(annotations.categories)
        )
        return detectors(best, annotations.categories, self.iou_threshold)

    def describe(self, layer: ProbedLayer, units: Sequence[int]) -> Iterator[Description]:
        """See `Method.describe`. The layer is tallied as a whole, whatever units are asked for."""
        started = time.perf_counter()
        findings = _Findings(self.tally(layer), layer, self.denominator)
        # A value that is not finite shows in the sum of its unit.
        finite = np.isfinite(np.sum(layer.values, axis=0, dtype=np.float64))
        thresholds = np.where(finite, self.thresholds(layer), np.nan)
        for unit in units:
            description = self._describe(layer, unit, float(thresholds[unit]), findings)
            yield replace(description, seconds=time.perf_counter() - started)
            started = time.perf_counter()

    def _describe(
        self, layer: ProbedLayer, unit: int, threshold: float, findings: _Findings
    ) -> Description:
        name = layer.unit(unit)
        if not np.isfinite(threshold):
            reason = {"reason": "its activations are not all finite numbers"}
            return Description(name, self.name, None, "failed", evidence=reason)
        if layer.dead[unit]:
            return Description(name, self.name, None, "dead")
        candidates = findings.candidates(unit, self.top)
        best = candidates[0] if candidates else None
        score = float(best.score or 0.0) if best else 0.0
        evidence = {"threshold": threshold, **findings.evidence(unit)}
        if best and score > self.iou_threshold:
            return Description(name, self.name, best.text, "ok", score, candidates, evidence)
        evidence["reason"] = f"no label has an IoU above {self.iou_threshold}"
        return Description(name, self.name, None, "below_threshold", score, candidates, evidence)


def lite_threshold(layer: ProbedLayer, q: float) -> NDArray[np.float64]:
    """Returns float64 [units]: the quantile that NetDissect-Lite reads from its sketch.

    It asks for 1000 equally spaced quantiles including both ends and takes number
    int(1000 * (1 - q)) - 1 of them, counted from 0: P = 994 / 999 for q = 0.005. With all M values at
    hand, the quantile P of that sketch lies at position P * M - 1/2 of the values in ascending order.
    """
    total = len(layer.values) * layer.map_shape[0] * layer.map_shape[1]
    fraction = (int(1000 * (1 - q)) - 1) / 999
    from_above = (total - 1) - (fraction * total - 0.5)
    if from_above <= 0:
        return layer.threshold(0.5 / total, "kth")  # the largest value
    return layer.threshold(min(1.0, from_above / (total - 1)), "linear")


class _Findings:
    """What a tally says of single units."""

    def __init__(self, tally: Tally, layer: ProbedLayer, denominator: Denominator) -> None:
        annotations = labels_of(layer)
        self.labels, self.categories = annotations.labels, annotations.categories
        category = category_of(annotations)
        self.tally = tally
        self.pixels: dict[Denominator, Pixels] = {d: tally.pixels(d, category) for d in DENOMINATORS}
        self.iou = {d: pixels.iou() for d, pixels in self.pixels.items()}
        self.chosen: Denominator = denominator
        self.best: BestLabels = best_labels(self.iou[denominator], category, len(self.categories))
        self.rank = category[1:]

    def candidates(self, unit: int, top: int) -> tuple[Candidate, ...]:
        """The labels of highest IoU; of equals the earliest category, then the smallest number."""
        iou = self.iou[self.chosen][unit, 1:]
        order = np.lexsort((self.rank, -iou))[:top]
        found = (self.labels[i] for i in order if iou[i] > 0)
        return tuple(
            Candidate(
                words(label),
                float(iou[label.number - 1]),
                {"label": label.name, "number": label.number, "category": label.category},
            )
            for label in found
        )

    def evidence(self, unit: int) -> dict[str, Any]:
        """The best label overall and of every category, with all definitions of its IoU."""
        per_category = {
            name: self._label(unit, int(number))
            for name, number in zip(self.categories, self.best.number[unit], strict=True)
            if number
        }
        overall = self.best.overall[unit]
        best = per_category[self.categories[overall]] if overall >= 0 else {}
        mask_pixels = int(self.tally.activation[unit])
        settings = {"denominator": self.chosen, "mask_pixels": mask_pixels}
        return {**settings, **best, "categories": per_category}

    def _label(self, unit: int, number: int) -> dict[str, Any]:
        label, pixels = self.labels[number - 1], self.pixels[self.chosen]
        return {
            "label": label.name,
            "number": number,
            "category": label.category,
            "iou": float(self.iou["paper"][unit, number]),
            "iou_lite": float(self.iou["lite"][unit, number]),
            "iou_all": float(self.iou["all"][unit, number]),
            "iou_dissect": float(self.iou["dissect"][unit, number]),
            "truth": int(pixels.truth[number]),
            "activation": int(pixels.activation[unit, number]),
            "intersection": int(pixels.shared[unit, number]),
        }


@lru_cache(maxsize=4096)
def words(label: Label) -> str:
    """Returns a label in plain words: Broden marks colours with -c, scenes with -s."""
    if label.category in ("color", "scene"):
        return readable(label.name)
    return label.name.replace("_", " ")
