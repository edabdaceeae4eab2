"""A layer whose activations lie in the store, beside the target that can compute more of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import ProbingSet, Subset
from ..cache import Cache
from ..errors import InputError
from ..files import fingerprint
from ..probe import Exemplars, MapBatch, ProbedLayer, QuantileRule, Region, tail_length, upper_quantile
from .batches import block_size, fill, full_precision, load
from .store import MANIFEST, MAPS, Manifest

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from ..targets.layers import Taps
    from ..targets.target import Target
    from .layer_writer import Wanted
    from .settings import Pool
    from .store import Slot

_COLUMNS = 32  # units whose values are read from the disk in one go


@dataclass(frozen=True)
class Source:
    """What shows images to the target again.

    Attributes:
        target: the network.
        batch_size: images at a time on an accelerator.
        workers: processes that decode images.
    """

    target: Target
    batch_size: int = 64
    workers: int = 0

    @property
    def block(self) -> int:
        """Rows of every block that the target is shown."""
        return block_size(self.target, self.batch_size)


class StoredLayer(ProbedLayer):
    """A layer in the store, complete; `probe_layers` makes it.

    Args:
        slot: where it lies.
        taps: reads this layer alone.
        probe: all the images of the pass.
        source: shows images to the target again.
        cache: for what methods derive.
        pool: which pooled values `values` are.
        wanted: what was asked for: maps are read from the disk, as float16, only if that was. What
            another run has left there changes nothing for one that did not ask.

    Attributes:
        skipped: (path, reason) of each image that could not be read; `probe` holds the others.
        manifest: what is stored of the layer.
    """

    def __init__(
        self,
        slot: Slot,
        taps: Taps,
        probe: ProbingSet,
        source: Source,
        cache: Cache,
        pool: Pool,
        wanted: Wanted,
    ) -> None:
        (info,) = taps.info.values()
        self.target, self.name = source.target.name, info.name
        self.kind, self.n_units, self.map_shape = info.kind, info.n_units, info.map_shape
        self.pool: Pool = pool
        self.manifest, self.cache = (manifest := Manifest.read(slot.folder / MANIFEST)), cache
        self.skipped = tuple((image.path, image.reason) for image in manifest.skipped)
        left_out = {image.index for image in manifest.skipped}
        kept = [index for index in range(len(probe)) if index not in left_out]
        self.probe = Subset(probe, kept) if left_out else probe
        self._half = wanted.maps == manifest.maps == "kept"
        depends = [slot.key, sorted(left_out), pool]
        self.fingerprint = fingerprint([*depends, "float16"] if self._half else depends)
        self._folder, self._taps, self._source = slot.folder, taps, source
        self.values: NDArray[np.float32] = self._array(f"{pool}.npy")
        self.maxima: NDArray[np.float32] = self._array("max.npy")
        self._columns = lru_cache(maxsize=2)(self._read_columns)

    def _array(self, name: str) -> NDArray:
        return np.load(self._folder / name, mmap_mode="r", allow_pickle=False)

    def _read_columns(self, block: int) -> NDArray[np.float32]:
        start = block * _COLUMNS
        return np.ascontiguousarray(self.values[:, start : start + _COLUMNS].T)

    def exemplars(self, unit: int, k: int) -> Exemplars:
        """Returns the (at most) `k` images with the highest values; reads several units at a time."""
        unit = range(self.n_units)[unit]
        column = self._columns(unit // _COLUMNS)[unit % _COLUMNS]
        k = min(k, len(column))
        if k < 1:
            chosen = np.empty(0, np.int64)
        else:
            least = np.partition(column, len(column) - k)[len(column) - k]
            candidates = np.flatnonzero(column >= least)
            chosen = candidates[np.argsort(-column[candidates], kind="stable")[:k]]
        return Exemplars(chosen, column[chosen], bool(self.dead[unit]))

    def threshold(self, q: float, rule: QuantileRule = "linear") -> NDArray[np.float64]:
        """See `ProbedLayer.threshold`."""
        if not 0 < q <= 1:
            raise InputError(f"the quantile q={q} is not in (0, 1]")
        tail = self._array("tail.npy")
        total = len(self.values) * self.map_shape[0] * self.map_shape[1]
        if tail_length(total, q) > tail.shape[1]:
            raise InputError(
                f"layer {self.name}: the threshold for q={q} lies beyond the upper "
                f"{self.manifest.tail:g} of all positions that were kept",
                f"set activations.quantile_tail={q} or more (the images are then shown once more)",
            )
        return upper_quantile(tail.T, total, q, rule)

    def maps(self, images: Sequence[int] | None = None) -> Iterator[MapBatch]:
        """See `ProbedLayer.maps`. Maps read from the disk have the precision of float16.

        Raises:
            IndexError: if there is no such image.
        """
        wanted = np.arange(len(self.probe)) if images is None else np.asarray(images, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self.probe)):
            raise IndexError(f"image {wanted.max()} (or below 0) of {len(self.probe)} images")
        size = self._source.block
        blocks = [wanted[start : start + size] for start in range(0, len(wanted), size)]
        return self._kept_maps(blocks) if self._half else self._computed_maps(blocks)

    def _kept_maps(self, blocks: list[NDArray[np.int64]]) -> Iterator[MapBatch]:
        stored = self._array(MAPS)
        for indices in blocks:
            yield MapBatch(indices, stored[indices].astype(np.float32))

    def _computed_maps(self, blocks: list[NDArray[np.int64]]) -> Iterator[MapBatch]:
        batches = [block.tolist() for block in blocks]
        source = self._source
        for block in load(self.probe, source.target, batches, source.block, source.workers):
            if block.skipped:
                raise block.skipped[0].error()
            assert block.pictures is not None  # every image of the block was read
            maps = block.own(self._show(block.pictures))
            yield MapBatch(block.indices, maps.cpu().numpy())

    def respond(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """See `ProbedLayer.respond`. The answer for an image does not depend on the others."""
        found = [np.empty((0, self.n_units), np.float32)]
        size, preprocess = self._source.block, self._source.target.preprocess
        for start in range(0, len(images), size):
            pictures = [preprocess(image.convert("RGB")) for image in images[start : start + size]]
            maps = self._show(fill(pictures, range(len(pictures)), size))[: len(pictures)]
            found.append(_pooled(maps, self.pool).cpu().numpy())
        return np.concatenate(found)

    def _show(self, pictures: torch.Tensor) -> torch.Tensor:
        """Shows one block; hooks the network for this long only, so that layers may take turns."""
        with self._taps as taps, full_precision(self._source.target.device):
            return taps.read(pictures)[self.name]

    @cached_property
    def _sizes(self) -> NDArray[np.int32]:
        return self._array("sizes.npy")

    def region(self, index: int) -> Region:
        """See `ProbedLayer.region`; measured once per image size."""
        width, height = self._sizes[index].tolist()
        return self._source.target.region((width, height))


def _pooled(maps: torch.Tensor, pool: Pool) -> torch.Tensor:
    flat = maps.contiguous().flatten(2)
    return flat.mean(2) if pool == "mean" else flat.amax(2)
