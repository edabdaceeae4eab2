"""A content-addressed cache for what is expensive: embeddings, captions, replies, images.

The key of a value contains everything that it depends on. A value that cannot be read back is a miss.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import atomic_path, fingerprint, write_json


class Cache:
    """Values under `root`, named by the hash of their keys.

    Args:
        root: folder of the cache; made when first written to.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def path(self, kind: str, key: Mapping[str, Any], suffix: str) -> Path:
        """Returns where the value of `key` lives: `root/kind/<hash>suffix`."""
        return self.root / kind / f"{fingerprint({'kind': kind, **key})}{suffix}"

    def array(
        self, kind: str, key: Mapping[str, Any], compute: Callable[[], NDArray[Any]]
    ) -> NDArray[Any]:
        """Returns the array of `key`, memory-mapped; computes and keeps it if it is not there."""
        path = self.path(kind, key, ".npy")
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            pass
        value = np.ascontiguousarray(compute())
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, value, allow_pickle=False)
        write_json(path.with_suffix(".json"), dict(key))
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def get(self, kind: str, key: Mapping[str, Any]) -> Any | None:
        """Returns the JSON value of `key`, or None if it is not there or cannot be read back."""
        try:
            return json.loads(self.path(kind, key, ".json").read_text(encoding="utf-8"))["value"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, kind: str, key: Mapping[str, Any], value: Any) -> None:
        """Keeps a JSON value (not None) under `key`, whole or not at all."""
        write_json(self.path(kind, key, ".json"), {"key": dict(key), "value": value})
