"""Counts a tally in one pass over a layer's feature maps; an interrupted pass can be resumed."""

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
    """Settings that a tally depends on besides the layer, its labels and the thresholds.

    Attributes:
        upsampling: how maps are up-sampled to the label planes.
        count_label_zero: count the whole-image label 0, as the original programs do.
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
        layer: a layer whose probing set has annotations.
        thresholds: float64 [units]; mask pixels are strictly above.
        settings: up-sampling and label 0; None: the defaults.
        images: image indices; None: all.
        workers: threads; None: one per processor core of this process, at most 8.
        checkpoint: file with the counts so far; a later call with the same arguments resumes from it.
            It is removed at the end.
        checkpoint_seconds: seconds between checkpoints.

    Raises:
        InputError: if the layer's probing set has no labels, or an image has an unknown label number.
    """
    annotations = labels_of(layer)
    tally = Tally.empty(layer.n_units, len(annotations.labels), len(annotations.categories))
    tally = (Tally.load(checkpoint) if checkpoint else None) or tally
    workers = workers or _cores()
    indices = np.arange(len(layer.probe)) if images is None else np.asarray(images)
    last_checkpoint = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        shares = _shares(layer.n_units, workers)
        counter = _Counter(
            layer, settings or TallySettings(), round_down(thresholds), tally, pool, shares
        )
        # Images are counted in order, so their number says where a checkpoint ends.
        for batch in layer.maps(indices[int(tally.images) :].tolist()):
            counter.add(batch)
            if checkpoint and time.monotonic() - last_checkpoint >= checkpoint_seconds:
                tally.save(checkpoint)
                last_checkpoint = time.monotonic()
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return tally


def round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns the largest float32 not above each threshold.

    A float32 value exceeds the rounded threshold exactly if it exceeds the float64 threshold. Rounding
    to nearest could move the threshold past a value of the map.
    """
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def labels_of(layer: ProbedLayer) -> Annotations:
    """Returns the annotations of the layer's probing set.

    Raises:
        InputError: if it has none.
    """
    if layer.probe.annotations is None:
        raise InputError(
            f"Network Dissection needs labelled images; {layer.probe.name!r} has no labels",
            "use a probing set with labels (Broden, or an image folder with one folder per class), "
            "or leave out network_dissection",
        )
    return layer.probe.annotations


@dataclass(frozen=True)
class _Image:
    """One image, prepared for counting; nothing here depends on the units.

    Attributes:
        placement: positions of the maps' cells over the label planes.
        patterns: combinations of labels in the image.
        truth: int64 [labels + 1] labelled pixels, once per plane.
        truth_unique: int64 [labels + 1] labelled pixels, once per label.
        has_category: bool [categories] whether the image contains a label of the category.
    """

    placement: Placement
    patterns: Patterns
    truth: NDArray[np.int64]
    truth_unique: NDArray[np.int64]
    has_category: NDArray[np.bool_]


class _Counter:
    """Adds batches of images to a tally.

    Each thread counts its own share of the units, so threads never write to the same array element and
    no lock is needed.
    """

    def __init__(
        self,
        layer: ProbedLayer,
        settings: TallySettings,
        thresholds: NDArray[np.float32],
        tally: Tally,
        pool: ThreadPoolExecutor,
        shares: Sequence[tuple[int, int]],
    ) -> None:
        from .tally_kernel import Sums

        self.layer, self.settings, self.thresholds, self.tally = layer, settings, thresholds, tally
        self.pool, self.shares = pool, shares
        self.category = category_of(labels_of(layer))
        self.sums = Sums(*(getattr(tally, name) for name in Sums._fields))

    def add(self, batch: MapBatch) -> None:
        """Adds a batch of images.

        Raises:
            InputError: if an image has an unknown label number.
        """
        from .tally_kernel import add_masks

        indices = batch.indices.tolist()
        parts = [indices[slice(*share)] for share in _shares(len(indices), len(self.shares))]
        images = [image for part in self.pool.map(self._prepared, parts) for image in part]

        def count(units: tuple[int, int]) -> None:
            for image, maps in zip(images, batch.maps, strict=True):
                add_masks(
                    maps,
                    self.thresholds,
                    image.placement,
                    image.patterns,
                    image.has_category,
                    self.sums,
                    units,
                )

        list(self.pool.map(count, self.shares))  # the compiled loops release the interpreter lock
        for image in images:
            self.tally.truth += image.truth
            self.tally.truth_unique += image.truth_unique
        self.tally.images += len(images)

    def _prepared(self, indices: Sequence[int]) -> list[_Image]:
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
                f"of labels, whose last number is {len(self.category) - 1}",
                "correct the label files of the data set",
            )
        truth, truth_unique = np.zeros((2, len(self.category)), np.int64)
        has_category = np.zeros(self.tally.activation_paper.shape[1], np.bool_)
        every = np.arange(len(patterns.area))
        # add_labels assigns label 0 to the last category, as NetDissect-Lite does; by the paper's rule it
        # belongs to none. So the flags that it sets are discarded.
        add_labels(patterns, every, patterns.area, truth, truth_unique, has_category.copy())
        has_category[self.category[patterns.labels[patterns.labels > 0]]] = True
        return _Image(placement(over), patterns, truth, truth_unique, has_category)


def label_patterns(
    planes: NDArray[np.int32], whole: Sequence[int], category: NDArray[np.int64]
) -> Patterns | int:
    """Finds the combinations of labels that occur in an image.

    Args:
        planes: int32 [P, H, W] label numbers, 0 where unlabelled.
        whole: labels of the whole image.
        category: int64 [labels + 1] category of each label.

    Returns:
        The patterns, or a label number that is out of range if there is one.
    """
    from .tally_kernel import Patterns, find_patterns, tabulate

    flat = np.ascontiguousarray(planes).reshape(len(planes), planes.shape[1] * planes.shape[2])
    of_pixel, first, area = find_patterns(flat)
    labels, repeated, out_of_range = tabulate(flat, first, np.array(whole, np.int64), len(category))
    return out_of_range or Patterns(of_pixel, labels, repeated, area, category)


def placement(over: Grid) -> Placement:
    """Converts a grid to the form that the compiled loops use."""
    from .tally_kernel import Placement

    rows, columns = over.rows, over.columns
    starts = np.searchsorted(columns.lower, np.arange(over.map_shape[1] + 2))
    return Placement(rows.lower, rows.weight, starts, columns.weight, over.zero_padded)


def _shares(units: int, workers: int) -> list[tuple[int, int]]:
    """Splits units evenly into half-open ranges."""
    return list(pairwise(np.linspace(0, units, min(workers, units) + 1).astype(int).tolist()))


def _cores() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(8, available or 1)
