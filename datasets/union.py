"""Joins several probing sets into one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import InputError
from ..harness.files import fingerprint
from .annotations import MASK_SIZE, Numbering
from .probing_set import Annotations, ImageAnnotation, ProbingSet

if TYPE_CHECKING:
    from PIL.Image import Image


class Union(ProbingSet):
    """The images of several probing sets, one set after the other.

    Annotations are joined by (name, category); images of a set without annotations are unlabelled.
    Classes are joined by name, but only if every set has them.

    Args:
        sets: the sets; the keys of a mapping are only used for overrides (`probe.sets.broden.root`).
        name: name of the union; default: the names of the sets, joined by "+".

    Raises:
        InputError: if there is no set.
    """

    def __init__(
        self, sets: Mapping[str, ProbingSet] | Sequence[ProbingSet], name: str | None = None
    ) -> None:
        self.sets = tuple(sets.values() if isinstance(sets, Mapping) else sets)
        if not self.sets:
            raise InputError("a union of probing sets needs at least one set")
        self.name = name or "+".join(member.name for member in self.sets)
        self._ends = list(accumulate(len(member) for member in self.sets))
        self.classes, self.labels = _joined_classes(self.sets)
        if any(member.annotations is not None for member in self.sets):
            self.annotations = _Chained([member.annotations for member in self.sets], self._ends)

    def __len__(self) -> int:
        return self._ends[-1]

    def image(self, index: int) -> Image:
        """Returns image `index` as RGB.

        Raises:
            UnreadableImageError: if it cannot be decoded; names the file.
        """
        member, at = _find(self._ends, index)
        return self.sets[member].image(at)

    def locate(self, index: int) -> str:
        """Returns the path of image `index`."""
        member, at = _find(self._ends, index)
        return self.sets[member].locate(at)

    def fingerprint(self) -> str:
        """Hash of the fingerprints of the sets."""
        return fingerprint(["union", [member.fingerprint() for member in self.sets]])


def _find(ends: Sequence[int], index: int) -> tuple[int, int]:
    """Returns the set that contains image `index`, and the index of the image in that set."""
    # Negative indices would wrap around within the last set without an error.
    if not 0 <= index < ends[-1]:
        raise IndexError(f"image {index} of {ends[-1]}")
    member = bisect_right(ends, index)
    return member, index - (ends[member - 1] if member else 0)


def _joined_classes(
    sets: Sequence[ProbingSet],
) -> tuple[tuple[str, ...] | None, NDArray[np.int64] | None]:
    pairs = [(s.classes, s.labels) for s in sets if s.classes is not None and s.labels is not None]
    if len(pairs) < len(sets):
        return None, None
    # Equal lists are kept as they are: two classes may share a name, which joining by name would merge.
    if all(classes == pairs[0][0] for classes, _ in pairs):
        return pairs[0][0], np.concatenate([labels for _, labels in pairs])
    names = {name: None for classes, _ in pairs for name in classes}
    numbers = {name: number for number, name in enumerate(names)}
    tables = [np.array([numbers[name] for name in classes], dtype=np.int64) for classes, _ in pairs]
    joined = [table[labels] for table, (_, labels) in zip(tables, pairs, strict=True)]
    return tuple(names), np.concatenate(joined)


class _Chained(Annotations):
    """The annotations of one set after the other; None for a set without any."""

    def __init__(self, members: Sequence[Annotations | None], ends: Sequence[int]) -> None:
        self._members, self._ends = tuple(members), tuple(ends)
        self._numbering = Numbering([member for member in members if member is not None])
        # Number of annotated sets before each set: its position in the numbering.
        self._positions = list(accumulate((m is not None for m in members), initial=0))
        self.categories, self.labels = self._numbering.categories, self._numbering.labels

    def of(self, index: int) -> ImageAnnotation:
        """Returns the annotation of image `index` in the common numbers."""
        k, at = _find(self._ends, index)
        member = self._members[k]
        if member is None:
            shape = (MASK_SIZE, MASK_SIZE)
            return ImageAnnotation(shape, np.empty((0, *shape), dtype=np.int32))
        return self._numbering.translate(self._positions[k], member.of(at))

    def fingerprint(self) -> str:
        return fingerprint(["chained", [m and m.fingerprint() for m in self._members], self._ends])
