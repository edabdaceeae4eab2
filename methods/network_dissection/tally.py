"""Tallies: the number of mask pixels that each unit shares with each label, and the IoUs.

A tally is a set of int64 sums over images. Tallies of disjoint sets of images add up to the tally of
their union, exactly and in any order, so the work can be split, interrupted and resumed.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import Annotations
from ...harness.files import atomic_path

Denominator = Literal["paper", "lite", "all", "dissect"]
_NOT_OF_UNITS = ("images", "truth", "truth_unique")
DENOMINATORS: tuple[Denominator, ...] = ("paper", "lite", "all", "dissect")


def category_of(annotations: Annotations) -> NDArray[np.int64]:
    """Returns int64 [labels + 1]: index of each label's primary category.

    Label 0, if it is counted at all, belongs to the last category, as in the original programs.
    """
    position = {name: index for index, name in enumerate(annotations.categories)}
    last = len(annotations.categories) - 1
    return np.array([last, *(position[label.category] for label in annotations.labels)], np.int64)


@dataclass(frozen=True)
class Pixels:
    """The pixel counts that make up the IoUs of all units and labels.

    Attributes:
        shared: int64 [units, labels + 1] intersections.
        truth: int64 [labels + 1] labelled pixels.
        activation: int64 [units, labels + 1] mask pixels counted for a label.
    """

    shared: NDArray[np.int64]
    truth: NDArray[np.int64]
    activation: NDArray[np.int64]

    def iou(self) -> NDArray[np.float64]:
        """Returns float64 [units, labels + 1]: shared / (activation + truth - shared), 0 for 0 / 0."""
        # 0 / 0 occurs for a unit without mask pixels and a label without pixels: no overlap.
        union = self.activation + self.truth - self.shared
        return np.divide(self.shared, union, out=np.zeros(union.shape), where=union > 0)


@dataclass
class Tally:
    """Pixel counts over images; label axes are indexed by label number, so column 0 means unlabelled.

    Attributes:
        units: [units] the unit of each row; all arrays are int64.
        images: number of images counted.
        intersection: [units, labels + 1] mask pixels with the label, once per plane that contains it.
        intersection_unique: the same, a pixel counted once per label.
        truth: [labels + 1] labelled pixels, once per plane; a whole-image label covers every pixel.
        truth_unique: the same, a pixel counted once per label.
        activation: [units] mask pixels of all images.
        activation_paper: [units, categories] mask pixels of the images that contain a label of the
            category.
        activation_lite: [units, categories] mask pixels of the images in which the mask itself
            overlaps a label of the category.
    """

    units: NDArray[np.int64]
    images: NDArray[np.int64]
    intersection: NDArray[np.int64]
    intersection_unique: NDArray[np.int64]
    truth: NDArray[np.int64]
    truth_unique: NDArray[np.int64]
    activation: NDArray[np.int64]
    activation_paper: NDArray[np.int64]
    activation_lite: NDArray[np.int64]

    @classmethod
    def empty(cls, units: Sequence[int], labels: int, categories: int) -> Tally:
        """Returns the tally of zero images, for some units and label numbers 1 ... `labels`."""
        n = len(units)
        shapes = ((), (n, labels + 1), (n, labels + 1), (labels + 1,), (labels + 1,), (n,))
        shapes = (*shapes, (n, categories), (n, categories))
        return cls(np.array(units, np.int64), *(np.zeros(shape, np.int64) for shape in shapes))

    def merge(self, other: Tally) -> Tally:
        """Returns the tally of both sets of images, which must not overlap, for the same units."""
        if not np.array_equal(self.units, other.units):
            raise ValueError("tallies of different units")
        names = [f.name for f in fields(self) if f.name != "units"]
        sums = (getattr(self, name) + getattr(other, name) for name in names)
        return Tally(self.units, *(np.asarray(total) for total in sums))

    def select(self, units: Sequence[int]) -> Tally:
        """Returns the tally of some of its units, in the order given."""
        rows = {unit: row for row, unit in enumerate(self.units.tolist())}
        return self._by_rows(lambda array: array[[rows[unit] for unit in units]])

    def join(self, others: Sequence[Tally]) -> Tally:
        """Returns the tally of the units of several tallies of the same images."""
        rows = iter(zip(*(other._of_units() for other in (self, *others)), strict=True))
        return self._by_rows(lambda _: np.concatenate(next(rows)))

    def _of_units(self) -> list[NDArray[np.int64]]:
        return [getattr(self, f.name) for f in fields(self) if f.name not in _NOT_OF_UNITS]

    def _by_rows(self, change: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> Tally:
        """Returns the tally with changed rows of units; sums over images alone remain."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        return Tally(**{n: a if n in _NOT_OF_UNITS else change(a) for n, a in arrays.items()})

    def pixels(self, denominator: Denominator, category: NDArray[np.int64]) -> Pixels:
        """Returns the pixel counts that make up the IoUs by one definition.

        The definitions differ in the images over which the activation term is summed:
        "paper": those that contain a label of the same category (CVPR 2017, section 2.2);
        "lite": those in which the mask overlaps such a label (NetDissect-Lite);
        "all": all images;
        "dissect": all images, and each pixel counts once per label (PNAS 2020).

        By the first three, a pixel with the same label in two planes counts twice, as in the original
        programs; the IoU of such a label can exceed 1.

        Args:
            denominator: the definition.
            category: from `category_of`.
        """
        # A view without a copy: every label has the same activation term.
        everywhere = np.broadcast_to(self.activation[:, None], self.intersection.shape)
        if denominator == "dissect":
            return Pixels(self.intersection_unique, self.truth_unique, everywhere)
        if denominator == "all":
            return Pixels(self.intersection, self.truth, everywhere)
        if denominator not in ("paper", "lite"):
            raise ValueError(f"unknown denominator {denominator!r}")
        per_category = self.activation_paper if denominator == "paper" else self.activation_lite
        activation = per_category[:, category]
        if denominator == "paper":
            activation[:, 0] = 0  # label 0 belongs to no category
        return Pixels(self.intersection, self.truth, activation)

    def iou(self, denominator: Denominator, category: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns float64 [units, labels + 1]: the IoUs by one definition; see `pixels`."""
        return self.pixels(denominator, category).iou()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the tally as `.npz`; the file is complete or absent."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tally | None:
        """Reads a file written by `save`; None if it does not exist or is damaged."""
        try:
            with np.load(Path(path), allow_pickle=False) as arrays:
                return cls(*(arrays[f.name] for f in fields(cls)))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
