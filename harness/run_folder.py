"""The folder of one run: its records, what they depend on, and the lock that keeps it to one process."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .files import atomic_open, explained, read_json, write_json
from .journal import Journal

if TYPE_CHECKING:
    from filelock import FileLock

PACKAGES = (
    *("dissectbench", "torch", "torchvision", "timm", "transformers", "diffusers", "openai"),
    *("sentence-transformers", "bert-score", "open_clip_torch", "numpy", "pandas", "scipy"),
    *("scikit-image", "pillow", "hydra-core"),
)


class RunFolder:
    """`runs/<name>/`, held by one process at a time.

    Attributes:
        path: the folder.
        journal: its `descriptions.jsonl`.

    Raises:
        InputError: if another process works in it, or it may not be written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self._lock = self._acquire()
        self.journal = Journal(self.path / "descriptions.jsonl")

    def _acquire(self) -> FileLock:
        from filelock import FileLock, Timeout

        # The operating system drops the lock when its holder dies, so a killed run leaves none behind.
        lock = FileLock(self.path / ".lock")
        with explained(self.path):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise InputError(
                    f"another process is working in {self.path}", "wait for it, or use another name="
                ) from None
        return lock

    def bind(self, identity: Mapping[str, Any]) -> None:
        """Ties the folder to what its descriptions depend on.

        Args:
            identity: JSON-able; {"layer/<name>": ..., "method/<name>": ...}. Entries that are new are
                added, so that a run may be extended by layers and methods.

        Raises:
            InputError: if an entry differs from the one the records were made under.
        """
        path = self.path / "identity.json"
        known: dict[str, Any] = read_json(path) if path.exists() else {}
        for key, value in identity.items():
            if key in known and known[key] != value:
                raise InputError(
                    f"{self.path} holds descriptions made under other settings: "
                    f"{_difference(key, known[key], value)}",
                    "use another name= for the new settings, or remove the folder",
                )
        if {**known, **identity} != known:
            write_json(path, {**known, **identity})

    def describe_setting(self, config: str, device: str, details: Mapping[str, Any]) -> None:
        """Writes `config.yaml` and `environment.json`: what is needed to run it again."""
        with atomic_open(self.path / "config.yaml") as file:
            file.write(config)
        write_json(self.path / "environment.json", {**environment(), "device": device, **details})

    def close(self) -> None:
        """Gives the folder free."""
        self.journal.close()
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def environment() -> dict[str, Any]:
    """Returns the versions that numbers may depend on."""
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {"python": platform.python_version(), "platform": platform.platform(), "packages": versions}


def _difference(key: str, old: Any, new: Any) -> str:
    """Names the first setting in which two identities differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                return _difference(f"{key}.{name}", old.get(name), new.get(name))
    return f"{key} was {_short(old)}, now {_short(new)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
