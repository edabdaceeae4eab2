"""Annotations that need no files: classes, colours, and several annotations of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import InputError, nearest
from ..harness.files import fingerprint
from .colours import COLOURS, NAMES, name_colours
from .probing_set import Annotations, ImageAnnotation, Label, ProbingSet

Kind = Literal["classes", "colours"]

MASK_SIZE = 112
"""Side of a label plane where nothing in the data set says otherwise: that of Broden for 224 pixels."""


def annotate(
    probe: ProbingSet, kinds: Kind | Sequence[Kind] | None, mask_size: int | None = None
) -> Annotations | None:
    """Makes the annotations that can be told from classes and pixels.

    Args:
        probe: the images.
        kinds: "classes", "colours", both in a list, or None for no annotations.
        mask_size: side of the square label planes, onto which an image is squashed. By default colours
            are named at the image's own resolution, and classes alone use `MASK_SIZE`.

    Raises:
        InputError: if a kind is unknown, the images have no classes, or `mask_size` is no size.
    """
    if kinds is None:
        return None
    if mask_size is not None and (not isinstance(mask_size, int) or mask_size < 1):
        raise InputError(f"mask_size must be a positive integer or null, got {mask_size!r}")
    members: list[Annotations] = []
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind == "colours":
            members.append(ColourAnnotations(probe, mask_size))
        elif kind != "classes":
            known = ("classes", "colours")
            raise InputError(
                f"unknown annotations {kind!r}: use classes, colours", nearest(kind, known) or None
            )
        elif probe.classes is None or probe.labels is None:
            raise InputError(
                f"{probe.name} has no class labels to annotate with", "leave out annotations: classes"
            )
        else:
            members.append(ClassAnnotations(probe.classes, probe.labels, mask_size or MASK_SIZE))
    return merge(members)


class ClassAnnotations(Annotations):
    """The class of each image as a label of the whole image, category "class".

    Args:
        classes: names of the classes; label i + 1 is class i.
        labels: int64 [images], class of each image.
        mask_size: every image counts as so many pixels squared.
    """

    def __init__(
        self, classes: Sequence[str], labels: NDArray[np.int64], mask_size: int = MASK_SIZE
    ) -> None:
        self.categories = ("class",)
        self.labels = tuple(Label(i + 1, name, "class") for i, name in enumerate(classes))
        self._classes = np.asarray(labels, dtype=np.int64)
        self._shape = (mask_size, mask_size)

    def of(self, index: int) -> ImageAnnotation:
        """Returns the class of image `index`; there are no planes."""
        planes = np.empty((0, *self._shape), dtype=np.int32)
        return ImageAnnotation(self._shape, planes, (int(self._classes[index]) + 1,))

    def fingerprint(self) -> str:
        """Hash of names, classes and size."""
        names = [label.name for label in self.labels]
        return fingerprint(["classes", names, self._classes.tolist(), self._shape])


class ColourAnnotations(Annotations):
    """The basic colour of each pixel, category "color"; `colours` states the rule.

    Args:
        probe: the images.
        mask_size: side of the plane, onto which an image is squashed by averaging its pixels; None
            names the pixels of the image itself.
    """

    def __init__(self, probe: ProbingSet, mask_size: int | None = None) -> None:
        self.categories = ("color",)
        self.labels = tuple(Label(i + 1, name, "color") for i, name in enumerate(NAMES))
        self._probe, self._mask_size = probe, mask_size

    def of(self, index: int) -> ImageAnnotation:
        """Returns one plane in which every pixel has a colour.

        Raises:
            UnreadableImageError: if the image cannot be decoded.
        """
        image = self._probe.image(index)
        if self._mask_size is not None:
            from PIL.Image import Resampling

            image = image.resize((self._mask_size, self._mask_size), Resampling.BOX)
        plane = name_colours(np.asarray(image)).astype(np.int32) + 1
        return ImageAnnotation(plane.shape, plane[None])

    def fingerprint(self) -> str:
        """Hash of the rule, the size and the images."""
        return fingerprint(["colours", COLOURS, self._mask_size, self._probe.fingerprint()])


def merge(members: Sequence[Annotations]) -> Annotations:
    """Joins several annotations of the same images; equal (category, name) become one label.

    Label planes of one image must agree in shape; labels of the whole image take it over.

    Raises:
        ValueError: if there is nothing to merge.
    """
    if not members:
        raise ValueError("no annotations to merge")
    return members[0] if len(members) == 1 else _Merged(members)


class Numbering:
    """One numbering for the labels of several annotations, in the order of first appearance.

    Two labels are the same if name and category are. Where one annotation has several labels of the
    same name and category (ImageNet has two cranes) they stay apart, first to first, second to second.

    Attributes:
        categories: all categories.
        labels: all labels.
        tables: for each annotation, int32 [its labels + 1] from its numbers to the common ones.
    """

    def __init__(self, members: Sequence[Annotations]) -> None:
        self.categories = tuple(dict.fromkeys(c for member in members for c in member.categories))
        numbers: dict[tuple[str, str, int], int] = {}
        self.tables: list[NDArray[np.int32]] = []
        for member in members:
            seen: dict[tuple[str, str], int] = {}
            table = np.zeros(len(member.labels) + 1, dtype=np.int32)
            for label in member.labels:
                pair = (label.name, label.category)
                seen[pair] = seen.get(pair, 0) + 1
                table[label.number] = numbers.setdefault((*pair, seen[pair]), len(numbers) + 1)
            self.tables.append(table)
        self.labels = tuple(Label(n, name, category) for (name, category, _), n in numbers.items())

    def translate(self, member: int, annotation: ImageAnnotation) -> ImageAnnotation:
        """Returns an annotation of `member` in the common numbers."""
        table = self.tables[member]
        whole = tuple(int(table[number]) for number in annotation.whole)
        return ImageAnnotation(annotation.shape, table[annotation.planes], whole)


class _Merged(Annotations):
    def __init__(self, members: Sequence[Annotations]) -> None:
        self._members, self._numbering = tuple(members), Numbering(members)
        self.categories, self.labels = self._numbering.categories, self._numbering.labels

    def of(self, index: int) -> ImageAnnotation:
        """Returns the planes and whole-image labels of all members.

        Raises:
            ValueError: if planes of different shapes meet.
        """
        parts = [self._numbering.translate(k, m.of(index)) for k, m in enumerate(self._members)]
        shapes = {part.shape for part in parts if len(part.planes)} or {parts[0].shape}
        if len(shapes) > 1:
            raise ValueError(f"label planes of image {index} differ in shape: {sorted(shapes)}")
        planes = [part.planes for part in parts if len(part.planes)]
        shape = shapes.pop()
        return ImageAnnotation(
            shape,
            np.concatenate(planes) if planes else np.empty((0, *shape), dtype=np.int32),
            tuple(number for part in parts for number in part.whole),
        )

    def fingerprint(self) -> str:
        return fingerprint(["merged", [member.fingerprint() for member in self._members]])
