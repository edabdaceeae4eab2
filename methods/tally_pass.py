"""The pass over a layer's feature maps that fills a tally; stopped, it is taken up again."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..datasets.probing import Annotations, ImageAnnotation
from ..harness.devices import resolve
from ..harness.errors import InputError
from ..harness.probe import MapBatch, ProbedLayer
from .label_patterns import LabelPatterns, UnlistedLabelError, label_patterns
from .mask_counts import MaskCounts, by_blocks, densely, round_down
from .tally import Tally, category_of
from .upsample import Grid, Upsampling, grid

if TYPE_CHECKING:
    import torch

# Feature-map values in one piece of work: enough to keep numpy busy, few enough for the cache.
_VALUES = 1 << 19
# Maps of one cell are small, but their masks are not.
_IMAGES = 32


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
    device: str = "cpu",
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
        device: where maps are up-sampled.
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
    count = _Counter(layer, settings or TallySettings(), round_down(thresholds), resolve(device))
    todo = np.arange(len(layer.probe)) if images is None else np.asarray(images, np.int64)
    category, saved = category_of(annotations), time.monotonic()
    with ThreadPoolExecutor(workers or _cores()) as pool:
        for batch in layer.maps(todo[int(tally.images) :].tolist()):
            for counted in pool.map(count, _pieces(batch)):
                for counts, patterns in counted:
                    tally.add(counts, patterns, category)
            if checkpoint and time.monotonic() - saved >= checkpoint_seconds:
                tally.save(checkpoint)
                saved = time.monotonic()
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return tally


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


def _cores() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(8, available or 1)


def _pieces(batch: MapBatch) -> Iterator[MapBatch]:
    step = min(_IMAGES, max(1, _VALUES // max(1, batch.maps[0].size)))
    for start in range(0, len(batch.indices), step):
        some = slice(start, start + step)
        yield MapBatch(batch.indices[some], batch.maps[some])


@dataclass(frozen=True)
class _Counter:
    """Counts one piece of work; images that share a grid are counted together."""

    layer: ProbedLayer
    settings: TallySettings
    limits: NDArray[np.float32]
    device: torch.device

    def __call__(self, batch: MapBatch) -> list[tuple[MaskCounts, LabelPatterns]]:
        groups: defaultdict[Grid, list[tuple[int, ImageAnnotation]]] = defaultdict(list)
        for position, index in enumerate(batch.indices.tolist()):
            annotation = labels_of(self.layer).of(index)
            region, upsampling = self.layer.region(index), self.settings.upsampling
            over = grid(annotation.shape, self.layer.map_shape, region, upsampling)
            groups[over].append((position, annotation))
        return [self._counts(batch, over, members) for over, members in groups.items()]

    def _counts(
        self, batch: MapBatch, over: Grid, members: list[tuple[int, ImageAnnotation]]
    ) -> tuple[MaskCounts, LabelPatterns]:
        positions = [position for position, _ in members]
        base = len(labels_of(self.layer).labels) + 1
        try:
            patterns = label_patterns(
                [annotation for _, annotation in members],
                over.window,
                base,
                count_label_zero=self.settings.count_label_zero,
            )
        except UnlistedLabelError as error:
            where = self.layer.probe.locate(int(batch.indices[positions[error.image]]))
            raise InputError(f"labels of {where}: {error}", "mend the data set") from error
        # The usual case, one grid for all images, needs no copy.
        maps = batch.maps if len(members) == len(batch.maps) else batch.maps[positions]
        if self.device.type == "cpu":
            return by_blocks(maps, self.limits, over, patterns), patterns
        return densely(maps, self.limits, over, patterns, self.device), patterns
