"""Writes the activations of one layer: gathers, checks, and puts them on the disk in shards."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import ProbingSet
from ..errors import InputError
from ..files import explained, read_json, write_json
from ..probe import tail_length
from .batches import Block, Skipped
from .npy_files import GrowingArray
from .store import ARRAYS, MANIFEST, MAPS, LayerRequest, Manifest, Maps, array_entry
from .upper_tail import Tail

if TYPE_CHECKING:
    import torch

_STATE = "state.json"

log = logging.getLogger(__name__)


class LayerWriter:
    """Writes one layer's activations; resumes an interrupted pass at its last complete shard.

    Args:
        request: the layer, what is to be kept of it, and where.
        probe: all images of the pass.

    Attributes:
        done: number of images of the probing set in complete shards.
        skipped: images that could not be read so far.
    """

    def __init__(self, request: LayerRequest, probe: ProbingSet) -> None:
        self.request, self.info, self.probe = request, request.info, probe
        self._positions = self.info.map_shape[0] * self.info.map_shape[1]
        try:
            self._open(read_json(request.part / _STATE))
        except (InputError, ValueError, KeyError, TypeError):
            self.restart()
        self._begin_shard()

    def restart(self) -> None:
        """Deletes the files of an interrupted pass and begins with the first image."""
        with explained(self.request.part):
            if self.request.part.exists():
                shutil.rmtree(self.request.part)
            self.request.part.mkdir(parents=True)
        self._open(None)
        self._begin_shard()

    def _open(self, state: Any) -> None:
        """Opens the files at a saved state, or at the beginning."""
        part, n_units = self.request.part, self.info.n_units
        if state is not None and state["kept"] != self._kept():
            raise ValueError("the interrupted pass was to keep something else")
        self.done: int = state["done"] if state else 0
        self.skipped = [Skipped(**image) for image in state["skipped"]] if state else []
        self.maps: Maps = state["maps"] if state else self.request.maps
        rows = state["rows"] if state else 0
        self._arrays = {
            "mean.npy": GrowingArray(part / "mean.npy", (n_units,), np.float32, rows),
            "max.npy": GrowingArray(part / "max.npy", (n_units,), np.float32, rows),
            "sizes.npy": GrowingArray(part / "sizes.npy", (2,), np.int32, rows),
        }
        if self.maps == "kept":
            shape = (n_units, *self.info.map_shape)
            self._arrays[MAPS] = GrowingArray(part / MAPS, shape, np.float16, rows)
        keep = tail_length(len(self.probe) * self._positions, self.request.quantile_tail)
        tail_state = state["tail"] if state else None
        self.tail = Tail(part, n_units, keep, self.request.tail_budget, tail_state)

    def _kept(self) -> dict[str, Any]:
        return {
            "quantile_tail": self.request.quantile_tail,
            "maps": self.request.maps == "kept",
        }

    def _begin_shard(self) -> None:
        self._means: list[torch.Tensor] = []
        self._maxima: list[torch.Tensor] = []
        self._indices: list[int] = []

    def take(self, block: Block, maps: torch.Tensor) -> Callable[[], None]:
        """Adds the pooled values of a block; returns the remaining work, which any thread may do.

        PyTorch pools with all its threads (or on the GPU), so layers are pooled one after another. The
        remaining work, on the values at every position, is mostly NumPy's and disk writes, which use one
        thread: it pays to do it for several layers at the same time. It must be finished before the
        next block of this layer.
        """
        maps = block.readable(maps).contiguous()
        shape = (maps.shape[2], maps.shape[3])
        if shape != self.info.map_shape:
            raise InputError(
                f"layer {self.info.name}: its maps are {shape}, expected {self.info.map_shape}",
                "set target.example_size to the (width, height) that the preprocessing returns",
            )
        flat = maps.flatten(2)
        maxima = flat.amax(2)
        self._means.append(flat.mean(2))
        self._maxima.append(maxima)
        self._indices.extend(block.indices.tolist())
        self._arrays["sizes.npy"].append(block.sizes)
        return partial(self._take_positions, maps, maxima)

    def _take_positions(self, maps: torch.Tensor, maxima: torch.Tensor) -> None:
        """Adds the values of a block at every position."""
        self.tail.add(maps, maxima)
        if MAPS not in self._arrays:
            return
        half = maps.half()
        if half.isinf().any():
            self._give_up_maps()
        else:
            self._arrays[MAPS].append(half.cpu().numpy())

    def _give_up_maps(self) -> None:
        log.warning("%s: its values overflow float16; its maps are recomputed, not kept", self.info.name)
        array = self._arrays.pop(MAPS)
        array.close()
        array.path.unlink()
        self.maps = "overflow"

    def commit(self, done: int) -> None:
        """Ends a shard: the first `done` images survive an interruption.

        Raises:
            InputError: if an activation is not finite, or the disk is full.
        """
        if self._means:
            for name, parts in (("mean.npy", self._means), ("max.npy", self._maxima)):
                values = _on_host(parts)
                self._check_finite(values)
                self._arrays[name].append(values)
        self._begin_shard()
        self.done = done
        # The state is written after the arrays, so that it never counts rows that are not there.
        for array in self._arrays.values():
            array.flush()
        state = {
            "kept": self._kept(),
            "done": done,
            "rows": self._arrays["mean.npy"].rows,
            "skipped": [asdict(image) for image in self.skipped],
            "maps": self.maps,
            "tail": self.tail.checkpoint(),
        }
        write_json(self.request.part / _STATE, state)
        self.tail.sweep()

    def _check_finite(self, values: NDArray[np.float32]) -> None:
        if np.isfinite(values).all():
            return
        row, unit = np.argwhere(~np.isfinite(values))[0].tolist()
        raise InputError(
            f"layer {self.info.name}, unit {unit}: the activation is {values[row, unit]} "
            f"for image {self.probe.locate(self._indices[row])}",
            "check the target's weights and preprocessing; a network trained in half precision may "
            "overflow",
        )

    def publish(self, device: str) -> None:
        """Finishes the arrays, writes the manifest and publishes the folder (atomic rename).

        Raises:
            InputError: if no image could be read, or the disk is full.
        """
        part, images = self.request.part, self._arrays["mean.npy"].rows
        if images == 0:
            first = self.skipped[0]
            raise InputError(
                f"none of the {len(self.probe)} images of {self.probe.name} can be read; "
                f"the first is {first.path}: {first.reason}",
                "check the folder of the probing set",
            )
        keep = tail_length(images * self._positions, self.request.quantile_tail)
        self.tail.finish(part / "tail.npy", keep)
        for array in self._arrays.values():
            array.finish()
        names = (*ARRAYS, MAPS) if self.maps == "kept" else ARRAYS
        manifest = Manifest(
            self.request.depends_on,
            images,
            tuple(self.skipped),
            self.request.quantile_tail,
            self.maps,
            device,
            {name: array_entry(part / name) for name in names},
        )
        manifest.write(part / MANIFEST)
        self.request.publish()

    def close(self) -> None:
        """Closes the files as they are; a later pass resumes at the last complete shard."""
        for array in self._arrays.values():
            with suppress(InputError):  # a full disk was already reported by the write that failed
                array.close()


def _on_host(parts: list[torch.Tensor]) -> NDArray[np.float32]:
    import torch

    return torch.cat(parts).cpu().numpy()
