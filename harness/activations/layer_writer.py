"""One layer's activations while the images pass by: gathered, checked, and put on the disk in shards."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import ProbingSet
from ..errors import InputError
from ..files import explained, read_json, write_json
from ..probe import tail_length
from ..targets.output_layouts import LayerInfo
from .batches import Block, Skipped
from .npy_files import GrowingArray
from .store import ARRAYS, MANIFEST, MAPS, Manifest, Maps, Slot, entry
from .upper_tail import Tail

if TYPE_CHECKING:
    import torch

_STATE = "state.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What is to be kept of a layer.

    Attributes:
        tail: upper fraction of all positions.
        tail_budget: bytes of memory for it during the pass.
        maps: "kept", or why the feature maps are not to be kept.
    """

    tail: float
    tail_budget: int
    maps: Maps = "not asked for"

    def met_by(self, manifest: Manifest) -> bool:
        """Whether stored activations hold all of this; maps that do not fit float16 are not asked for."""
        return manifest.tail >= self.tail and (
            self.maps != "kept" or manifest.maps in ("kept", "overflow")
        )


class LayerWriter:
    """Writes one layer's activations; goes on from the last complete shard of an interrupted pass.

    Args:
        slot: where to.
        info: the layer.
        probe: the images, all of them.
        wanted: what is to be kept.

    Attributes:
        done: how many images of the probing set are behind the last complete shard.
        skipped: the images that could not be read so far.
    """

    def __init__(self, slot: Slot, info: LayerInfo, probe: ProbingSet, wanted: Wanted) -> None:
        self.slot, self.info, self.probe, self.wanted = slot, info, probe, wanted
        self._positions = info.map_shape[0] * info.map_shape[1]
        try:
            self._open(read_json(slot.part / _STATE))
        except (InputError, ValueError, KeyError, TypeError):
            self.restart()
        self._begin_shard()

    def restart(self) -> None:
        """Drops what an interrupted pass has left."""
        with explained(self.slot.part):
            if self.slot.part.exists():
                shutil.rmtree(self.slot.part)
            self.slot.part.mkdir(parents=True)
        self._open(None)
        self._begin_shard()

    def _open(self, state: Any) -> None:
        """Opens the files at a state that was saved, or at the beginning."""
        part, units = self.slot.part, self.info.n_units
        if state is not None and state["request"] != self._request():
            raise ValueError("another request")
        self.done: int = state["done"] if state else 0
        self.skipped = [Skipped(**image) for image in state["skipped"]] if state else []
        self.maps: Maps = state["maps"] if state else self.wanted.maps
        rows = state["rows"] if state else 0
        shapes = {"mean.npy": (units,), "max.npy": (units,), "sizes.npy": (2,)}
        self._arrays = {
            name: GrowingArray(part / name, shape, np.int32 if name == "sizes.npy" else np.float32, rows)
            for name, shape in shapes.items()
        }
        if self.maps == "kept":
            shape = (units, *self.info.map_shape)
            self._arrays[MAPS] = GrowingArray(part / MAPS, shape, np.float16, rows)
        keep = tail_length(len(self.probe) * self._positions, self.wanted.tail)
        self.tail = Tail(part, units, keep, self.wanted.tail_budget, state["tail"] if state else None)

    def _request(self) -> dict[str, Any]:
        return {"tail": self.wanted.tail, "maps": self.wanted.maps == "kept"}

    def _begin_shard(self) -> None:
        self._means: list[torch.Tensor] = []
        self._maxima: list[torch.Tensor] = []
        self._indices: list[int] = []

    def pool(self, block: Block, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes in the pooled values of a block; returns the maps and maxima that `gather` wants."""
        maps = block.own(maps).contiguous()
        shape = (maps.shape[2], maps.shape[3])
        if shape != self.info.map_shape:
            raise InputError(
                f"layer {self.info.name}: its maps are {shape}, expected {self.info.map_shape}",
                "set target.example_size to the (width, height) that the preprocessing gives",
            )
        flat = maps.flatten(2)
        self._means.append(flat.mean(2))
        self._maxima.append(flat.amax(2))
        self._indices.extend(block.indices.tolist())
        self._arrays["sizes.npy"].append(block.sizes)
        return maps, self._maxima[-1]

    def gather(self, maps: torch.Tensor, maxima: torch.Tensor) -> None:
        """Takes in the values of a block at every position."""
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
                self._refuse_nonfinite(values)
                self._arrays[name].append(values)
        self._begin_shard()
        self.done = done
        for array in self._arrays.values():
            array.flush()
        state = {
            "request": self._request(),
            "done": done,
            "rows": self._arrays["mean.npy"].rows,
            "skipped": [asdict(image) for image in self.skipped],
            "maps": self.maps,
            "tail": self.tail.checkpoint(),
        }
        write_json(self.slot.part / _STATE, state)
        self.tail.sweep()

    def _refuse_nonfinite(self, values: NDArray[np.float32]) -> None:
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
        """Finishes the arrays, describes them in the manifest, and shows them to the world.

        Raises:
            InputError: if no image could be read, or the disk is full.
        """
        part, images = self.slot.part, self._arrays["mean.npy"].rows
        if images == 0:
            first = self.skipped[0]
            raise InputError(
                f"none of the {len(self.probe)} images of {self.probe.name} can be read; "
                f"the first is {first.path}: {first.reason}",
                "check the folder of the probing set",
            )
        self.tail.finish(part / "tail.npy", tail_length(images * self._positions, self.wanted.tail))
        for array in self._arrays.values():
            array.finish()
        names = (*ARRAYS, MAPS) if self.maps == "kept" else ARRAYS
        manifest = Manifest(
            self.slot.recipe,
            images,
            tuple(self.skipped),
            self.wanted.tail,
            self.maps,
            device,
            {name: entry(part / name) for name in names},
        )
        manifest.write(part / MANIFEST)
        self.slot.publish()

    def close(self) -> None:
        """Closes the files as they are; a later pass goes on from the last complete shard."""
        for array in self._arrays.values():
            with suppress(InputError):  # a full disk was reported when it was written to
                array.close()


def _on_host(parts: list[torch.Tensor]) -> NDArray[np.float32]:
    import torch

    return torch.cat(parts).cpu().numpy()
