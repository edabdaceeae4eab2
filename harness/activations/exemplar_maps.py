"""Feature maps of units for their exemplars: gathered in the second pass, kept in the layer's cache.

The folder of a layer has a file for each set of units that was gathered together: `<name>.npy`, float32
[units, exemplars, h, w], and `<name>.json` with the units and their images, which is written last.
`<name>.part.json` holds the state of an interrupted pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..files import explained, fingerprint, read_json, write_json
from ..probe import MapBatch, ProbedLayer
from ..progress import Progress
from .map_pass import MapConsumer, Shared
from .npy_files import PreallocatedArray

_FORMAT = 1

Place = tuple[Path, int]
"""File and row of a unit's maps."""


def exemplar_consumers(
    layer: ProbedLayer, units: Sequence[int], images: NDArray[np.int64]
) -> list[MapConsumer]:
    """Returns what gathers the maps that are not in the cache: one consumer, or none.

    Args:
        layer: the layer.
        units: unit indices.
        images: int64 [units, exemplars], the exemplars of each unit.
    """
    if layer.map_shape == (1, 1):  # the maps are the maxima, which every layer holds
        return []
    places = _places(layer, units, images)
    missing = [row for row in range(len(units)) if places[row] is None]
    if not missing:
        return []
    return [ExemplarMaps(layer, [int(units[row]) for row in missing], images[missing])]


def read_exemplar_maps(
    layer: ProbedLayer, units: Sequence[int], images: NDArray[np.int64], *, after: int = -1
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]:
    """Yields the maps of the units for their exemplars, image by image in ascending order.

    They are read from the cache if it has all of them, as it does in a run. Otherwise the maps of each
    image are read once from the layer, however many units share it.

    Args:
        layer: the layer.
        units: unit indices.
        images: int64 [units, exemplars], the exemplars of each unit.
        after: only images with a higher index, to resume an interrupted stream.

    Yields:
        The image index; int64 [n], the positions row * exemplars + rank in `images` where it occurs; and
        float32 [n, h, w], the map of the unit of each of these rows.
    """
    positions = _positions(images)
    chosen = [index for index in positions if index > after]
    places = _places(layer, units, images)
    stored = [place for place in places if place is not None]
    if len(stored) == len(places):
        for index in chosen:
            yield index, positions[index], _gather(stored, positions[index], images.shape[1])
        return
    rows = np.asarray(units, np.int64)
    for batch in layer.maps(chosen):
        for index, maps in zip(batch.indices.tolist(), batch.maps, strict=True):
            where = positions[index]
            yield index, where, maps[rows[where // images.shape[1]]]


def _positions(images: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Returns the positions in `images` of each distinct image, in ascending order of the images."""
    order = np.argsort(images, axis=None, kind="stable")
    distinct, starts = np.unique(images.ravel()[order], return_index=True)
    return dict(zip(distinct.tolist(), np.split(order, starts)[1:], strict=True))


def _gather(places: Sequence[Place], positions: NDArray[np.int64], exemplars: int) -> NDArray[np.float32]:
    rows, ranks = np.divmod(positions, exemplars)
    by_file: dict[Path, list[int]] = {}
    for k, row in enumerate(rows.tolist()):
        by_file.setdefault(places[row][0], []).append(k)
    parts, order = [], []
    for path, chosen in by_file.items():
        # Mapped anew for each image: pages that stay mapped count as memory of this process.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        parts.append(array[[places[rows[k]][1] for k in chosen], ranks[chosen]])
        order += chosen
    return np.concatenate(parts)[np.argsort(order)]


def _folder(layer: ProbedLayer) -> Path:
    return layer.cache.path("exemplar_maps", {"format": _FORMAT, "layer": layer.fingerprint}, "")


def _places(layer: ProbedLayer, units: Sequence[int], images: NDArray[np.int64]) -> list[Place | None]:
    """Returns where the maps of each unit are stored; None if they are not."""
    places: dict[tuple[int, ...], Place] = {}
    for path in sorted(_folder(layer).glob("*.json")):
        if path.name.endswith(".part.json"):
            continue
        try:
            sets, file = read_json(path), path.with_suffix(".npy")
            shape = np.load(file, mmap_mode="r", allow_pickle=False).shape
            keys = [(unit, *of) for unit, of in zip(sets["units"], sets["images"], strict=True)]
        except (InputError, OSError, ValueError, EOFError, KeyError, TypeError):
            continue  # missing or damaged: gathered again
        if shape == (len(keys), len(keys[0]) - 1, *layer.map_shape):
            places.update({key: (file, row) for row, key in enumerate(keys)})
    return [places.get((int(u), *of)) for u, of in zip(units, images.tolist(), strict=True)]


class ExemplarMaps(MapConsumer):
    """Gathers the maps of some units for their exemplars, in a file of the layer's cache.

    Args:
        layer: the layer.
        units: unit indices.
        images: int64 [units, exemplars], the exemplars of each unit.
    """

    def __init__(self, layer: ProbedLayer, units: Sequence[int], images: NDArray[np.int64]) -> None:
        self.layer, self._units, self._images = layer, list(units), images
        self._sets = {"units": self._units, "images": images.tolist()}
        self._file = self.result = _folder(layer) / f"{fingerprint(self._sets)}.json"
        self._state = self._file.with_suffix(".part.json")
        self._array: PreallocatedArray | None = None
        self._after = -1

    def finished(self) -> bool:
        """See `MapConsumer.finished`."""
        return None not in _places(self.layer, self._units, self._images)

    def open(self, progress: Progress) -> NDArray[np.int64]:  # noqa: ARG002
        """See `MapConsumer.open`."""
        file = self._file.with_suffix(".npy")
        if self._state.is_file() and file.is_file():
            self._after = read_json(self._state)["after"]
        with explained(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._file.unlink(missing_ok=True)  # left over from a damaged array
            shape = (*self._images.shape, *self.layer.map_shape)
            self._array = PreallocatedArray(file, shape, np.float32)
        self._positions = _positions(self._images)
        return np.array([index for index in self._positions if index > self._after], np.int64)

    def add(self, batch: MapBatch, shared: Shared) -> None:  # noqa: ARG002
        """See `MapConsumer.add`."""
        assert self._array is not None
        with explained(self._file):
            for index, maps in zip(batch.indices.tolist(), batch.maps, strict=True):
                for position in self._positions[index].tolist():
                    row, rank = divmod(position, self._images.shape[1])
                    self._array.write(row, rank, maps[self._units[row]])
        self._after = int(batch.indices[-1])

    def save(self) -> None:
        """See `MapConsumer.save`."""
        assert self._array is not None
        with explained(self._file):
            self._array.flush()
        write_json(self._state, {"after": self._after})

    def finish(self) -> None:
        """See `MapConsumer.finish`."""
        self.close()
        write_json(self._file, self._sets)
        self._state.unlink(missing_ok=True)

    def close(self) -> None:
        """See `MapConsumer.close`."""
        if self._array is not None:
            array, self._array = self._array, None
            with explained(self._file), array:
                pass  # leaving the context syncs the file
