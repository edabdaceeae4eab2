"""The labels of images as maps of patterns.

Several label planes overlap in one image. A pattern is a combination of labels that occurs at some
pixel of an image; most images have a few hundred. Counting the mask pixels of each pattern once yields
the count of every label, with or without the pixels that carry a label twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..datasets.probing import ImageAnnotation

NONE = -1  # fills the places of a pattern that carry no label


class UnlistedLabelError(ValueError):
    """A label number that the annotations do not list; `image` is its position among those given."""

    def __init__(self, image: int, number: int, base: int) -> None:
        super().__init__(
            f"label number {number} is not in the list of labels, which ends with {base - 1}"
        )
        self.image = image


@dataclass(frozen=True)
class LabelPatterns:
    """The patterns of several images, inside a window of their label planes, image after image.

    Attributes:
        index: int32 [images, pixels] pattern of each pixel, row-major.
        labels: int64 [patterns, places] label of each plane, then the whole-image labels; `NONE`
            where there is none.
        area: int64 [patterns] number of pixels.
        image: int64 [patterns] which image the pattern belongs to; the same combination in two images
            is two patterns.
        first: int64 [images] first pattern of each image.
        most: the largest number of patterns in one image.
    """

    index: NDArray[np.int32]
    labels: NDArray[np.int64]
    area: NDArray[np.int64]
    image: NDArray[np.int64]
    first: NDArray[np.int64]
    most: int


def label_patterns(
    annotations: Sequence[ImageAnnotation],
    window: tuple[slice, slice],
    base: int,
    *,
    count_label_zero: bool = False,
) -> LabelPatterns:
    """Finds the patterns of images whose label planes have one shape.

    Args:
        annotations: labels of each image.
        window: rows and columns of the label planes to look at.
        base: label numbers lie below it.
        count_label_zero: keep the whole-image label 0, which stands for a label that was filtered
            out of the data set. The original codes count it; it means nothing.

    Raises:
        UnlistedLabelError: if a label number lies outside 0 ... base - 1.
    """
    planes = _stacked(annotations, window)
    places, images, pixels = planes.shape
    # Labels hardly change from a pixel to the next: look only at the first pixel of each run.
    starts = _runs(planes)
    lengths = np.append(starts[1:], images * pixels)[: len(starts)] - starts
    labels = planes.reshape(places, images * pixels).take(starts, axis=1).astype(np.int64)
    image = starts // max(1, pixels)
    _check(labels, image, base)
    known, index = _distinct(image, images, labels, base)
    whole = _whole(annotations, base, count_label_zero)
    table = np.concatenate([labels.take(known, axis=1).T, whole[image[known]]], axis=1)
    table[:, :places][table[:, :places] == 0] = NONE
    area = np.bincount(index, weights=lengths, minlength=len(known)).astype(np.int64)
    first = np.searchsorted(image[known], np.arange(images))
    most = int(np.diff(first, append=len(known)).max())
    pattern = np.repeat(index.astype(np.int32), lengths).reshape(images, pixels)
    return LabelPatterns(pattern, table, area, image[known], first, most)


def _stacked(annotations: Sequence[ImageAnnotation], window: tuple[slice, slice]) -> NDArray[np.int32]:
    """Returns int32 [planes, images, pixels], filled up with empty planes."""
    views = [annotation.planes[:, window[0], window[1]] for annotation in annotations]
    places = max(1, *(len(view) for view in views))
    stacked = np.zeros((places, len(views), views[0].shape[1] * views[0].shape[2]), np.int32)
    for image, view in enumerate(views):
        stacked[: len(view), image] = view.reshape(len(view), stacked.shape[2])
    return stacked


def _runs(planes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Returns where, among all pixels of all images, runs of equal labels begin."""
    begins = np.ones(planes.shape[1:], np.bool_)
    np.not_equal(planes[0, :, 1:], planes[0, :, :-1], out=begins[:, 1:])
    for plane in planes[1:]:
        begins[:, 1:] |= plane[:, 1:] != plane[:, :-1]
    return np.flatnonzero(begins)


def _whole(annotations: Sequence[ImageAnnotation], base: int, count_zero: bool) -> NDArray[np.int64]:
    """Returns int64 [images, places]: the whole-image labels, filled up with `NONE`."""
    labels = [[n for n in annotation.whole if n or count_zero] for annotation in annotations]
    places = max(map(len, labels))
    image = np.repeat(np.arange(len(labels)), [len(numbers) for numbers in labels])
    _check(np.array([n for numbers in labels for n in numbers], np.int64), image, base)
    filled = [numbers + [NONE] * (places - len(numbers)) for numbers in labels]
    return np.array(filled, np.int64).reshape(len(labels), places)


def _check(labels: NDArray[np.int64], image: NDArray[np.int64], base: int) -> None:
    """Refuses label numbers out of range; `image` goes with the last axis of `labels`."""
    if labels.size and (labels.min() < 0 or labels.max() >= base):
        wrong = tuple(np.argwhere((labels < 0) | (labels >= base))[0])
        raise UnlistedLabelError(int(image[wrong[-1]]), int(labels[wrong]), base)


def _distinct(
    image: NDArray[np.int64], images: int, labels: NDArray[np.int64], base: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers the distinct columns of image and labels in the order in which they appear.

    Returns:
        Where each occurs first, and the number of each column.
    """
    import pandas as pd  # it numbers by hashing, which is faster than sorting

    code, size = image, images
    for row in labels:
        if size * base >= 2**62:
            code, known = pd.factorize(code)
            size = len(known)
        code, size = code * base + row, size * base
    index, known = pd.factorize(code)
    first = np.empty(len(known), np.int64)
    first[index[::-1]] = np.arange(len(index) - 1, -1, -1)
    return first, index


def repeated(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks, in labels [patterns, places], what the same pattern carries already further left."""
    again = np.zeros(labels.shape, np.bool_)
    for place in range(1, labels.shape[1]):
        again[:, place] = (labels[:, :place] == labels[:, place, None]).any(axis=1)
    return again
