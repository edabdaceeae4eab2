"""Features of the exemplars of a probed layer's units, computed once and kept in the layer's cache.

Used when units are described: masks and images are made on the fly from the target's feature maps, and
the cache holds one file per unit, so that any selection of units finds what earlier runs computed. For
training, where exemplars are read from data sets on disk, see `training/dataset_features.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
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
from .exemplars import ExemplarImage, TopImages, stream_exemplars
from .settings import ExemplarSettings

_FORMAT = 1
_UNIT, _PART = "milan_features", "milan_features_part"
_IMAGES = 16  # encoded at once; with the masks of 64 units each, 51 MB at 224 x 224
_SAVE_AFTER = 10.0  # most seconds of work that a killed process loses


def encoder_fingerprint(encoder: PyramidEncoder) -> str:
    """Hash of everything that a feature vector depends on besides the image and its mask."""
    pixels = [encoder.mean.flatten().tolist(), encoder.std.flatten().tolist()]
    return fingerprint([weights_digest(encoder.model), *pixels])


class UnitFeatures:
    """Features of the exemplars of some units of a layer, kept on disk.

    Everything that the cache lacks is computed in one pass over the images: target and encoder process
    each image once, however many units share it. The memory does not grow with the number of units, and a
    killed computation resumes.

    Args:
        layer: the layer, with its cache.
        top: the units with their top images.
        settings: of the exemplars.
        encoder: computes one feature vector per exemplar.
        name: identifies the encoder in cache keys, see `encoder_fingerprint`.
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
        self._identity: dict[str, Any] = {
            "format": _FORMAT,
            "layer": layer.fingerprint,
            "exemplars": settings.identity(),
            "encoder": name,
        }

    def missing(self) -> list[int]:
        """Returns the rows of the units that the cache lacks."""
        return [row for row in range(len(self._top.units)) if not self._file(row).is_file()]

    def compute(self) -> None:
        """Computes the features that the cache lacks."""
        units = {**self._identity, "units": self._top.units.tolist()}
        part = self._layer.cache.path(_PART, units, ".npy")
        with _locked(part):
            rows = self._compute_missing(part)
            if not rows:
                return
            for position, row in enumerate(rows):
                # Mapped anew for each unit: pages that stay mapped count as memory of this process.
                self._cached(row, lambda i=position: np.load(part, mmap_mode="r")[i])
            part.with_suffix(".json").unlink()
            part.unlink()

    def read(self, rows: range) -> NDArray[np.float32]:
        """Returns float32 [rows, count, size] of some of the units."""
        return np.stack([self._cached(row, lambda row=row: self._of_unit(row)) for row in rows])

    def _key(self, row: int) -> dict[str, Any]:
        return {**self._identity, "unit": int(self._top.units[row])}

    def _file(self, row: int) -> Path:
        return self._layer.cache.path(_UNIT, self._key(row), ".npy")

    def _cached(self, row: int, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        return self._layer.cache.array(_UNIT, self._key(row), compute)

    def _of_unit(self, row: int) -> NDArray[np.float32]:
        """Computes the features of one unit, whose file exists but cannot be read."""
        features = np.empty((self._top.indices.shape[1], self._encoder.size), np.float32)
        for exemplars, vectors in self._encoded(self._top.rows([row])):
            features[np.concatenate([exemplar.ranks for exemplar in exemplars])] = vectors
        return features

    def _compute_missing(self, part: Path) -> list[int]:
        """Writes the missing features [rows, count, size] to `part`; returns the rows.

        Resumes where an earlier attempt stopped, with the rows that were missing then.
        """
        file = part.with_suffix(".json")
        if file.is_file() and part.is_file():
            state = read_json(file)
        else:
            state = {"rows": self.missing(), "after": -1}
        if not state["rows"]:
            return []
        top = self._top.rows(state["rows"])
        shape = (*top.indices.shape, self._encoder.size)
        with explained(part), PreallocatedArray(part, shape, np.float32) as array:
            saved = time.monotonic()
            for exemplars, vectors in self._encoded(top, after=state["after"]):
                _write(exemplars, vectors, array)
                if time.monotonic() - saved > _SAVE_AFTER:
                    array.flush()
                    # More units of the last image may follow in the next batch: it is not done yet.
                    write_json(file, {**state, "after": exemplars[-1].index - 1})
                    saved = time.monotonic()
        # From here on, an interrupted copy to the cache resumes without encoding anything.
        write_json(file, {**state, "after": len(self._layer.probe)})
        return state["rows"]

    def _encoded(
        self, top: TopImages, after: int = -1
    ) -> Iterator[tuple[list[ExemplarImage], NDArray[np.float32]]]:
        """Yields some exemplars at a time with their feature vectors, [masks, size]."""
        stream = stream_exemplars(self._layer, top, self._settings, after=after)
        while exemplars := list(islice(stream, _IMAGES)):
            masks = [exemplar.masks.view(np.uint8) for exemplar in exemplars]
            pixels = [exemplar.pixels for exemplar in exemplars]
            yield exemplars, self._encoder.encode_shared(pixels, masks)


def _write(
    exemplars: Sequence[ExemplarImage], vectors: NDArray[np.float32], array: PreallocatedArray
) -> None:
    rows = np.concatenate([exemplar.rows for exemplar in exemplars])
    ranks = np.concatenate([exemplar.ranks for exemplar in exemplars])
    for row, rank, vector in zip(rows.tolist(), ranks.tolist(), vectors, strict=True):
        array.write(row, rank, vector)


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Locks a file against other processes and waits for them; released if this process dies."""
    from filelock import FileLock

    with explained(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(part.with_suffix(".lock")).acquire()
    with lock:
        yield
