"""The labels of an image as a map of patterns.

Several label planes overlap in one image. A pattern is a combination of labels that occurs at some
pixel; an image has a few hundred of them at most places. Counting the mask pixels of each pattern
once yields the count of every label, with or without the pixels that carry a label twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..datasets.probing import ImageAnnotation

NONE = -1  # fills the places of a pattern that carry no label


class UnlistedLabelError(ValueError):
    """A label number that the annotations do not list."""


@dataclass(frozen=True)
class LabelPatterns:
    """The patterns of one image, inside the window that the target saw.

    Attributes:
        index: int32 [H * W] pattern of each pixel, row-major.
        labels: int64 [patterns, places] label of each plane, then the whole-image labels; `NONE`
            where there is none.
        area: int64 [patterns] number of pixels.
    """

    index: NDArray[np.int32]
    labels: NDArray[np.int64]
    area: NDArray[np.int64]


def label_patterns(
    annotation: ImageAnnotation,
    window: tuple[slice, slice],
    base: int,
    *,
    count_label_zero: bool = False,
) -> LabelPatterns:
    """Finds the patterns of an image.

    Args:
        annotation: its labels.
        window: rows and columns of the label planes to look at.
        base: label numbers lie below it.
        count_label_zero: keep the whole-image label 0, which stands for a label that was filtered
            out of the data set. The original codes count it; it means nothing.

    Raises:
        UnlistedLabelError: if a label number lies outside 0 ... base - 1.
    """
    planes = annotation.planes[:, window[0], window[1]]
    pixels = planes.shape[1] * planes.shape[2]
    planes = planes.reshape(len(planes), pixels) if len(planes) else np.zeros((1, pixels), np.int32)
    # Labels hardly change from a pixel to the next: look only at the first pixel of each run.
    change = np.ones(pixels, np.bool_)
    np.not_equal(planes[0, 1:], planes[0, :-1], out=change[1:])
    for plane in planes[1:]:
        change[1:] |= plane[1:] != plane[:-1]
    starts = np.flatnonzero(change)
    lengths = np.diff(starts, append=pixels)
    runs = planes.take(starts, axis=1).astype(np.int64)
    whole = np.array([n for n in annotation.whole if n or count_label_zero], np.int64)
    _check(runs, base)
    _check(whole, base)
    first, index = _distinct(runs, base)
    labels = np.full((len(first), len(planes) + len(whole)), NONE, np.int64)
    labels[:, : len(planes)] = runs.take(first, axis=1).T
    labels[labels == 0] = NONE
    labels[:, len(planes) :] = whole
    area = np.bincount(index, weights=lengths, minlength=len(first)).astype(np.int64)
    return LabelPatterns(np.repeat(index.astype(np.int32), lengths), labels, area)


def _check(labels: NDArray[np.int64], base: int) -> None:
    if labels.size and (labels.min() < 0 or labels.max() >= base):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UnlistedLabelError(
            f"label number {wrong} is not in the list of labels, which ends at {base - 1}"
        )


def _distinct(columns: NDArray[np.int64], base: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers the distinct columns; returns where each occurs first, and the number of each column."""
    import pandas as pd  # it numbers by hashing, which is faster than sorting

    code, size = columns[0], base
    for row in columns[1:]:
        if size * base >= 2**62:
            code, known = pd.factorize(code)
            size = len(known)
        code, size = code * base + row, size * base
    index, known = pd.factorize(code)
    first = np.empty(len(known), np.int64)
    first[index[::-1]] = np.arange(len(index) - 1, -1, -1)
    return first, index


@dataclass(frozen=True)
class PatternTable:
    """The patterns of several images, numbered through.

    Attributes:
        patterns: those of each image.
        first: int64 [images] number of each image's first pattern.
        image: int64 [patterns] the image of each pattern.
        labels: int64 [patterns, places], filled up with `NONE`.
        area: int64 [patterns] number of pixels.
    """

    patterns: Sequence[LabelPatterns]
    first: NDArray[np.int64]
    image: NDArray[np.int64]
    labels: NDArray[np.int64]
    area: NDArray[np.int64]


def pattern_table(patterns: Sequence[LabelPatterns]) -> PatternTable:
    """Puts the patterns of several images under one numbering."""
    sizes = np.array([len(one.area) for one in patterns])
    labels = np.full((sizes.sum(), max(one.labels.shape[1] for one in patterns)), NONE, np.int64)
    first = np.cumsum(sizes) - sizes
    for start, one in zip(first, patterns, strict=True):
        labels[start : start + len(one.area), : one.labels.shape[1]] = one.labels
    return PatternTable(
        patterns,
        first,
        np.repeat(np.arange(len(patterns)), sizes),
        labels,
        np.concatenate([one.area for one in patterns]),
    )


def repeated(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks, in labels [patterns, places], what the same pattern carries already further left."""
    again = np.zeros(labels.shape, np.bool_)
    for place in range(1, labels.shape[1]):
        again[:, place] = (labels[:, :place] == labels[:, place, None]).any(axis=1)
    return again
