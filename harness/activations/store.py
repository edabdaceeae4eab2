"""Where activations lie: one folder per layer, complete and verified, or not there.

`<store>/<key>/` holds `.npy` arrays and `manifest.json`; it appears under this name in one step, when
everything in it is on the disk. Until then the pass works in `<key>.part/`.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from ..files import explained, fingerprint, read_json, write_json
from .batches import Skipped

FORMAT = 1
MANIFEST = "manifest.json"
ARRAYS = ("mean.npy", "max.npy", "sizes.npy", "tail.npy")
MAPS = "maps.npy"

Maps = Literal["kept", "not asked for", "over budget", "overflow"]
"""Whether feature maps are kept, and why not."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """What is in a layer's folder.

    Attributes:
        recipe: what the activations depend on: target, layer, images, format.
        images: how many images there are activations of.
        skipped: the images of the probing set that could not be read.
        tail: upper fraction of all positions kept in `tail.npy`.
        maps: whether `maps.npy` is there, and why not.
        device: where they were computed.
        arrays: size and digest of every array.
    """

    recipe: Mapping[str, Any]
    images: int
    skipped: tuple[Skipped, ...]
    tail: float
    maps: Maps
    device: str
    arrays: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Reads a manifest.

        Raises:
            InputError, TypeError, KeyError: if it is missing or damaged.
        """
        fields = dict(read_json(path))
        fields["skipped"] = tuple(Skipped(**image) for image in fields["skipped"])
        return cls(**fields)

    def write(self, path: Path) -> None:
        """Writes the manifest, atomically."""
        write_json(path, asdict(self))


@dataclass(frozen=True)
class Slot:
    """A layer's place in the store.

    Attributes:
        store: folder of the store.
        layer: the layer's name, for messages.
        recipe: what the activations depend on.
    """

    store: Path
    layer: str
    recipe: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The name of the layer's folder."""
        return fingerprint(self.recipe)

    @property
    def folder(self) -> Path:
        """Where the finished activations lie."""
        return self.store / self.key

    @property
    def part(self) -> Path:
        """Where a pass works on them."""
        return self.store / f"{self.key}.part"

    def find(self) -> Manifest | None:
        """Returns the manifest of finished and undamaged activations; None if there are none."""
        path = self.folder / MANIFEST
        if not path.exists():
            return None
        try:
            manifest = Manifest.read(path)
            damaged = next(
                (name for name in manifest.arrays if not _intact(self.folder, name, manifest)), None
            )
        except (InputError, TypeError, KeyError):
            damaged = MANIFEST
        else:
            if damaged is None:
                return manifest
        log.warning(
            "%s: %s is damaged; its activations are computed again", self.layer, self.folder / damaged
        )
        return None

    def publish(self) -> None:
        """Makes a part the layer's activations if it is finished, as its manifest tells."""
        if not (self.part / MANIFEST).exists():
            return
        with explained(self.folder):
            for path in self.part.iterdir():
                if path.name not in (MANIFEST, MAPS, *ARRAYS):
                    path.unlink()
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.part.rename(self.folder)


def entry(path: Path) -> dict[str, Any]:
    """Returns what a manifest says of an array: its size and digest."""
    return {"bytes": path.stat().st_size, "digest": _digest(path)}


def _intact(folder: Path, name: str, manifest: Manifest) -> bool:
    try:
        return entry(folder / name) == manifest.arrays[name]
    except OSError:
        return False


def _digest(path: Path, pieces: int = 64, piece: int = 1 << 18) -> str:
    """SHA-256 of a file; of large ones only of evenly spread pieces with the first and the last byte.

    Opening activations of any size takes hundredths of a second this way; it notices arrays that were
    cut, overwritten or mixed up, and not every flipped bit of a large one.
    """
    digest, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        if size <= pieces * piece:
            digest.update(file.read())
        else:
            for number in range(pieces):
                file.seek((size - piece) * number // (pieces - 1))
                digest.update(file.read(piece))
    return digest.hexdigest()


@contextmanager
def locked(slots: Sequence[Slot]) -> Iterator[None]:
    """Holds the places of several layers against other processes; waits for them if need be.

    The operating system frees them when a process dies. They are taken in one order everywhere, so that
    two processes never wait for each other.
    """
    from filelock import FileLock, Timeout

    with ExitStack() as stack:
        for slot in sorted(slots, key=lambda slot: slot.key):
            with explained(slot.store):
                slot.store.mkdir(parents=True, exist_ok=True)
                lock = FileLock(slot.store / f"{slot.key}.lock")
                try:
                    stack.enter_context(lock.acquire(timeout=0))
                except Timeout:
                    log.warning(
                        "%s: another process computes its activations; waiting for it", slot.layer
                    )
                    stack.enter_context(lock.acquire())
        yield
