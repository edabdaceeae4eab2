"""Annotations made from class labels and pixel colours, and merging of several annotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import InputError, one_of
from ..harness.files import fingerprint
from .colours import COLOURS, NAMES, name_colours
from .probing_set import Annotations, ImageAnnotation, Label, ProbingSet

Kind = Literal["classes", "colours"]

MASK_SIZE = 112
"""Default side of a label plane: Broden's, whose planes are half as large as its 224-pixel images."""


def annotate(
    probe: ProbingSet, kinds: Kind | Sequence[Kind] | None, mask_size: int | None = None
) -> Annotations | None:
    """Makes annotations from class labels, pixel colours, or both.

    Args:
        probe: the images.
        kinds: "classes", "colours", both in a list, or None for no annotations.
        mask_size: side of the square label planes; the image is squashed to a square. By default,
            colours are named at the image's own resolution, and classes alone use `MASK_SIZE`.

    Raises:
        InputError: if a kind is unknown, the images have no classes, or `mask_size` is not a positive
            integer.
    """
    if kinds is None:
        return None
    if mask_size is not None and (not isinstance(mask_size, int) or mask_size < 1):
        raise InputError(f"mask_size must be a positive integer or null, got {mask_size!r}")
    members: list[Annotations] = []
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if one_of("annotations", kind, ("classes", "colours")) == "colours":
            members.append(ColourAnnotations(probe, mask_size))
        elif probe.classes is None or probe.labels is None:
            raise InputError(f"annotations: {probe.name} has no class labels", 'remove "classes" from it')
        else:
            members.append(ClassAnnotations(probe.classes, probe.labels, mask_size or MASK_SIZE))
    return merge(members)


class ClassAnnotations(Annotations):
    """The class of each image as a label of the whole image, in the category "class".

    Args:
        classes: names of the classes; label i + 1 is class i.
        labels: int64 [images], class of each image.
        mask_size: side of the label planes; a label of the whole image covers mask_size ** 2 pixels.
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
        """Hash of names, classes and plane size."""
        names = [label.name for label in self.labels]
        return fingerprint(["classes", names, self._classes.tolist(), self._shape])


class ColourAnnotations(Annotations):
    """The basic colour of each pixel, in the category "color"; `colours` defines the rule.

    Args:
        probe: the images.
        mask_size: side of the plane; the image is squashed to a square by averaging its pixels. None
            names the pixels of the image itself.
    """

    def __init__(self, probe: ProbingSet, mask_size: int | None = None) -> None:
        # "color" is the name of Broden's category: both merge in a union.
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

            # BOX is the plain average of the pixels; bicubic filters overshoot at edges.
            image = image.resize((self._mask_size, self._mask_size), Resampling.BOX)
        plane = name_colours(np.asarray(image)).astype(np.int32) + 1
        return ImageAnnotation(plane.shape, plane[None])

    def fingerprint(self) -> str:
        """Hash of the colour rule, the plane size and the images."""
        return fingerprint(["colours", COLOURS, self._mask_size, self._probe.fingerprint()])


def merge(members: Sequence[Annotations]) -> Annotations:
    """Joins several annotations of the same images; equal (category, name) become one label.

    All label planes of an image must have one shape. Labels of the whole image then cover that shape.

    Raises:
        ValueError: if there is nothing to merge.
    """
    if not members:
        raise ValueError("no annotations to merge")
    return members[0] if len(members) == 1 else _Merged(members)


class Numbering:
    """One numbering for the labels of several annotations, in the order of first appearance.

    Two labels are the same if both name and category are equal. If one annotation has several labels
    with the same name and category (ImageNet has two classes "crane"), they stay separate: its first
    is joined with the first of the others, its second with the second.

    Attributes:
        categories: all categories.
        labels: all labels.
        tables: for each annotation, int32 [its labels + 1]: from its numbers to the common ones.
    """

    def __init__(self, members: Sequence[Annotations]) -> None:
        self.categories = tuple(dict.fromkeys(c for member in members for c in member.categories))
        numbers: dict[tuple[str, str, int], int] = {}
        self.tables: list[NDArray[np.int32]] = []
        for member in members:
            occurrences: dict[tuple[str, str], int] = {}
            table = np.zeros(len(member.labels) + 1, dtype=np.int32)
            for label in member.labels:
                key = (label.name, label.category)
                occurrences[key] = occurrences.get(key, 0) + 1
                table[label.number] = numbers.setdefault((*key, occurrences[key]), len(numbers) + 1)
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
            ValueError: if planes have different shapes.
        """
        parts = [self._numbering.translate(k, m.of(index)) for k, m in enumerate(self._members)]
        # Labels of the whole image adapt to any shape, so members without planes need not agree.
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
