"""The second pass: reads the feature maps of several layers once, for everything computed from them.

The first pass (`forward_pass`) stores values and thresholds, from which methods choose what they need:
which images, and which pixels of their maps. A method states that as `MapConsumer`s. One pass serves all
of them: the target processes each batch of images once for all layers, and what consumers compute from
an image alone, such as its label patterns, is computed once.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..files import explained
from ..probe import MapBatch, ProbedLayer
from ..progress import Progress
from .stored_layer import StoredLayer

T = TypeVar("T")

SAVE_SECONDS = 60.0
"""Seconds of work that a killed process loses at most."""

log = logging.getLogger(__name__)


class Shared:
    """Values that several consumers need of the images of one batch, computed by the first that asks."""

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Returns the value of `key`.

        Threads may ask at the same time, for different keys: two threads that ask for the same key may
        both compute it.
        """
        if key not in self._values:
            self._values[key] = compute()
        return self._values[key]


class MapConsumer(ABC):
    """Computes something from the maps of one layer and stores it, such as in the layer's cache.

    It gets the images it needs in ascending order. `close` is called last in any case, also if `open`
    failed.

    Attributes:
        layer: the layer.
        result: the file that is written at the end, which names the work for other processes: they wait
            instead of doing the same. None: nothing is stored.
    """

    layer: ProbedLayer
    result: Path | None = None

    @abstractmethod
    def finished(self) -> bool:
        """Whether the result is stored already; another process may have done it."""

    @abstractmethod
    def open(self, progress: Progress) -> NDArray[np.int64]:
        """Prepares the work, or resumes it where `save` was last called.

        Returns:
            The image indices it (still) needs, ascending.
        """

    @abstractmethod
    def add(self, batch: MapBatch, shared: Shared) -> None:
        """Adds some images.

        Args:
            batch: their maps.
            shared: what is the same for other layers and methods; its keys are specific to the images of
                this batch.
        """

    @abstractmethod
    def save(self) -> None:
        """Makes the work on all images added so far survive the end of the process."""

    @abstractmethod
    def finish(self) -> None:
        """Stores the result, after the last image."""

    def close(self) -> None:  # noqa: B027 (most consumers hold nothing)
        """Releases files and threads, whether the work is finished or not."""


def run_map_pass(
    consumers: Sequence[MapConsumer],
    progress: Progress | None = None,
    *,
    save_seconds: float = SAVE_SECONDS,
) -> dict[MapConsumer, float]:
    """Reads the maps that the consumers need; each image is shown to a target at most once.

    Results depend neither on which consumers share the pass nor on interruptions. Maps that are stored
    are read from the disk, and a layer whose maps are all stored needs no target.

    Args:
        consumers: what is to be computed; of several with the same result, only the first does the work.
        progress: shows a task for each target.
        save_seconds: seconds between the times when the state of all consumers is saved.

    Returns:
        The seconds of each consumer that did something: its own work, and its share of the time of
        reading maps, which is split evenly among the consumers of a batch.

    Raises:
        InputError: if an image cannot be read, an annotation is not valid, or the disk is full.
        Exception: the first error of a consumer, after the others have finished.
    """
    seconds: dict[MapConsumer, float] = {}
    groups: dict[Hashable, list[MapConsumer]] = {}
    for consumer in _distinct(consumers):
        groups.setdefault(consumer.layer.shown_with, []).append(consumer)
    for group in groups.values():
        with _locked(group):
            unfinished = [consumer for consumer in group if not consumer.finished()]
            if unfinished:
                seconds |= _Pass(unfinished, save_seconds).run(progress or Progress("none"))
    return seconds


def _distinct(consumers: Sequence[MapConsumer]) -> list[MapConsumer]:
    """Returns consumers without those whose result another one writes."""
    distinct: dict[Hashable, MapConsumer] = {}
    for consumer in consumers:
        distinct.setdefault(consumer if consumer.result is None else consumer.result, consumer)
    return list(distinct.values())


