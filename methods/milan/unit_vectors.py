"""The encoder's vectors of the exemplars of units, computed once and kept in the layer's cache."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...harness.activations.npy_files import PreallocatedArray
from ...harness.files import explained, fingerprint, read_json, write_json
from ...harness.probe import ProbedLayer
from ...harness.targets.fingerprints import weights_digest
from .encoder import PyramidEncoder
from .exemplars import Shown, TopImages, exemplars
from .settings import ExemplarSettings

_FORMAT = 1
_UNIT, _PART = "milan_vectors", "milan_vectors_part"
_PICTURES = 16  # encoded at once; with the masks of 64 units each, 51 MB at 224 x 224
_SAVE_AFTER = 10.0  # seconds of work that a killed process loses at most


def encoder_fingerprint(encoder: PyramidEncoder) -> str:
    """Hash of what a vector depends on besides the picture and its mask."""
    pixels = [encoder.mean.flatten().tolist(), encoder.std.flatten().tolist()]
    return fingerprint([weights_digest(encoder.model), *pixels])


class UnitVectors:
    """Vectors of the exemplars of some units of a layer, on the disk.

    All that the cache does not hold is computed in one go, image by image: each image is shown to the
    target once and each picture to the encoder once, however many units share it. The memory does not
    grow with the number of units, and what a killed process has done is not done again.

    Args:
        layer: the layer, with its cache.
        top: the units with their top images.
        settings: of the exemplars.
        encoder: makes one vector of an exemplar.
        name: names the encoder in keys, see `encoder_fingerprint`.
    """

    def __init__(
        self,
        layer: ProbedLayer,
        top: TopImages,
        settings: ExemplarSettings,
        encoder: PyramidEncoder,
        name: str,
    ) -> None:
        self._layer, self._top, self._settings, self._encoder = layer, top, settings, encoder
        self._depends: dict[str, Any] = {
            "format": _FORMAT,
            "layer": layer.fingerprint,
            "exemplars": settings.identity(),
            "encoder": name,
        }

    def compute(self) -> None:
        """Computes what the cache does not hold."""
        units = {**self._depends, "units": self._top.units.tolist()}
        part = self._layer.cache.path(_PART, units, ".npy")
        with _held(part):
            todo = self._fill(part)
            if not todo:
                return
            for place, row in enumerate(todo):
                # Mapped anew for each unit: pages that stay mapped count as memory of this process.
                self._kept(row, lambda place=place: np.load(part, mmap_mode="r")[place])
            part.with_suffix(".json").unlink()
            part.unlink()

    def read(self, rows: range) -> NDArray[np.float32]:
        """Returns float32 [rows, k, size] for some of the units."""
        return np.stack([self._kept(row, lambda row=row: self._alone(row)) for row in rows])

    def _key(self, row: int) -> dict[str, Any]:
        return {**self._depends, "unit": int(self._top.units[row])}

    def _file(self, row: int) -> Path:
        return self._layer.cache.path(_UNIT, self._key(row), ".npy")

    def _kept(self, row: int, compute: Any) -> NDArray[np.float32]:
        return self._layer.cache.array(_UNIT, self._key(row), compute)

    def _alone(self, row: int) -> NDArray[np.float32]:
        """Computes the vectors of one unit, whose file is there but cannot be read."""
        found = np.empty((self._top.indices.shape[1], self._encoder.size), np.float32)
        for shown, vectors in self._encoded(_rows(self._top, [row])):
            found[np.concatenate([one.ranks for one in shown])] = vectors
        return found

    def _fill(self, part: Path) -> list[int]:
        """Writes vectors [units, k, size], from where an earlier attempt left off; returns whose."""
        state = part.with_suffix(".json")
        if state.is_file() and part.is_file():
            begun = read_json(state)
        else:
            missing = [row for row in range(len(self._top.units)) if not self._file(row).is_file()]
            begun = {"rows": missing, "after": -1}
        if not begun["rows"]:
            return []
        some = _rows(self._top, begun["rows"])
        shape = (*some.indices.shape, self._encoder.size)
        with explained(part), PreallocatedArray(part, shape, np.float32) as slots:
            saved = time.monotonic()
            for shown, vectors in self._encoded(some, after=begun["after"]):
                _put(shown, vectors, slots)
                if time.monotonic() - saved > _SAVE_AFTER:
                    slots.flush()
                    # The last image may go on with more units.
                    write_json(state, {**begun, "after": shown[-1].index - 1})
                    saved = time.monotonic()
        write_json(state, {**begun, "after": len(self._layer.probe)})
        return begun["rows"]

    def _encoded(
        self, top: TopImages, after: int = -1
    ) -> Iterator[tuple[list[Shown], NDArray[np.float32]]]:
        """Streams the exemplars through the encoder; yields some, and their vectors [masks, size]."""
        stream = exemplars(self._layer, top, self._settings, after=after)
        while shown := list(islice(stream, _PICTURES)):
            masks = [one.masks.view(np.uint8) for one in shown]
            yield shown, self._encoder.encode_shared([one.pixels for one in shown], masks)


def _rows(top: TopImages, rows: Sequence[int]) -> TopImages:
    chosen = np.asarray(rows, np.int64)
    return TopImages(top.units[chosen], top.indices[chosen], top.values[chosen])


def _put(shown: Sequence[Shown], vectors: NDArray[np.float32], slots: PreallocatedArray) -> None:
    rows, ranks = (np.concatenate([getattr(one, n) for one in shown]) for n in ("rows", "ranks"))
    for row, rank, vector in zip(rows.tolist(), ranks.tolist(), vectors, strict=True):
        slots.write(row, rank, vector)


@contextmanager
def _held(part: Path) -> Iterator[None]:
    """Holds a file against other processes, waiting for them; it is free when this one dies."""
    from filelock import FileLock

    with explained(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(part.with_suffix(".lock")).acquire()
    with held:
        yield
