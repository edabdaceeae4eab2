"""Network Dissection's tally against the per-image, per-unit loop of the original procedure.

The baseline resizes one unit's map at a time with PIL in mode F and counts the labels below its mask,
as the published programs do; images without any activation above the threshold are skipped there, too.
Both count the same images, and the counts must be equal.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from dissectbench.datasets.probing import Annotations, ImageAnnotation, Label, ProbingSet
from dissectbench.harness.cache import Cache
from dissectbench.harness.probe import ArrayLayer
from dissectbench.methods.tally import Tally, category_of
from dissectbench.methods.tally_pass import tally_layer

IMAGES, UNITS, CELLS, SIDE, LABELS = 96, 256, 14, 112, 1197
BOUND = 30.0
CATEGORIES = {"color": range(1, 12), "object": range(12, 600), "part": range(600, 834)}
CATEGORIES |= {"material": range(834, 866), "scene": range(866, 1151), "texture": range(1151, LABELS + 1)}


class Labels(Annotations):
    """Label planes like Broden's: regions of colours, objects and parts, and a scene."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.categories = tuple(CATEGORIES)
        self.labels = tuple(
            Label(n, f"label {n}", category) for category, numbers in CATEGORIES.items() for n in numbers
        )
        self._annotations = [_annotation(rng) for _ in range(IMAGES)]

    def of(self, index: int) -> ImageAnnotation:
        return self._annotations[index]

    def fingerprint(self) -> str:
        return "bench"


class Pictures(ProbingSet):
    """Images that are never opened."""

    name = "bench"

    def __init__(self, annotations: Annotations) -> None:
        self.annotations = annotations

    def __len__(self) -> int:
        return IMAGES

    def image(self, index: int) -> Image.Image:
        raise NotImplementedError

    def locate(self, index: int) -> str:
        return str(index)

    def fingerprint(self) -> str:
        return "bench"


def _annotation(rng: np.random.Generator) -> ImageAnnotation:
    def regions(seeds: int, category: str, empty: float) -> NDArray[np.int32]:
        """Splits the plane among the nearest of some seeds; each has a label or, at times, none."""
        centre = rng.random((seeds, 2)) * SIDE
        pixel = np.indices((SIDE, SIDE)).transpose(1, 2, 0)[:, :, None]
        nearest = ((pixel - centre) ** 2).sum(axis=-1).argmin(axis=-1)
        labels = rng.choice(np.asarray(CATEGORIES[category]), seeds)
        return np.where(rng.random(seeds) < empty, 0, labels)[nearest].astype(np.int32)

    planes = [regions(60, "color", 0), regions(12, "object", 0.05)]
    planes += [regions(14, "part", 0.5), regions(10, "part", 0.8)]
    return ImageAnnotation((SIDE, SIDE), np.stack(planes), (int(rng.integers(866, 1151)),))


def _maps(rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth, rectified maps; multiples of 1/1024, so that both ways of up-sampling are exact.

    About 0.31 of the (image, unit) pairs have a cell above the threshold, 3.2 cells each. In a ResNet-20
    trained on CIFAR-10, maps of 14 x 14 have 0.33 to 0.38, and 2.6 to 2.9 cells.
    """
    noise = gaussian_filter(rng.standard_normal((IMAGES, UNITS, CELLS, CELLS)), (0, 0, 1, 1))
    strength = np.exp(0.25 * rng.standard_normal((IMAGES, UNITS, 1, 1)))
    return (np.round(np.maximum(noise * strength, 0) * 4096) / 1024).astype(np.float32)


def original(
    maps: NDArray[np.float32], thresholds: NDArray[np.float64], labels: Labels
) -> tuple[NDArray[np.int64], ...]:
    """Image by image and unit by unit: intersection, truth, activation, activation by category."""
    intersection = np.zeros((UNITS, LABELS + 1), np.int64)
    truth, activation = np.zeros(LABELS + 1, np.int64), np.zeros(UNITS, np.int64)
    activation_by_category = np.zeros((UNITS, len(CATEGORIES)), np.int64)
    membership = np.eye(len(CATEGORIES), dtype=np.int64)[category_of(labels)]
    membership[0] = 0
    for index in range(len(maps)):
        annotation = labels.of(index)
        truth += np.bincount(annotation.planes.ravel(), minlength=LABELS + 1)
        for label in annotation.whole:
            truth[label] += SIDE * SIDE
        for unit in range(UNITS):
            values = maps[index, unit]
            if values.max() <= thresholds[unit]:
                continue
            resized = Image.fromarray(values).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            pixels = np.argwhere(np.asarray(resized) > thresholds[unit])
            activation[unit] += len(pixels)
            counts = np.bincount(
                annotation.planes[:, pixels[:, 0], pixels[:, 1]].ravel(), minlength=LABELS + 1
            )
            for label in annotation.whole:
                counts[label] += len(pixels)
            counts[0] = 0
            intersection[unit] += counts
            activation_by_category[unit] += len(pixels) * (np.dot(counts > 0, membership) > 0)
    truth[0] = 0
    return intersection, truth, activation, activation_by_category


def _best(work: Callable[[], Any], times: int) -> tuple[float, Any]:
    seconds, result = float("inf"), None
    for _ in range(times):
        started = time.perf_counter()
        result = work()
        seconds = min(seconds, time.perf_counter() - started)
    return seconds, result


def run() -> dict[str, Any]:
    """Times both on the same images; the best of several turns each, taken alternately."""
    rng = np.random.default_rng(0)
    annotations, maps = Labels(rng), _maps(rng)
    with tempfile.TemporaryDirectory() as folder:
        layer = ArrayLayer(maps, Pictures(annotations), Cache(folder))
        thresholds = layer.threshold(0.005)
        ours, theirs = float("inf"), float("inf")
        tally, expected = None, None
        for _ in range(3):
            seconds, expected = _best(lambda: original(maps, thresholds, annotations), 1)
            theirs = min(theirs, seconds)
            seconds, tally = _best(lambda: tally_layer(layer, thresholds), 5)
            ours = min(ours, seconds)
    assert isinstance(tally, Tally)
    assert expected is not None
    found = (tally.intersection, tally.truth, tally.activation, tally.activation_lite)
    equal = all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    ratio = theirs / ours
    active = float((maps.max(axis=(2, 3)) > thresholds).mean())
    labels = [len(np.unique(annotations.of(i).planes)) for i in range(IMAGES)]
    details = {
        "images": IMAGES,
        "units": UNITS,
        "same_result": equal,
        "original_ms_per_image": round(1000 * theirs / IMAGES, 3),
        "ours_ms_per_image": round(1000 * ours / IMAGES, 3),
        "active_pairs": round(active, 3),
        "labels_per_image": float(np.mean(labels)),
        "cores": len(os.sched_getaffinity(0)),
    }
    return {
        "name": "network_dissection tally against the original loop",
        "ratio": round(ratio, 2),
        "bound": BOUND,
        "ok": equal and ratio >= BOUND,
        "details": details,
    }


if __name__ == "__main__":
    print(json.dumps(run()))
