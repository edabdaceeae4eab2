"""Collects the exact largest values of every unit over all positions of all images, in bounded memory.

The exact upper quantile at the fraction q of M values needs only the q * M largest of them. Each unit has
a floor: the K-th largest value seen so far. Values at or below the floor are discarded on the device.
The others are buffered in memory and appended to a log on disk, which is reduced to the K largest values
per unit when it exceeds twice that size. Every step keeps a superset of the K largest values, so the
result does not depend on batches, memory budget or interruptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..files import explained
from .npy_files import GrowingArray

if TYPE_CHECKING:
    import torch

_SMALL = 1 << 18  # values; reducing fewer costs more time than it saves
_CHUNK = 1 << 20  # values compared at once on the CPU: 4 MB stay in its cache


@dataclass(frozen=True)
class Ragged:
    """Values of several units, with a different number of values per unit, concatenated.

    Attributes:
        counts: int64 [units].
        values: float32 [sum of counts].
    """

    counts: NDArray[np.int64]
    values: NDArray[np.float32]

    def split(self) -> list[NDArray[np.float32]]:
        """Returns the values of each unit, as views."""
        ends = np.cumsum(self.counts)
        return [
            self.values[start:end]
            for start, end in zip((ends - self.counts).tolist(), ends.tolist(), strict=True)
        ]


def merge(parts: Sequence[Ragged]) -> Ragged:
    """Concatenates the values of each unit over all parts (at least one)."""
    if len(parts) == 1:
        return parts[0]
    by_unit = zip(*(part.split() for part in parts), strict=True)
    values = np.concatenate([piece for pieces in by_unit for piece in pieces])
    return Ragged(np.sum([part.counts for part in parts], axis=0), values)


def largest(part: Ragged, keep: int) -> Ragged:
    """Returns the `keep` largest values of every unit, unsorted."""
    if not (part.counts > keep).any():
        return part
    chosen = [
        np.partition(values, len(values) - keep)[len(values) - keep :] if len(values) > keep else values
        for values in part.split()
    ]
    return Ragged(np.minimum(part.counts, keep), np.concatenate(chosen))


def floor_of(part: Ragged, keep: int) -> NDArray[np.float32]:
    """Returns float32 [units]: the `keep`-th largest value, -inf for units with fewer values.

    `part` must be the result of `largest` with the same `keep`.
    """
    lowest = [values.min() if len(values) == keep else -np.inf for values in part.split()]
    return np.array(lowest, np.float32)


def above(maps: NDArray[np.float32], maxima: NDArray[np.float32], floor: NDArray[np.float32]) -> Ragged:
    """Selects the values above their unit's floor; maps whose maximum is not above it are skipped.

    Args:
        maps: [images, units, positions].
        maxima: [images, units].
        floor: [units].
    """
    images, n_units, positions = maps.shape
    # Transposed, so that the selected maps are ordered by unit, as `Ragged` requires.
    units, chosen = np.nonzero((maxima > floor).T)
    rows = maps.reshape(-1, positions).take(chosen * n_units + units, axis=0)
    if np.isneginf(floor).all():  # as long as fewer than `keep` values were seen: nothing to compare
        return Ragged(np.full(n_units, images * positions), rows.ravel())
    at = np.flatnonzero(rows > floor[units, None])
    per_row = np.diff(np.searchsorted(at, np.arange(len(rows) + 1) * positions))
    return Ragged(_total(per_row, units, n_units), rows.ravel()[at])


def above_on_device(maps: torch.Tensor, maxima: torch.Tensor, floor: torch.Tensor) -> Ragged:
    """Does the same as `above` on the device; only values above the floor are copied to the host."""
    units, chosen = (maxima > floor).T.nonzero(as_tuple=True)
    rows = maps[chosen, units]
    mask = rows > floor[units, None]
    per_row, values = mask.sum(1), rows[mask]
    return Ragged(_total(per_row.cpu().numpy(), units.cpu().numpy(), len(floor)), values.cpu().numpy())


def _total(per_row: NDArray[np.int64], units: NDArray[np.int64], n_units: int) -> NDArray[np.int64]:
    return np.bincount(units, weights=per_row, minlength=n_units).astype(np.int64)


class _Log:
    """A file of consecutive `Ragged` parts, each stored with the floor at the time of writing.

    Layout of a part: counts, int64 [units]; floor, float32 [units]; values, float32 [sum of counts].
    """

    def __init__(self, path: Path, n_units: int, size: int = 0) -> None:
        self.path, self.n_units, self.size = path, n_units, size
        self.floor = np.full(n_units, -np.inf, np.float32)
        self._counts: list[NDArray[np.int64]] = []
        self._starts: list[int] = []
        if size and (not path.is_file() or path.stat().st_size < size):
            raise ValueError(f"{path} is shorter than {size} bytes")
        # Parts behind `size` were written after the checkpoint: their images are shown again.
        with explained(path), path.open("ab") as file:
            file.truncate(size)
        offset = 0
        while offset < size:
            counts = np.fromfile(path, np.int64, n_units, offset=offset)
            self.floor = np.fromfile(path, np.float32, n_units, offset=offset + 8 * n_units)
            self._register(counts, offset)
            offset = self._starts[-1] + 4 * int(counts.sum())

    def _register(self, counts: NDArray[np.int64], offset: int) -> None:
        self._counts.append(counts)
        self._starts.append(offset + 12 * self.n_units)

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of stored values of each unit, int64 [units]."""
        # The zeros give the sum its shape while there are no parts.
        return np.sum(self._counts, axis=0, initial=0) + np.zeros(self.n_units, np.int64)

    def append(self, parts: Iterable[Ragged], floor: NDArray[np.float32]) -> None:
        """Appends one part, given as pieces of consecutive units.

        `floor` is read after the last piece, because making the pieces may raise it.
        """
        counts = []
        with explained(self.path), self.path.open("r+b") as file:
            # Values first: the counts are known only when all pieces have been made.
            file.seek(self.size + 12 * self.n_units)
            for part in parts:
                file.write(np.ascontiguousarray(part.values).data)
                counts.append(part.counts)
            end = file.tell()
            file.seek(self.size)
            file.write(np.concatenate(counts).data)
            file.write(floor.data)
        self._register(np.concatenate(counts), self.size)
        self.size = end

    def read(self, first: int, last: int) -> Ragged:
        """Returns the values of the units `first` to `last - 1`."""
        parts = []
        for counts, start in zip(self._counts, self._starts, strict=True):
            offset = start + 4 * int(counts[:first].sum())
            selected = counts[first:last]
            values = np.fromfile(self.path, np.float32, int(selected.sum()), offset=offset)
            parts.append(Ragged(selected, values))
        return (
            merge(parts) if parts else Ragged(np.zeros(last - first, np.int64), np.empty(0, np.float32))
        )


