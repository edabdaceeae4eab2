"""Defines the layer that methods describe: its activations over a probing set, and its target."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..datasets.probing_set import ProbingSet
from .cache import Cache
from .files import fingerprint
from .records import UnitId

if TYPE_CHECKING:
    from PIL.Image import Image

Kind = Literal["spatial", "tokens", "vector"]
QuantileRule = Literal["linear", "kth"]


@dataclass(frozen=True)
class Exemplars:
    """The images with the highest values of a unit, in descending order, ties by image index.

    Attributes:
        indices: int64 [k] image indices into the layer's probing set.
        values: float32 [k].
        dead: whether the unit's value is constant over the probing set.
    """

    indices: NDArray[np.int64]
    values: NDArray[np.float32]
    dead: bool


def strongest_images(values: NDArray[np.float32], k: int) -> Exemplars:
    """Returns the (at most) `k` images with the highest values of a unit, from its values [images]."""
    # Negated and stable, so that equal values are in ascending order of image index.
    order = np.argsort(-values, kind="stable")[:k]
    return Exemplars(order.astype(np.int64), values[order], bool(values.max() == values.min()))


@dataclass(frozen=True)
class MapBatch:
    """Feature maps of a batch of images.

    Attributes:
        indices: int64 [b] image indices.
        maps: float32 [b, units, h, w]; h = w = 1 for vector layers.
    """

    indices: NDArray[np.int64]
    maps: NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """The part of an image that the preprocessing shows to the target, covered exactly by the maps.

    In fractions of the image's width and height; (0, 0, 1, 1) is the whole image.
    """

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0


class ProbedLayer(ABC):
    """One layer and its activations over a probing set.

    Attributes:
        target: name of the target.
        name: dotted path of the layer.
        kind: "spatial", "tokens" or "vector".
        n_units: number of units.
        map_shape: (h, w) of the feature maps; (1, 1) for vector layers.
        pool: pooling of a map to a value, "mean" or "max".
        values: float32 [images, units], possibly memory-mapped.
        maxima: float32 [images, units], the spatial maximum of each map.
        probe: the images of the rows of `values`, with annotations if there are any.
        fingerprint: hash of everything the activations depend on: weights, layer, preprocessing, images.
        cache: for results that a method derives from this layer or its images.
        maps_at_once: largest number of images in a `MapBatch`.
    """

    target: str
    name: str
    kind: Kind
    n_units: int
    map_shape: tuple[int, int]
    pool: Literal["mean", "max"]
    values: NDArray[np.float32]
    maxima: NDArray[np.float32]
    probe: ProbingSet
    fingerprint: str
    cache: Cache
    maps_at_once: int = 64

    @property
    def shown_with(self) -> Hashable:
        """Identifies target and images: maps of layers with equal values are read in one pass."""
        return id(self.probe)

    def unit(self, index: int) -> UnitId:
        """Returns the identifier of unit `index` (0-based) in records."""
        return UnitId(self.target, self.name, int(index))

    @cached_property
    def dead(self) -> NDArray[np.bool_]:
        """Dead units, bool [units]: those whose value is constant over the probing set."""
        return np.asarray(self.values.max(axis=0) == self.values.min(axis=0))

    def exemplars(self, unit: int, k: int) -> Exemplars:
        """Returns the (at most) `k` images with the highest values of `unit`."""
        return strongest_images(np.asarray(self.values[:, unit]), k)

    @abstractmethod
    def threshold(self, q: float, rule: QuantileRule = "linear") -> NDArray[np.float64]:
        """Returns float64 [units]: the value exceeded by the fraction `q` of all positions.

        Exact, over all positions of all images, on the maps at their own resolution.
        `linear`: the quantile 1 - q with linear interpolation between order statistics;
        `kth`: the (floor(q * M) + 1)-th largest of the M values.

        Raises:
            InputError: if q is outside (0, 1], or needs more values than were stored.
        """

    @abstractmethod
    def maps(self, images: Sequence[int] | None = None) -> Iterator[MapBatch]:
        """Yields the feature maps of all images, or of `images` in the given order, in batches."""

    @abstractmethod
    def respond(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Returns float32 [n, units]: the pooled response of the target to new images."""

    @abstractmethod
    def region(self, index: int) -> Region:
        """Returns the part of image `index` that was shown to the target."""


