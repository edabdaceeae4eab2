"""What lies under masks: a count of the embedded world's words over pixels, and over pairs of words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....datasets.probing_set import Annotations, ProbingSet
from ....datasets.tinyworld.words import CATEGORIES, NUMBER, WORDS

EDGE = len(WORDS) + 1
"""Number of what no label says: another object begins beside this pixel."""

_SIZE = EDGE + 1
_OBJECTS = np.array([NUMBER[word] for word in CATEGORIES["object"]])
_SEEN = 0.05  # share of a picture's pixels that shows a word, for the picture to show it


@dataclass(frozen=True, eq=False)
class Census:
    """What pixels show, by `words.NUMBER`.

    Attributes:
        shares: float64 [words, words]: the share of the pixels that show both words; on the diagonal,
            that of those that show the one.
        heights: float64 [words]: mean height of a word's pixels, from 0 at the bottom to 1 at the top;
            NaN for what is not shown.
        presence: float64 [words]: share of the pictures in which a twentieth of the pixels show it.
    """

    shares: NDArray[np.float64]
    heights: NDArray[np.float64]
    presence: NDArray[np.float64]

    def share(self, word: int) -> float:
        """Returns the share of the pixels that show a word."""
        return float(self.shares[word, word])

    def given(self, word: int, on: int | None = None) -> float:
        """Returns the share of the pixels that show a word, of those that show `on`; None: of all."""
        if on is None:
            return self.share(word)
        return float(self.shares[word, on] / self.shares[on, on]) if self.shares[on, on] else 0.0


class World:
    """A rendered world as planes of words, read once.

    Args:
        probe: a `TinyWorld`.

    Attributes:
        census: of all pixels of all pictures.
    """

    def __init__(self, probe: ProbingSet) -> None:
        assert probe.annotations is not None
        self.planes = [planes.astype(np.uint8) for planes in word_planes(probe.annotations, len(probe))]
        whole = census((planes, np.ones(planes.shape[1:])) for planes in self.planes)
        assert whole is not None
        self.census = whole

    def under(self, images: NDArray[np.int64], masks: NDArray[np.uint8]) -> Census | None:
        """Returns the census under masks; None if all are empty.

        Args:
            images: int64 [k].
            masks: 0 or 1, [k, side, side], the side a multiple of the planes'.
        """
        pictures = [self.planes[image] for image in images.tolist()]
        shares = (coarse(mask, planes.shape[1]) for mask, planes in zip(masks, pictures, strict=True))
        return census(zip(pictures, shares, strict=True))


def coarse(mask: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """Returns float64 [side, side]: the share of each square of pixels that a mask marks."""
    step = mask.shape[0] // side
    return mask.reshape(side, step, side, step).mean(axis=(1, 3))


def word_planes(annotations: Annotations, images: int) -> Iterable[NDArray[np.int64]]:
    """Yields int64 [planes, H, W] of each picture: `words.NUMBER` of what its pixels show, 0 for none.

    A pixel shows a word once. The scene fills a plane, and edges have one of their own.
    """
    number = np.array([0, *(NUMBER[label.name] for label in annotations.labels)], np.int64)
    for index in range(images):
        found = annotations.of(index)
        planes = number[found.planes]
        whole = [np.full(found.shape, number[label]) for label in found.whole]
        planes = np.stack([*planes, *whole, _edges(planes, found.shape)])
        for depth in range(1, len(planes)):
            planes[depth][(planes[:depth] == planes[depth]).any(axis=0)] = 0
        yield planes


def _edges(planes: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int64]:
    thing = np.where(np.isin(planes, _OBJECTS), planes, 0).sum(axis=0).reshape(shape)
    changes = np.zeros(shape, np.bool_)
    across, down = thing[:, 1:] != thing[:, :-1], thing[1:] != thing[:-1]
    changes[:, 1:] |= across
    changes[:, :-1] |= across
    changes[1:] |= down
    changes[:-1] |= down
    return np.where(changes, EDGE, 0)


def census(pictures: Iterable[tuple[NDArray[np.integer], NDArray[np.floating]]]) -> Census | None:
    """Counts what pictures show under their masks.

    Every picture with a mask that is not empty counts the same, however large its mask.

    Args:
        pictures: of each, its planes (see `word_planes`) and a mask float [H, W], the share of each
            pixel that counts.

    Returns:
        The census; None if all masks are empty.
    """
    shares, heights = np.zeros((_SIZE, _SIZE)), np.zeros(_SIZE)
    presence, count = np.zeros(_SIZE), 0
    for planes, mask in pictures:
        rows, columns = np.nonzero(mask)
        if len(rows) == 0:
            continue
        words, weights = planes[:, rows, columns].astype(np.int64), mask[rows, columns] / mask.sum()
        pairs = (words[:, None] * _SIZE + words[None]).ravel()
        both = np.bincount(pairs, np.tile(weights, len(words) ** 2), _SIZE**2).reshape(_SIZE, _SIZE)
        height = np.tile(weights * (1 - (rows + 0.5) / mask.shape[0]), len(words))
        heights += np.bincount(words.ravel(), height, _SIZE)
        shares, presence, count = shares + both, presence + (both.diagonal() >= _SEEN), count + 1
    if count == 0:
        return None
    shares[0], shares[:, 0], presence[0] = 0, 0, 0  # what shows nothing
    with np.errstate(divide="ignore", invalid="ignore"):
        heights = np.where(shares.diagonal() > 0, heights / shares.diagonal(), np.nan)
    return Census(shares / count, heights, presence / count)
