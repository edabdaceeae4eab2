"""On-disk activation store: the folder of a layer is either complete or absent.

`<store>/<key>/` contains `.npy` arrays and `manifest.json`. It gets this name by one rename, when all its
files are on the disk. Until then the pass writes to `<key>.part/`.
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
from ..targets.output_layouts import LayerInfo
from .batches import Skipped

FORMAT = 2
"""Version of the files; part of every key, so that a new format never reads files of an old one."""

MANIFEST = "manifest.json"
ARRAYS = ("mean.npy", "max.npy", "sizes.npy", "tail.npy")
MAPS = "maps.npy"

Maps = Literal["kept", "not_requested", "over_budget", "overflow"]
"""Whether feature maps are kept, or why not; "overflow": a value exceeds the range of float16."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """The contents of a layer's folder.

    Attributes:
        depends_on: what the activations depend on: target, layer, images, format.
        images: number of images in the arrays.
        skipped: images of the probing set that could not be read; the arrays leave them out.
        quantile_tail: upper fraction of all positions that `tail.npy` holds.
        maps: whether `maps.npy` exists, or why not.
        device: device that computed the activations.
        arrays: size and digest of every array, by file name.
    """

    depends_on: Mapping[str, Any]
    images: int
    skipped: tuple[Skipped, ...]
    quantile_tail: float
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
class LayerRequest:
    """Which activations of a layer are requested, and where they are stored.

    Attributes:
        store: folder of the store.
        info: the layer as it is read.
        target: fingerprint of the target.
        images: fingerprint of the probing set.
        quantile_tail: upper fraction of all positions to keep.
        tail_budget: bytes of memory for them during the pass.
        maps: "kept" to keep feature maps, or why they are not to be kept.
    """

    store: Path
    info: LayerInfo
    target: str
    images: str
    quantile_tail: float
    tail_budget: int
    maps: Maps = "not_requested"

    @property
    def depends_on(self) -> dict[str, Any]:
        """What the activations depend on. Not on how many are kept: a longer tail replaces a shorter."""
        return {
            "format": FORMAT,
            "target": self.target,
            "layer": asdict(self.info),
            "images": self.images,
        }

    @property
    def key(self) -> str:
        """Name of the layer's folder."""
        return fingerprint(self.depends_on)

    @property
    def folder(self) -> Path:
        """The folder of the finished activations."""
        return self.store / self.key

    @property
    def part(self) -> Path:
        """The folder that a pass writes to."""
        return self.store / f"{self.key}.part"

    def find(self) -> Manifest | None:
        """Returns the manifest of stored activations; None if they are missing, damaged or too few."""
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
                return manifest if self._met_by(manifest) else None
        log.warning(
            "%s: %s is damaged; its activations are computed again",
            self.info.name,
            self.folder / damaged,
        )
        return None

    def _met_by(self, manifest: Manifest) -> bool:
        # Another pass would overflow again.
        maps = self.maps != "kept" or manifest.maps in ("kept", "overflow")
        return manifest.quantile_tail >= self.quantile_tail and maps

    def publish(self) -> None:
        """Renames a finished partial folder, one with a manifest, to the layer's folder."""
        if not (self.part / MANIFEST).exists():
            return
        with explained(self.folder):
            for path in self.part.iterdir():
                if path.name not in (MANIFEST, MAPS, *ARRAYS):
                    path.unlink()
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.part.rename(self.folder)


def array_entry(path: Path) -> dict[str, Any]:
    """Returns the entry of an array in a manifest: its size and digest."""
    return {"bytes": path.stat().st_size, "digest": _digest(path)}


def _intact(folder: Path, name: str, manifest: Manifest) -> bool:
    try:
        return array_entry(folder / name) == manifest.arrays[name]
    except OSError:
        return False


def _digest(path: Path, pieces: int = 64, piece: int = 1 << 18) -> str:
    """SHA-256 of a file; of a large one, of evenly spread pieces with the first and the last byte.

    Checking activations of any size takes hundredths of a second this way. It detects arrays that were
    truncated, overwritten or exchanged, but not every flipped bit of a large one.
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
def locked(requests: Sequence[LayerRequest]) -> Iterator[None]:
    """Locks the folders of several layers against other processes; waits until they are free.

    The operating system releases the locks when a process dies. Every process takes them in the order of
    the keys, so that two processes never wait for each other.
    """
    from filelock import FileLock, Timeout

    with ExitStack() as stack:
        for request in sorted(requests, key=lambda request: request.key):
            with explained(request.store):
                request.store.mkdir(parents=True, exist_ok=True)
                lock = FileLock(request.store / f"{request.key}.lock")
                try:
                    stack.enter_context(lock.acquire(timeout=0))
                except Timeout:
                    log.warning(
                        "%s: another process computes its activations; waiting for it",
                        request.info.name,
                    )
                    stack.enter_context(lock.acquire())
        yield