class Tail:
    """Collects the `keep` largest values of every unit from a stream of maps.

    Args:
        folder: folder of the log; the files `tail.*.log` in it belong to this object.
        n_units: number of units.
        keep: number of values to keep per unit, at least 1.
        budget: bytes of memory to use; beyond it, values are moved to the log and reduced a few units at
            a time. The maps of one image are held even if they exceed it.
        state: a result of `checkpoint`, to resume there; values added after it are discarded.
    """

    def __init__(
        self,
        folder: Path,
        n_units: int,
        keep: int,
        budget: int,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.n_units, self.keep = folder, n_units, keep
        # In values. Merging needs copies and indices in addition: about 20 bytes per value.
        self._room = max(1, budget // 20)
        self._limit = min(self._room, max(2 * keep * n_units, _SMALL))
        self._buffer: list[Ragged] = []
        self._held = 0
        self._seen = state["images"] if state else 0
        self._log = self._open(state["generation"], state["bytes"]) if state else self._open(0)
        self._set_floor(self._log.floor)
        self.sweep()  # a process may have been killed between a checkpoint and its `sweep`

    def _open(self, generation: int, size: int = 0) -> _Log:
        self._generation = generation
        return _Log(self.folder / f"tail.{generation}.log", self.n_units, size)

    def add(self, maps: torch.Tensor, maxima: torch.Tensor) -> None:
        """Adds the maps of some images.

        Args:
            maps: float32 [images, units, h, w] of finite values, on any device.
            maxima: float32 [images, units], the largest value of each map.
        """
        start, positions = 0, maps.shape[2] * maps.shape[3]
        most = min(self._room, _CHUNK if maps.device.type == "cpu" else self._room) // maps[0].numel()
        while start < len(maps):
            # The floor is based on the images seen so far: the same number of new images contains about
            # `keep` values above it. The step therefore doubles without filling the buffer.
            step = min(max(self._seen, self.keep // positions), most)
            part = slice(start, start + max(1, step))
            selected = self._above(maps[part].flatten(2), maxima[part])
            start += max(1, step)
            self._seen += max(1, step)
            if len(selected.values):
                self._buffer.append(selected)
                self._held += len(selected.values)
                self._shorten()

    def _above(self, maps: torch.Tensor, maxima: torch.Tensor) -> Ragged:
        if maps.device.type == "cpu":
            return above(maps.numpy(), maxima.numpy(), self._floor)
        return above_on_device(maps, maxima, self._floor_on(maps.device))

    def _floor_on(self, device: torch.device) -> torch.Tensor:
        import torch

        if self._tensor is None:
            self._tensor = torch.from_numpy(self._floor).to(device)
        return self._tensor

    def _set_floor(self, floor: NDArray[np.float32]) -> None:
        self._floor = floor
        self._tensor: torch.Tensor | None = None

    def _shorten(self) -> None:
        """Reduces a buffer above its limit: in memory if the result is small enough, else on disk."""
        if self._held <= self._limit:
            return
        # Up to keep * n_units values remain; they must leave half of the memory for new ones.
        if 2 * self.keep * self.n_units > self._room:
            self._spill()
            return
        kept = largest(merge(self._buffer), self.keep)
        self._buffer, self._held = [kept], len(kept.values)
        self._set_floor(np.maximum(self._floor, floor_of(kept, self.keep)))

    def _spill(self) -> None:
        """Moves the buffer to the log, and reduces a log of more than twice the values to keep."""
        if self._buffer:
            kept = largest(merge(self._buffer), self.keep)
            self._buffer, self._held = [], 0
            self._log.append([kept], self._floor)
        if self._log.counts.sum() > max(2 * self.keep * self.n_units, _SMALL):
            self._rewrite()

    def _rewrite(self) -> None:
        """Writes the largest values of the log as one part of a new log, and raises the floor.

        The old file remains: the last checkpoint refers to it.
        """
        old, self._log = self._log, self._open(self._generation + 1)
        floor = self._floor.copy()
        self._log.append(self._cut(old, floor), floor)
        self._set_floor(floor)

    def _cut(self, log: _Log, floor: NDArray[np.float32]) -> Iterator[Ragged]:
        """Yields the largest values of a log, a few units at a time, and raises `floor` in place."""
        for first, last in self._chunks(log):
            kept = largest(log.read(first, last), self.keep)
            floor[first:last] = np.maximum(floor[first:last], floor_of(kept, self.keep))
            yield kept

    def _chunks(self, log: _Log) -> Iterator[tuple[int, int]]:
        """Yields ranges of units whose values in the log fit in memory together."""
        step = max(1, self._room // max(1, int(log.counts.max())))
        for first in range(0, self.n_units, step):
            yield first, min(first + step, self.n_units)

    def checkpoint(self) -> dict[str, int]:
        """Moves all values to the log and returns the state to resume from, serialisable as JSON.

        Files of the previous checkpoint remain until `sweep` is called, after the state was saved.
        """
        self._spill()
        return {"generation": self._generation, "bytes": self._log.size, "images": self._seen}

    def sweep(self) -> None:
        """Removes the files of earlier checkpoints."""
        for path in self.folder.glob("tail.*.log"):
            if path != self._log.path:
                path.unlink()

    def finish(self, path: Path, keep: int) -> None:
        """Writes the `keep` largest values of every unit, and removes the log.

        Args:
            path: file to write: float32 [units, keep], in descending order.
            keep: at most `self.keep`, and at most the number of values added per unit.
        """
        self._spill()
        array = GrowingArray(path, (keep,), np.float32)
        for first, last in self._chunks(self._log):
            values = largest(self._log.read(first, last), keep).values.reshape(-1, keep)
            # Adding 0 turns -0 into 0: which of these equal values was kept depends on the batches.
            array.append(np.sort(values, axis=1)[:, ::-1] + np.float32(0))
        array.finish()
        self._log.path.unlink()