@contextmanager
def _locked(consumers: Sequence[MapConsumer]) -> Iterator[None]:
    """Locks the results against other processes and waits for them; released if this process dies."""
    from filelock import FileLock, Timeout

    # Every process locks in the same order, so that two processes never wait for each other.
    paths = sorted(consumer.result for consumer in consumers if consumer.result is not None)
    with ExitStack() as stack:
        for path in paths:
            with explained(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = FileLock(path.with_suffix(".lock"))
                try:
                    stack.enter_context(lock.acquire(timeout=0))
                except Timeout:
                    log.warning("another process writes %s; waiting for it", path)
                    stack.enter_context(lock.acquire())
        yield


class _Pass:
    """A pass over the images of one probing set.

    Args:
        consumers: of layers that are read together (`ProbedLayer.shown_with`).
        save_seconds: see `run_map_pass`.
    """

    def __init__(self, consumers: Sequence[MapConsumer], save_seconds: float) -> None:
        self._all, self._save_seconds = tuple(consumers), save_seconds
        self._consumers = list(consumers)  # without those that failed
        self._needed: dict[MapConsumer, NDArray[np.int64]] = {}
        self._errors: list[Exception] = []
        self._seconds = dict.fromkeys(self._all, 0.0)

    def run(self, progress: Progress) -> dict[MapConsumer, float]:
        """Feeds all consumers and lets them store their results; returns the seconds of each.

        Raises:
            Exception: the first error of a consumer.
        """
        try:
            for consumer in self._all:
                self._try(consumer, lambda c=consumer: self._open(c, progress))
            images = np.unique(np.concatenate([np.empty(0, np.int64), *self._needed.values()]))
            if len(images):
                with progress.task(self._title(), len(images)) as advance:
                    self._feed(images, advance)
            for consumer in list(self._consumers):
                self._try(consumer, consumer.finish)
        finally:
            for consumer in self._all:
                consumer.close()
        if self._errors:
            raise self._errors[0]
        return self._seconds

    def _open(self, consumer: MapConsumer, progress: Progress) -> None:
        self._needed[consumer] = consumer.open(progress)

    def _title(self) -> str:
        layers = list(dict.fromkeys(consumer.layer.name for consumer in self._consumers))
        names = ", ".join(layers) if len(layers) <= 3 else f"{len(layers)} layers"
        return f"maps of {names} of {self._consumers[0].layer.target}"

    def _feed(self, images: NDArray[np.int64], advance: Callable[[int], None]) -> None:
        """Reads the maps of the images, batch by batch."""
        size = min(consumer.layer.maps_at_once for consumer in self._consumers)
        batches = [images[start : start + size] for start in range(0, len(images), size)]
        saved = monotonic()
        with closing(self._read(batches)) as reader:
            for batch in batches:
                self._feed_batch(batch, reader)
                if monotonic() - saved >= self._save_seconds:
                    for consumer in list(self._consumers):
                        self._try(consumer, consumer.save)
                    saved = monotonic()
                advance(len(batch))

    def _feed_batch(
        self, batch: NDArray[np.int64], reader: Iterator[dict[ProbedLayer, MapBatch]]
    ) -> None:
        started = monotonic()
        maps, shared = next(reader), Shared()
        seconds = monotonic() - started
        chosen = {consumer: self._part(consumer, batch) for consumer in self._consumers}
        readers = [consumer for consumer, images in chosen.items() if len(images)]
        for consumer in readers:
            self._seconds[consumer] += seconds / len(readers)
            part = _some(maps[consumer.layer], chosen[consumer])
            self._try(consumer, lambda c=consumer, p=part: c.add(p, shared))

    def _read(self, batches: Sequence[NDArray[np.int64]]) -> Generator[dict[ProbedLayer, MapBatch]]:
        """Yields the maps of each batch, for the layers that need them, of at least the images needed."""
        layers = list(dict.fromkeys(consumer.layer for consumer in self._consumers))
        computed = {
            layer.name: layer for layer in layers if isinstance(layer, StoredLayer) and layer.recomputed
        }
        stored = [layer for layer in layers if computed.get(layer.name) is not layer]
        # Known in advance, because other processes decode the images of later batches ahead.
        names = [[n for n, layer in computed.items() if self._needs(layer, b)] for b in batches]
        shown = [(batch, some) for batch, some in zip(batches, names, strict=True) if some]
        first = next(iter(computed.values()), None)
        arrays = first.recomputation.maps(shown) if first else iter(())
        for batch, some in zip(batches, names, strict=True):
            maps: dict[ProbedLayer, MapBatch] = {}
            if some:
                maps = {computed[name]: MapBatch(batch, a) for name, a in next(arrays).items()}
            for layer in stored:
                if self._needs(layer, batch):
                    maps[layer] = _joined(layer.maps(self._images_of(layer, batch)))
            yield maps

    def _needs(self, layer: ProbedLayer, batch: NDArray[np.int64]) -> bool:
        return any(c.layer is layer and len(self._part(c, batch)) for c in self._needed)

    def _images_of(self, layer: ProbedLayer, batch: NDArray[np.int64]) -> list[int]:
        parts = [self._part(c, batch) for c in self._needed if c.layer is layer]
        return np.unique(np.concatenate(parts)).tolist()

    def _part(self, consumer: MapConsumer, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the images of a batch that a consumer needs."""
        needed = self._needed[consumer]
        # Both are ascending, and the batch is a part of the union of what all consumers need.
        return needed[slice(*np.searchsorted(needed, [batch[0], batch[-1] + 1]))]

    def _try(self, consumer: MapConsumer, step: Callable[[], None]) -> None:
        """Does a step of a consumer; one that fails is left out from then on, the others continue."""
        started = monotonic()
        try:
            step()
        # None of these is about one consumer.
        except (InputError, MemoryError):
            raise
        except Exception as error:
            log.debug("%s: %s", consumer.layer.name, error, exc_info=True)
            self._errors.append(error)
            self._consumers.remove(consumer)
        finally:
            self._seconds[consumer] += monotonic() - started


def _some(batch: MapBatch, images: NDArray[np.int64]) -> MapBatch:
    if len(images) == len(batch.indices):  # all of them: no copy
        return batch
    return MapBatch(images, batch.maps[np.searchsorted(batch.indices, images)])


def _joined(batches: Iterator[MapBatch]) -> MapBatch:
    parts = list(batches)
    if len(parts) == 1:
        return parts[0]
    indices = np.concatenate([part.indices for part in parts])
    return MapBatch(indices, np.concatenate([part.maps for part in parts]))
