"""Probing sets: the images shown to a target, with annotations where they exist."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..harness.files import fingerprint

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Label:
    """One concept of an annotated probing set.

    Attributes:
        number: its number in the label planes, from 1 (0 means unlabelled).
        name: the word or words, as the data set spells them.
        category: its primary category (for Broden: the one with the largest coverage).
    """

    number: int
    name: str
    category: str


@dataclass(frozen=True)
class ImageAnnotation:
    """The annotations of one image.

    Attributes:
        shape: (H, W) of the label planes; a label of the whole image covers H * W pixels.
        planes: int32 [P, H, W] label number of each pixel, 0 where unlabelled; P may be 0. A pixel has
            several labels if they are in several planes.
        whole: numbers of the labels of the whole image.
    """

    shape: tuple[int, int]
    planes: NDArray[np.int32]
    whole: tuple[int, ...] = ()


class Annotations(ABC):
    """Labels of the images of a probing set, for pixels or whole images.

    Attributes:
        categories: names of the categories, in the order that breaks ties.
        labels: all labels; `labels[i].number == i + 1`.
    """

    categories: tuple[str, ...]
    labels: tuple[Label, ...]

    @abstractmethod
    def of(self, index: int) -> ImageAnnotation:
        """Returns the annotation of image `index`; reads it from disk if needed."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of everything that `of` depends on."""


class ProbingSet(ABC):
    """The images shown to the target, in a fixed order.

    Attributes:
        name: name in records and tables.
        annotations: labels of pixels and whole images, or None.
        classes: class names, or None.
        labels: int64 [images] class index of each image, or None.
    """

    name: str
    annotations: Annotations | None = None
    classes: tuple[str, ...] | None = None
    labels: NDArray[np.int64] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def image(self, index: int) -> Image:
        """Returns image `index` as RGB.

        Raises:
            UnreadableImageError: if it cannot be decoded; names the file.
        """

    @abstractmethod
    def locate(self, index: int) -> str:
        """Returns the path of image `index`, or another permanent name, for messages and records."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of the list of images with their file sizes and mtimes, or contents."""


class Subset(ProbingSet):
    """Some images of a probing set, such as those that can be decoded.

    Args:
        probe: the whole set.
        indices: the images of the subset, as indices into the whole set.
    """

    def __init__(self, probe: ProbingSet, indices: Sequence[int]) -> None:
        self.whole = probe
        self.indices = np.asarray(indices, dtype=np.int64)
        self.name = probe.name
        self.classes = probe.classes
        self.labels = None if probe.labels is None else probe.labels[self.indices]
        # Classes without an image stay: labels, and references made of classes, are indices into all.
        if probe.annotations is not None:
            self.annotations = _SubsetAnnotations(probe.annotations, self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> Image:
        """Returns image `index` of the subset."""
        return self.whole.image(int(self.indices[index]))

    def locate(self, index: int) -> str:
        """Returns the path of image `index` of the subset."""
        return self.whole.locate(int(self.indices[index]))

    def fingerprint(self) -> str:
        """Hash of the whole set and the indices."""
        return fingerprint([self.whole.fingerprint(), self.indices.tolist()])


class _SubsetAnnotations(Annotations):
    def __init__(self, annotations: Annotations, indices: NDArray[np.int64]) -> None:
        self.whole, self.indices = annotations, indices
        self.categories, self.labels = annotations.categories, annotations.labels

    def of(self, index: int) -> ImageAnnotation:
        return self.whole.of(int(self.indices[index]))

    def fingerprint(self) -> str:
        return fingerprint([self.whole.fingerprint(), self.indices.tolist()])
