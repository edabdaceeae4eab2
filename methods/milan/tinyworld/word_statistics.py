"""Statistics of the words that pixels show: shares, heights and co-occurrence under masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....datasets.probing_set import Annotations, ProbingSet
from ....datasets.tinyworld.words import CATEGORIES, NUMBER, WORDS

EDGE = len(WORDS) + 1
"""Number of a word without a label: the pixel is next to another object."""

_SIZE = EDGE + 1  # words and EDGE, numbered from 1; 0 means that a pixel shows no word
_OBJECTS = np.array([NUMBER[word] for word in CATEGORIES["object"]])
_PRESENT = 0.05  # a word is present in an image if it covers this share of the pixels under the mask


@dataclass(frozen=True, eq=False)
class WordStatistics:
    """Statistics of the words that pixels show; words are indexed by `words.NUMBER`.

    Attributes:
        shares: float64 [words, words]: share of the pixels that show both words; on the diagonal, the
            share of those that show one word.
        heights: float64 [words]: mean height of a word's pixels, from 0 (bottom) to 1 (top); NaN for a
            word that no pixel shows.
        presence: float64 [words]: share of the images in which at least 5 % of the pixels under the mask
            show the word.
    """

    shares: NDArray[np.float64]
    heights: NDArray[np.float64]
    presence: NDArray[np.float64]

    def share(self, word: int) -> float:
        """Returns the share of the pixels that show a word."""
        return float(self.shares[word, word])

    def share_within(self, word: int, region: int | None = None) -> float:
        """Returns the share of the pixels that show a word among those that show the word `region`.

        None: among all pixels.
        """
        if region is None:
            return self.share(word)
        size = self.shares[region, region]
        return float(self.shares[word, region] / size) if size else 0.0


class ProbingSetWords:
    """The words that each pixel of a tinyworld probing set shows, read once and kept in memory.

    Args:
        probe: the probing set.

    Attributes:
        planes: per image, uint8 [planes, H, W], see `word_planes`.
        overall: statistics of all pixels of all images.
    """

    def __init__(self, probe: ProbingSet) -> None:
        assert probe.annotations is not None
        self.planes = [planes.astype(np.uint8) for planes in word_planes(probe.annotations, len(probe))]
        overall = word_statistics((planes, np.ones(planes.shape[1:])) for planes in self.planes)
        assert overall is not None
        self.overall = overall

    def under(self, images: NDArray[np.int64], masks: NDArray[np.uint8]) -> WordStatistics | None:
        """Returns the statistics of the pixels under masks; None if all masks are empty.

        Args:
            images: int64 [k], indices of images.
            masks: 0 or 1, [k, size, size]; the size is a multiple of the planes' size.
        """
        planes = [self.planes[image] for image in images.tolist()]
        weights = (block_means(mask, plane.shape[1]) for mask, plane in zip(masks, planes, strict=True))
        return word_statistics(zip(planes, weights, strict=True))


def block_means(mask: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """Reduces a square mask to float64 [size, size]: the share of each square of pixels it marks."""
    step = mask.shape[0] // size
    return mask.reshape(size, step, size, step).mean(axis=(1, 3))


def word_planes(annotations: Annotations, images: int) -> Iterable[NDArray[np.int64]]:
    """Yields int64 [planes, H, W] per image: numbers of the words that its pixels show, 0 for none.

    A pixel shows several words (an object, its colour, the scene), one per plane, and none of them twice.
    The scene fills a plane, and edges have a plane of their own.
    """
    number = np.array([0, *(NUMBER[label.name] for label in annotations.labels)], np.int64)
    for index in range(images):
        annotation = annotations.of(index)
        planes = number[annotation.planes]
        filled = [np.full(annotation.shape, number[label]) for label in annotation.whole]
        planes = np.stack([*planes, *filled, _edges(planes, annotation.shape)])
        # A word that an earlier plane shows at the same pixel would be counted twice.
        for depth in range(1, len(planes)):
            planes[depth][(planes[:depth] == planes[depth]).any(axis=0)] = 0
        yield planes


def _edges(planes: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Returns EDGE on both sides of a boundary between objects (or object and background), else 0."""
    objects = np.where(np.isin(planes, _OBJECTS), planes, 0).sum(axis=0).reshape(shape)
    is_edge = np.zeros(shape, np.bool_)
    across, down = objects[:, 1:] != objects[:, :-1], objects[1:] != objects[:-1]
    is_edge[:, 1:] |= across
    is_edge[:, :-1] |= across
    is_edge[1:] |= down
    is_edge[:-1] |= down
    return np.where(is_edge, EDGE, 0)


def word_statistics(
    images: Iterable[tuple[NDArray[np.integer], NDArray[np.floating]]],
) -> WordStatistics | None:
    """Counts the words that images show under their masks.

    Every image with a non-empty mask has the same weight, whatever the size of its mask.

    Args:
        images: per image its planes (see `word_planes`) and a mask float [H, W], the weight of each
            pixel.

    Returns:
        The statistics; None if all masks are empty.
    """
    shares, heights = np.zeros((_SIZE, _SIZE)), np.zeros(_SIZE)
    presence, count = np.zeros(_SIZE), 0
    for planes, mask in images:
        rows, columns = np.nonzero(mask)
        if len(rows) == 0:
            continue
        words, weights = planes[:, rows, columns].astype(np.int64), mask[rows, columns] / mask.sum()
        # One number per pair of words that a pixel shows: a weighted histogram counts all pairs at once.
        pairs = (words[:, None] * _SIZE + words[None]).ravel()
        both = np.bincount(pairs, np.tile(weights, len(words) ** 2), _SIZE**2).reshape(_SIZE, _SIZE)
        height = np.tile(weights * (1 - (rows + 0.5) / mask.shape[0]), len(words))
        heights += np.bincount(words.ravel(), height, _SIZE)
        shares, presence, count = shares + both, presence + (both.diagonal() >= _PRESENT), count + 1
    if count == 0:
        return None
    shares[0], shares[:, 0], presence[0] = 0, 0, 0  # number 0 is not a word
    with np.errstate(divide="ignore", invalid="ignore"):
        heights = np.where(shares.diagonal() > 0, heights / shares.diagonal(), np.nan)
    return WordStatistics(shares / count, heights, presence / count)
