"""Counts a tally in one pass over a layer's feature maps; an interrupted pass can be resumed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...harness.activations.map_pass import SAVE_SECONDS, MapConsumer, Shared, run_map_pass
from ...harness.probe import MapBatch, ProbedLayer
from ...harness.progress import Progress
from ..upsample import Upsampling
from .labelled_images import LabelCounts, LabelledImages, compile_loops, labels_of
from .tally import Tally
from .tally_store import TallyStore

if TYPE_CHECKING:
    from .tally_kernel import Placement


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
    units: Sequence[int] | None = None,
    images: Sequence[int] | None = None,
    workers: int | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = SAVE_SECONDS,
) -> Tally:
    """Counts the mask pixels of units of a layer, in a pass of its own.

    Args:
        layer: a layer whose probing set has annotations.
        thresholds: float64 [units of the layer]; mask pixels are strictly above.
        settings: up-sampling and label 0; None: the defaults.
        units: unit indices; None: all.
        images: image indices; None: all.
        workers: threads; None: one per processor core of this process, at most 8.
        checkpoint: file with the counts so far; a later call with the same arguments resumes from it.
            It is removed at the end.
        checkpoint_seconds: seconds between checkpoints.

    Raises:
        InputError: if the layer's probing set has no labels, or an image has an unknown label number.
    """
    chosen = range(layer.n_units) if units is None else units
    counter = TallyCounter(
        layer, chosen, thresholds, settings or TallySettings(), workers=workers, checkpoint=checkpoint
    )
    if images is not None:
        counter.images = np.unique(images)
    run_map_pass([counter], save_seconds=checkpoint_seconds)
    return counter.tally


def round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns the largest float32 not above each threshold.

    A float32 value exceeds the rounded threshold exactly if it exceeds the float64 threshold. Rounding
    to nearest could move the threshold past a value of the map.
    """
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


class TallyCounter(MapConsumer):
    """Counts the mask pixels of some units of a layer.

    Each thread counts its own share of the units, so threads never write to the same array element and
    no lock is needed.

    Args:
        layer: a layer whose probing set has annotations.
        units: unit indices, distinct.
        thresholds: float64 [units of the layer]; mask pixels are strictly above.
        settings: up-sampling and label 0.
        workers: threads; None: one per processor core of this process, at most 8.
        store: where the tally is stored; None: it is not.
        checkpoint: file with the counts of an interrupted pass; None: the one of the store, if any.

    Attributes:
        tally: the counts so far.
        images: indices of the images to count, ascending.

    Raises:
        InputError: if the layer's probing set has no labels.
    """

    def __init__(
        self,
        layer: ProbedLayer,
        units: Sequence[int],
        thresholds: NDArray[np.float64],
        settings: TallySettings,
        *,
        workers: int | None = None,
        store: TallyStore | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        self.layer, self._units, self._store = layer, np.array(units, np.int64), store
        self.result = store.file(units) if store else None
        self._checkpoint = store.partial_file(units) if store else checkpoint
        self._thresholds = round_down(thresholds[self._units])
        self._labelled = LabelledImages(
            layer, settings.upsampling, count_label_zero=settings.count_label_zero
        )
        workers = workers or _cores()
        # At least one share of the images: there may be no unit.
        self._workers, self._shares = workers, _shares(len(self._units), workers)
        self.images = np.arange(len(layer.probe))
        annotations = labels_of(layer)
        self.tally = Tally.empty(units, len(annotations.labels), len(annotations.categories))
        self._pool: ThreadPoolExecutor | None = None

    def finished(self) -> bool:
        """See `MapConsumer.finished`."""
        return self._store is not None and not self._store.missing(self._units.tolist())

    def open(self, progress: Progress) -> NDArray[np.int64]:
        """See `MapConsumer.open`."""
        from .tally_kernel import Sums

        compile_loops(progress)
        saved = Tally.load(self._checkpoint) if self._checkpoint else None
        if saved is not None and np.array_equal(saved.units, self._units):
            self.tally = saved
        self._sums = Sums(*(getattr(self.tally, name) for name in Sums._fields))
        self._pool = ThreadPoolExecutor(self._workers)
        # Images are counted in order, so their number says where the checkpoint ended.
        return self.images[int(self.tally.images) :]

    def add(self, batch: MapBatch, shared: Shared) -> None:
        """See `MapConsumer.add`.

        Raises:
            InputError: if an image has an unknown label number.
        """
        from .tally_kernel import add_masks

        assert self._pool is not None
        indices = batch.indices.tolist()
        parts = [indices[slice(*share)] for share in _shares(len(indices), self._workers)]
        prepared = self._pool.map(lambda part: self._prepare(part, shared), parts)
        images = [image for part in prepared for image in part]
        all_units = np.array_equal(self._units, np.arange(batch.maps.shape[1]))
        # In C order, for which the loops are compiled.
        maps = np.ascontiguousarray(batch.maps if all_units else batch.maps[:, self._units])

        def count(units: tuple[int, int]) -> None:
            for (placement, labels), of_image in zip(images, maps, strict=True):
                add_masks(
                    of_image,
                    self._thresholds,
                    placement,
                    labels.patterns,
                    labels.has_category,
                    self._sums,
                    units,
                )

        list(self._pool.map(count, self._shares))  # the compiled loops release the interpreter lock
        for _, labels in images:
            self.tally.truth += labels.truth
            self.tally.truth_unique += labels.truth_unique
        self.tally.images += len(images)

    def _prepare(self, indices: Sequence[int], shared: Shared) -> list[tuple[Placement, LabelCounts]]:
        return [self._labelled.prepare(index, shared) for index in indices]

    def save(self) -> None:
        """See `MapConsumer.save`."""
        if self._checkpoint:
            self.tally.save(self._checkpoint)

    def finish(self) -> None:
        """See `MapConsumer.finish`."""
        if self.result:
            self.tally.save(self.result)
        if self._checkpoint:
            self._checkpoint.unlink(missing_ok=True)

    def close(self) -> None:
        """See `MapConsumer.close`."""
        if self._pool is not None:
            self._pool.shutdown()


def _shares(units: int, workers: int) -> list[tuple[int, int]]:
    """Splits units evenly into half-open ranges."""
    return list(pairwise(np.linspace(0, units, min(workers, units) + 1).astype(int).tolist()))


def _cores() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(8, available or 1)