def upper_quantile(
    tail: NDArray[np.floating], total: int, q: float, rule: QuantileRule = "linear"
) -> NDArray[np.float64]:
    """Returns exact upper quantiles, computed from the largest values only.

    Args:
        tail: [k, units], the k largest of `total` values of each unit, in descending order.
        total: number of values per unit, M.
        q: upper fraction, 0 < q <= 1.
        rule: see `ProbedLayer.threshold`.

    Returns:
        float64 [units].

    Raises:
        ValueError: if the tail is too short for `q` (see `tail_length`).
    """
    if not 0 < q <= 1:
        raise ValueError(f"q must be in (0, 1], got {q}")
    if tail.shape[0] < tail_length(total, q):
        raise ValueError(f"the {tail.shape[0]} largest of {total} values are too few for q={q}")
    if rule == "kth":
        # Row r is the (r + 1)-th largest. For q = 1 there is no (M + 1)-th: the smallest value is used.
        return tail[min(int(np.floor(q * total)), total - 1)].astype(np.float64)
    position = q * (total - 1)  # counted from the largest value, as numpy.quantile counts upwards
    below = min(int(np.floor(position)), total - 1)
    weight = position - below
    # In float64, as np.quantile computes it: the interpolated value has more digits than float32.
    upper = tail[below].astype(np.float64)
    if weight == 0 or below + 1 >= total:
        return upper
    return upper + weight * (tail[below + 1].astype(np.float64) - upper)


def tail_length(total: int, q: float) -> int:
    """Returns how many of the `total` values, from the largest, the upper quantile `q` needs."""
    # `kth` reads row floor(q * total), `linear` that row at most and the one after it.
    return min(total, int(np.floor(q * total)) + 2)


class ArrayLayer(ProbedLayer):
    """A layer with all maps in memory, for activations that were computed elsewhere.

    Args:
        maps: float32 [images, units, h, w], or [images, units] for a vector layer.
        probe: the images of the maps, in the same order.
        cache: for results that methods derive.
        target: name of the target.
        name: name of the layer.
        pool: "mean" or "max".
    """

    def __init__(
        self,
        maps: NDArray[np.float32],
        probe: ProbingSet,
        cache: Cache,
        *,
        target: str = "arrays",
        name: str = "layer",
        pool: Literal["mean", "max"] = "mean",
    ) -> None:
        if maps.ndim not in (2, 4):
            raise ValueError(f"maps must be [images, units] or [images, units, h, w]: {maps.shape}")
        if len(maps) != len(probe):
            raise ValueError(f"{len(maps)} maps for {len(probe)} images")
        self._maps = maps.reshape(*maps.shape[:2], 1, 1) if maps.ndim == 2 else maps
        self.kind = "vector" if maps.ndim == 2 else "spatial"
        self.target, self.name, self.pool, self.probe, self.cache = target, name, pool, probe, cache
        self.n_units = maps.shape[1]
        self.map_shape = (self._maps.shape[2], self._maps.shape[3])
        self.maxima = self._maps.max(axis=(2, 3))
        self.values = self._maps.mean(axis=(2, 3)) if pool == "mean" else self.maxima
        digest = hashlib.sha256(self._maps.tobytes()).hexdigest()
        self.fingerprint = fingerprint([digest, pool, probe.fingerprint()])

    def threshold(self, q: float, rule: QuantileRule = "linear") -> NDArray[np.float64]:
        """See `ProbedLayer.threshold`."""
        values = self._maps.transpose(0, 2, 3, 1).reshape(-1, self.n_units)
        return upper_quantile(-np.sort(-values, axis=0), len(values), q, rule)

    def maps(self, images: Sequence[int] | None = None) -> Iterator[MapBatch]:
        """See `ProbedLayer.maps`."""
        indices = np.arange(len(self._maps)) if images is None else np.asarray(images, np.int64)
        for start in range(0, len(indices), self.maps_at_once):
            chosen = indices[start : start + self.maps_at_once]
            yield MapBatch(chosen.astype(np.int64), self._maps[chosen])

    def respond(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Raises NotImplementedError: there is no target."""
        raise NotImplementedError("a layer made of arrays has no target that could respond to images")

    def region(self, index: int) -> Region:  # noqa: ARG002
        """Returns the whole image."""
        return Region()
