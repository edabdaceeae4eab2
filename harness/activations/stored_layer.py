"""Defines a layer of the activation store, with its target for recomputing maps."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import ProbingSet, Subset
from ..cache import Cache
from ..errors import InputError
from ..files import fingerprint
from ..fixed_batches import fill
from ..probe import Exemplars, MapBatch, ProbedLayer, QuantileRule, Region, tail_length, upper_quantile
from .batches import block_size
from .recomputation import Recomputation
from .store import MANIFEST, MAPS, Manifest

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from ..targets.layers import Taps
    from .settings import ActivationSettings, Pool
    from .store import LayerRequest

# Units whose values are read from disk together: the file is stored image by image, so the values of one
# unit are spread over all pages of the file, and each page also contains those of the neighbouring units.
_COLUMNS = 32


class StoredLayer(ProbedLayer):
    """A complete layer of the store; made by `probe_layers`.

    Args:
        request: the layer and its folder. Stored maps (float16) are used only if the request asks for
            them: maps that another run has kept do not change the results of this one.
        taps: reads all layers of the pass.
        probe: all images of the pass.
        settings: pooling of maps, and loading of images for recomputation.
        cache: for arrays that methods derive.

    Attributes:
        skipped: (path, reason) of each image that could not be read; `probe` contains the others.
        manifest: describes the stored files.
        recomputed: whether maps are computed again when they are needed. Others are read from the disk:
            maps that were kept, and maps of one cell, which are their own maxima.
        recomputation: computes maps, also those of the other layers of the pass.
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
        skipped = {image.index for image in self.manifest.skipped}
        readable = [index for index in range(len(probe)) if index not in skipped]
        self.probe = Subset(probe, readable) if skipped else probe
        self._half = request.maps == self.manifest.maps == "kept"
        depends_on = [request.key, sorted(skipped), self.pool]
        self.fingerprint = fingerprint([*depends_on, "float16"] if self._half else depends_on)
        self._folder, self._taps = request.folder, taps
        self.maps_at_once = block_size(taps.target, settings.batch_size)
        self.recomputed = not self._half and self.map_shape != (1, 1)
        self.recomputation = Recomputation(taps, self.probe, self.maps_at_once, settings.workers)
        self.values: NDArray[np.float32] = self._array(f"{self.pool}.npy")
        self.maxima: NDArray[np.float32] = self._array("max.npy")
        self._columns = lru_cache(maxsize=2)(self._read_columns)

    def _array(self, name: str) -> NDArray:
        return np.load(self._folder / name, mmap_mode="r", allow_pickle=False)

    def _read_columns(self, group: int) -> NDArray[np.float32]:
        start = group * _COLUMNS
        return np.ascontiguousarray(self.values[:, start : start + _COLUMNS].T)

    def exemplars(self, unit: int, k: int) -> Exemplars:
        """See `ProbedLayer.exemplars`. Reads the values of several units at once."""
        unit = range(self.n_units)[unit]  # resolves negative indices and raises IndexError
        column = self._columns(unit // _COLUMNS)[unit % _COLUMNS]
        k = min(k, len(column))
        if k < 1:
            chosen = np.empty(0, np.int64)
        else:
            # Only the images at or above the k-th largest value are sorted. They include all ties with
            # it, so the stable sort gives the same order as sorting all images.
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
                f"layer {self.name}: the threshold for q={q} needs more values than the stored upper "
                f"{self.manifest.quantile_tail:g} of all positions",
                f"set activations.quantile_tail={q} or more (this repeats the pass over the images)",
            )
        return upper_quantile(tail.T, total, q, rule)

    def maps(self, images: Sequence[int] | None = None) -> Iterator[MapBatch]:
        """See `ProbedLayer.maps`. Stored maps have the precision of float16.

        Raises:
            IndexError: if an image index is out of range.
        """
        indices = np.arange(len(self.probe)) if images is None else np.asarray(images, np.int64)
        outside = indices[(indices < 0) | (indices >= len(self.probe))]
        if outside.size:
            raise IndexError(f"no image {outside[0]}: there are {len(self.probe)} images")
        starts = range(0, len(indices), self.maps_at_once)
        batches = [indices[start : start + self.maps_at_once] for start in starts]
        if self.recomputed:
            maps = self.recomputation.maps([(batch, [self.name]) for batch in batches])
            return (
                MapBatch(batch, of_batch[self.name])
                for batch, of_batch in zip(batches, maps, strict=True)
            )
        return self._stored_maps(batches)

    def _stored_maps(self, batches: list[NDArray[np.int64]]) -> Iterator[MapBatch]:
        kept = self._array(MAPS) if self._half else self.maxima[:, :, None, None]
        for indices in batches:
            yield MapBatch(indices, kept[indices].astype(np.float32))

    @property
    def shown_with(self) -> Hashable:
        """See `ProbedLayer.shown_with`."""
        left_out = tuple(image.index for image in self.manifest.skipped)
        return id(self._taps), left_out

    def respond(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """See `ProbedLayer.respond`. The response to an image does not depend on the other images."""
        import torch

        responses = [np.empty((0, self.n_units), np.float32)]
        preprocess = self._taps.target.preprocess
        for start in range(0, len(images), self.maps_at_once):
            batch = images[start : start + self.maps_at_once]
            inputs = torch.stack([preprocess(image.convert("RGB")) for image in batch])
            maps = self.recomputation.forward(fill(inputs, self.maps_at_once), [self.name])[self.name]
            responses.append(_pooled(maps[: len(batch)], self.pool).cpu().numpy())
        return np.concatenate(responses)

    @cached_property
    def _sizes(self) -> NDArray[np.int32]:
        return self._array("sizes.npy")

    def region(self, index: int) -> Region:
        """See `ProbedLayer.region`; measured once per image size."""
        width, height = self._sizes[index].tolist()
        return self._taps.target.region((width, height))


def _pooled(maps: torch.Tensor, pool: Pool) -> torch.Tensor:
    # Contiguous, as in the pass: the order of the sum depends on the memory layout.
    flat = maps.contiguous().flatten(2)
    return flat.mean(2) if pool == "mean" else flat.amax(2)
