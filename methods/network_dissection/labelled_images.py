"""Prepares images for counting: label patterns and positions of maps, which do not depend on units."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...datasets.concepts import readable
from ...datasets.probing_set import Annotations, ImageAnnotation, Label
from ...harness.activations.map_pass import Shared
from ...harness.errors import InputError
from ...harness.probe import ProbedLayer, Region
from ...harness.progress import Progress
from ..upsample import Grid, Upsampling, grid
from .tally import category_of

if TYPE_CHECKING:
    from .tally_kernel import Patterns, Placement

_SILENT_SECONDS = 1.0  # loading compiled loops from the disk takes less


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


@lru_cache(maxsize=4096)
def words(label: Label) -> str:
    """Returns a label as words, without underscores and Broden's suffixes -c (colours), -s (scenes)."""
    if label.category in ("color", "scene"):
        return readable(label.name)
    return label.name.replace("_", " ")


@dataclass(frozen=True)
class LabelCounts:
    """The labels of an image inside a window of its label planes.

    Attributes:
        patterns: combinations of labels in the window.
        truth: int64 [labels + 1] labelled pixels, once per plane.
        truth_unique: int64 [labels + 1] labelled pixels, once per label.
        has_category: bool [categories] whether the window contains a label of the category.
    """

    patterns: Patterns
    truth: NDArray[np.int64]
    truth_unique: NDArray[np.int64]
    has_category: NDArray[np.bool_]


class LabelledImages:
    """Prepares the images of a layer for counting.

    Args:
        layer: a layer whose probing set has annotations.
        upsampling: how maps are up-sampled to the label planes.
        count_label_zero: count the whole-image label 0, as the original programs do.

    Raises:
        InputError: if the probing set has no labels.
    """

    def __init__(self, layer: ProbedLayer, upsampling: Upsampling, *, count_label_zero: bool) -> None:
        self._layer, self._annotations = layer, labels_of(layer)
        self._upsampling, self._count_label_zero = upsampling, count_label_zero
        self._category = category_of(self._annotations)

    def prepare(self, index: int, shared: Shared) -> tuple[Placement, LabelCounts]:
        """Returns the positions of the maps' cells over the label planes, and the labels, of an image.

        Args:
            index: of the image.
            shared: annotations and label counts are shared with layers that see the same window.

        Raises:
            InputError: if the image has an unknown label number.
        """
        annotation = shared.get(("annotation", index), lambda: self._annotations.of(index))
        region = self._layer.region(index)
        over = grid(annotation.shape, self._layer.map_shape, region, self._upsampling)
        rows, columns = over.window
        window = (rows.start, rows.stop, columns.start, columns.stop)
        counts = shared.get(
            ("labels", index, window, self._count_label_zero),
            lambda: self._count(index, annotation, over.window),
        )
        return placement(over), counts

    def _count(self, index: int, annotation: ImageAnnotation, window: tuple[slice, slice]) -> LabelCounts:
        from .tally_kernel import add_labels

        whole = [number for number in annotation.whole if number or self._count_label_zero]
        patterns = label_patterns(annotation.planes[:, window[0], window[1]], whole, self._category)
        if isinstance(patterns, int):
            raise InputError(
                f"labels of {self._layer.probe.locate(index)}: label number {patterns} is not in the "
                f"list of labels, whose last number is {len(self._category) - 1}",
                "correct the label files of the data set",
            )
        truth, truth_unique = np.zeros((2, len(self._category)), np.int64)
        has_category = np.zeros(len(self._annotations.categories), np.bool_)
        every = np.arange(len(patterns.area))
        # add_labels assigns label 0 to the last category, as NetDissect-Lite does; by the paper's rule it
        # belongs to none. So the flags that it sets are discarded.
        add_labels(patterns, every, patterns.area, truth, truth_unique, has_category.copy())
        has_category[self._category[patterns.labels[patterns.labels > 0]]] = True
        return LabelCounts(patterns, truth, truth_unique, has_category)


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

    # Writeable: numba would compile the loops again for read-only arrays.
    flat = np.require(planes, np.int32, ["C", "W"])
    flat = flat.reshape(len(planes), planes.shape[1] * planes.shape[2])
    of_pixel, first, area = find_patterns(flat)
    labels, repeated, out_of_range = tabulate(flat, first, np.array(whole, np.int64), len(category))
    return out_of_range or Patterns(of_pixel, labels, repeated, area, category)


def placement(over: Grid) -> Placement:
    """Converts a grid to the form that the compiled loops use."""
    from .tally_kernel import Placement

    rows, columns = over.rows, over.columns
    starts = np.searchsorted(columns.lower, np.arange(over.map_shape[1] + 2))
    return Placement(rows.lower, rows.weight, starts, columns.weight, over.zero_padded)


def compile_loops(progress: Progress) -> None:
    """Compiles the loops of Network Dissection, which takes many seconds the first time, and shows it.

    numba keeps what it compiled in the folder of the installation, in `NUMBA_CACHE_DIR` if that is set,
    or in the user's cache folder if the installation is not writable. From there it is loaded in a
    moment, and nothing is shown.
    """
    with ThreadPoolExecutor(1) as pool:
        compiled = pool.submit(_run_loops_once)
        wait([compiled], _SILENT_SECONDS)
        if not compiled.done():
            with progress.task("compiling Network Dissection's loops (first use)", 1) as advance:
                wait([compiled])
                advance()
        compiled.result()


@cache
def _run_loops_once() -> None:
    """Runs the loops on one pixel, with arrays of the types that a pass has."""
    from .tally_kernel import Sums, add_labels, add_masks

    category, none = np.zeros(2, np.int64), np.zeros(1, np.bool_)
    patterns = label_patterns(np.ones((1, 1, 1), np.int32), [], category)
    assert not isinstance(patterns, int)
    totals = np.zeros((2, 2), np.int64)
    add_labels(patterns, np.arange(1), patterns.area, totals[0], totals[1], none.copy())
    sums = Sums(*(np.zeros(shape, np.int64) for shape in ((1, 2), (1, 2), (1,), (1, 1), (1, 1))))
    over = placement(grid((1, 1), (1, 1), Region(), Upsampling()))
    maps, thresholds = np.ones((1, 1, 1), np.float32), np.zeros(1, np.float32)
    add_masks(maps, thresholds, over, patterns, none, sums, (0, 1))
