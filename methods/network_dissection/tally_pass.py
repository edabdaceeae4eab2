"""The pass over a layer's feature maps that fills a tally; stopped, it is taken up again."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import Annotations
from ...harness.errors import InputError
from ...harness.probe import MapBatch, ProbedLayer
from ..upsample import Grid, Upsampling, grid
from .tally import Tally, category_of

if TYPE_CHECKING:
    from .tally_kernel import Patterns, Placement


@dataclass(frozen=True)
class TallySettings:
    """What a tally depends on besides the layer, its labels and the thresholds.

    Attributes:
        upsampling: where the cells of a map lie in the label planes.
        count_label_zero: count the whole-image label 0, as the original codes do.
    """

    upsampling: Upsampling = field(default_factory=Upsampling)
    count_label_zero: bool = False


def tally_layer(
    layer: ProbedLayer,
    thresholds: NDArray[np.float64],
    settings: TallySettings | None = None,
    *,
    images: Sequence[int] | None = None,
    workers: int | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60.0,
) -> Tally:
    """Counts the mask pixels of every unit of a layer.

    Args:
        layer: its feature maps and labels.
        thresholds: float64 [units]; a mask pixel is strictly above.
        settings: up-sampling, and what to count.
        images: which images; default all.
        workers: threads; default one per processor core of this process, at most 8.
        checkpoint: file that keeps what was counted so far; a later call with the same arguments
            goes on from there. Removed at the end.
        checkpoint_seconds: how often it is written.

    Raises:
        InputError: if the layer's probing set has no labels, or an image has one that is not listed.
    """
    annotations = labels_of(layer)
    tally = Tally.empty(layer.n_units, len(annotations.labels), len(annotations.categories))
    tally = (Tally.load(checkpoint) if checkpoint else None) or tally
    workers = workers or _cores()
    todo, saved = np.arange(len(layer.probe)) if images is None else np.asarray(images), time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        shares = _shares(layer.n_units, workers)
        counter = _Counter(
            layer, settings or TallySettings(), round_down(thresholds), tally, pool, shares
        )
        for batch in layer.maps(todo[int(tally.images) :].tolist()):
            counter.add(batch)
            if checkpoint and time.monotonic() - saved >= checkpoint_seconds:
                tally.save(checkpoint)
                saved = time.monotonic()
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return tally


def round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns the largest float32 not above each threshold.

    A float32 value exceeds it exactly if it exceeds the float64 threshold.
    """
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def labels_of(layer: ProbedLayer) -> Annotations:
    """Returns the labels of the layer's probing set.

    Raises:
        InputError: if it has none.
    """
    if layer.probe.annotations is None:
        raise InputError(
            f"Network Dissection needs labelled images; the probing set {layer.probe.name!r} has none",
            "use a probing set with labels (Broden, or an image folder with one folder per class), "
            "or leave out network_dissection",
        )
    return layer.probe.annotations


@dataclass(frozen=True)
class _Image:
    """What an image adds whatever the units do, and what its masks will be counted with."""

    over: Placement
    patterns: Patterns
    truth: NDArray[np.int64]
    truth_unique: NDArray[np.int64]
    shown: NDArray[np.bool_]


class _Counter:
    """Adds batches of images to a tally; every thread has units of its own, so no two add to one cell."""

    def __init__(
        self,
        layer: ProbedLayer,
        settings: TallySettings,
        limits: NDArray[np.float32],
        tally: Tally,
        pool: ThreadPoolExecutor,
        shares: Sequence[tuple[int, int]],
    ) -> None:
        from .tally_kernel import Sums

        self.layer, self.settings, self.limits, self.tally = layer, settings, limits, tally
        self.pool, self.shares = pool, shares
        self.category = category_of(labels_of(layer))
        self.sums = Sums(*(getattr(tally, name) for name in Sums._fields))

    def add(self, batch: MapBatch) -> None:
        """Adds a batch of images.

        Raises:
            InputError: if an image has a label that is not listed.
        """
        from .tally_kernel import add_masks

        indices = batch.indices.tolist()
        parts = [indices[slice(*share)] for share in _shares(len(indices), len(self.shares))]
        images = [image for part in self.pool.map(self._images, parts) for image in part]

        def count(units: tuple[int, int]) -> None:
            for image, maps in zip(images, batch.maps, strict=True):
                add_masks(maps, self.limits, image.over, image.patterns, image.shown, self.sums, units)

        list(self.pool.map(count, self.shares))
        for image in images:
            self.tally.truth += image.truth
            self.tally.truth_unique += image.truth_unique
        self.tally.images += len(images)

    def _images(self, indices: Sequence[int]) -> list[_Image]:
        return [self._image(index) for index in indices]

    def _image(self, index: int) -> _Image:
        from .tally_kernel import add_labels

        annotation = labels_of(self.layer).of(index)
        region, upsampling = self.layer.region(index), self.settings.upsampling
        over = grid(annotation.shape, self.layer.map_shape, region, upsampling)
        whole = [number for number in annotation.whole if number or self.settings.count_label_zero]
        planes = annotation.planes[:, over.window[0], over.window[1]]
        patterns = label_patterns(planes, whole, self.category)
        if isinstance(patterns, int):
            raise InputError(
                f"labels of {self.layer.probe.locate(index)}: label number {patterns} is not in the list "
                f"of labels, which ends with {len(self.category) - 1}",
                "mend the data set",
            )
        truth, truth_unique = np.zeros((2, len(self.category)), np.int64)
        shown = np.zeros(self.tally.activation_paper.shape[1], np.bool_)
        every = np.arange(len(patterns.area))
        add_labels(patterns, every, patterns.area, truth, truth_unique, shown.copy())
        # By the paper's rule label 0 belongs to no category, by the other to the last one.
        shown[self.category[patterns.labels[patterns.labels > 0]]] = True
        return _Image(placement(over), patterns, truth, truth_unique, shown)


def label_patterns(
    planes: NDArray[np.int32], whole: Sequence[int], category: NDArray[np.int64]
) -> Patterns | int:
    """Finds the combinations of labels in an image; counting them once counts each label.

    Args:
        planes: int32 [P, H, W] label numbers, 0 where unlabelled.
        whole: labels of the whole image.
        category: int64 [labels + 1] category of each label.

    Returns:
        The patterns, or a label number out of range if there is one.
    """
    from .tally_kernel import Patterns, find_patterns, tabulate

    flat = np.ascontiguousarray(planes).reshape(len(planes), planes.shape[1] * planes.shape[2])
    index, first, area = find_patterns(flat)
    labels, again, wrong = tabulate(flat, first, np.array(whole, np.int64), len(category))
    return wrong or Patterns(index, labels, again, area, category)


def placement(over: Grid) -> Placement:
    """Returns how maps lie over label planes, in the form that the compiled loops take."""
    from .tally_kernel import Placement

    rows, columns = over.rows, over.columns
    starts = np.searchsorted(columns.lower, np.arange(over.map_shape[1] + 2))
    return Placement(rows.lower, rows.weight, starts, columns.weight, over.zero_padded)


def _shares(units: int, workers: int) -> list[tuple[int, int]]:
    """Splits units evenly: the first, and the one after the last, of each share."""
    return list(pairwise(np.linspace(0, units, min(workers, units) + 1).astype(int).tolist()))


def _cores() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(8, available or 1)
