"""A stored layer, with its target for recomputation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import ProbingSet, Subset
from ..cache import Cache
from ..devices import full_precision
from ..errors import InputError
from ..files import fingerprint
from ..fixed_blocks import fill
from ..probe import Exemplars, MapBatch, ProbedLayer, QuantileRule, Region, tail_length, upper_quantile
from .batches import block_size, load
from .store import MANIFEST, MAPS, Manifest

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from ..targets.layers import Taps
    from .settings import ActivationSettings, Pool
    from .store import LayerRequest

# Units whose values are read from the disk at once: the file is stored image by image, so the values of
# one unit are spread over all its pages, each of which also holds the values of its neighbours.
_COLUMNS = 32


class StoredLayer(ProbedLayer):
    """A complete layer of the store; made by `probe_layers`.

    Args:
        request: the layer and its folder. Maps are read from the disk, as float16, only if the request
            says so: maps that another run has kept do not change the results of this one.
        taps: reads this layer alone.
        probe: all images of the pass.
        settings: how values are pooled, and images are loaded for recomputation.
        cache: for arrays that methods derive.

    Attributes:
        skipped: (path, reason) of each image that could not be read; `probe` has the others.
        manifest: what is stored of the layer.
    """

    def __init__(
        self,
        request: LayerRequest,
        taps: Taps,
        probe: ProbingSet,
        settings: ActivationSettings,
        cache: Cache,
    ) -> None:
        info = request.info
        self.target, self.name, self.kind = taps.target.name, info.name, info.kind
        self.n_units, self.map_shape = info.n_units, info.map_shape
        self.pool: Pool = settings.pool
        self.cache = cache
        self.manifest = Manifest.read(request.folder / MANIFEST)
        self.skipped = tuple((image.path, image.reason) for image in self.manifest.skipped)
        left_out = {image.index for image in self.manifest.skipped}
        kept = [index for index in range(len(probe)) if index not in left_out]
        self.probe = Subset(probe, kept) if left_out else probe
        self._half = request.maps == self.manifest.maps == "kept"
        depends_on = [request.key, sorted(left_out), self.pool]
        self.fingerprint = fingerprint([*depends_on, "float16"] if self._half else depends_on)
        self._folder, self._taps = request.folder, taps
        self._block = block_size(taps.target, settings.batch_size)
        self._workers = settings.workers
        self.values: NDArray[np.float32] = self._array(f"{self.pool}.npy")
        self.maxima: NDArray[np.float32] = self._array("max.npy")
        self._columns = lru_cache(maxsize=2)(self._read_columns)

    def _array(self, name: str) -> NDArray:
        return np.load(self._folder / name, mmap_mode="r", allow_pickle=False)

    def _read_columns(self, group: int) -> NDArray[np.float32]:
        start = group * _COLUMNS
        return np.ascontiguousarray(self.values[:, start : start + _COLUMNS].T)

    def exemplars(self, unit: int, k: int) -> Exemplars:
        """Returns the (at most) `k` images with the highest values; reads several units at once."""
        unit = range(self.n_units)[unit]
        column = self._columns(unit // _COLUMNS)[unit % _COLUMNS]
        k = min(k, len(column))
        if k < 1:
            chosen = np.empty(0, np.int64)
        else:
            # Sorting only the images at or above the k-th largest value breaks ties as sorting all does.
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
                f"layer {self.name}: the threshold for q={q} needs more than the upper "
                f"{self.manifest.quantile_tail:g} of all positions, which were kept",
                f"set activations.quantile_tail={q} or more (this repeats the pass over the images)",
            )
        return upper_quantile(tail.T, total, q, rule)

    def maps(self, images: Sequence[int] | None = None) -> Iterator[MapBatch]:
        """See `ProbedLayer.maps`. Maps read from the disk have the precision of float16.

        Raises:
            IndexError: if an image index is out of range.
        """
        indices = np.arange(len(self.probe)) if images is None else np.asarray(images, np.int64)
        outside = indices[(indices < 0) | (indices >= len(self.probe))]
        if outside.size:
            raise IndexError(f"no image {outside[0]}: there are {len(self.probe)} images")
        starts = range(0, len(indices), self._block)
        batches = [indices[start : start + self._block] for start in starts]
        return self._kept_maps(batches) if self._half else self._computed_maps(batches)

    def _kept_maps(self, batches: list[NDArray[np.int64]]) -> Iterator[MapBatch]:
        stored = self._array(MAPS)
        for indices in batches:
            yield MapBatch(indices, stored[indices].astype(np.float32))

    def _computed_maps(self, batches: list[NDArray[np.int64]]) -> Iterator[MapBatch]:
        lists = [indices.tolist() for indices in batches]
        for block in load(self.probe, self._taps.target, lists, self._block, self._workers):
            if block.skipped:
                raise block.skipped[0].error()
            assert block.inputs is not None  # every image of the block was read
            maps = block.readable(self._forward(block.inputs))
            yield MapBatch(block.indices, maps.cpu().numpy())

    def respond(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """See `ProbedLayer.respond`. The response to an image does not depend on the other images."""
        import torch

        responses = [np.empty((0, self.n_units), np.float32)]
        preprocess = self._taps.target.preprocess
        for start in range(0, len(images), self._block):
            batch = images[start : start + self._block]
            inputs = torch.stack([preprocess(image.convert("RGB")) for image in batch])
            maps = self._forward(fill(inputs, self._block))[: len(batch)]
            responses.append(_pooled(maps, self.pool).cpu().numpy())
        return np.concatenate(responses)

    def _forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the maps of one block; hooks the network for this block only: layers may alternate."""
        with self._taps as taps, full_precision(taps.target.device):
            return taps.read(inputs)[self.name]

    @cached_property
    def _sizes(self) -> NDArray[np.int32]:
        return self._array("sizes.npy")

    def region(self, index: int) -> Region:
        """See `ProbedLayer.region`; measured once per image size."""
        width, height = self._sizes[index].tolist()
        return self._taps.target.region((width, height))


def _pooled(maps: torch.Tensor, pool: Pool) -> torch.Tensor:
    flat = maps.contiguous().flatten(2)
    return flat.mean(2) if pool == "mean" else flat.amax(2)
