"""Caches expensive results (embeddings, captions, replies, images) under the hash of their keys.

The key of a value contains everything that the value depends on. Unreadable values count as missing.
Keys are built in these modules:

* harness/foundation: caption_cache, embeddings, image_cache and reply_cache;
* harness: description_vectors;
* harness/activations: exemplar_maps;
* metrics/activation: presence;
* methods/clip_dissect: clip_dissect;
* methods/network_dissection: network_dissection;
* methods/milan: unit_features.
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
    """Stores values in the folder `root`, named by the hash of their keys.

    Args:
        root: folder of the cache; created at the first write.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def path(self, kind: str, key: Mapping[str, Any], suffix: str) -> Path:
        """Returns the path of the value of `key`: `root/kind/<hash>suffix`."""
        return self.root / kind / f"{fingerprint({'kind': kind, **key})}{suffix}"

    def array(
        self, kind: str, key: Mapping[str, Any], compute: Callable[[], NDArray[Any]]
    ) -> NDArray[Any]:
        """Returns the array of `key`, memory-mapped; computes and stores it if it is missing."""
        stored = self.stored_array(kind, key)
        if stored is not None:
            return stored
        path = self.path(kind, key, ".npy")
        # In C order, so that the rows of the memory-mapped file are contiguous.
        value = np.ascontiguousarray(compute())
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, value, allow_pickle=False)
        # Never read by the cache: it shows a person what the array is, which the hash does not.
        write_json(path.with_suffix(".json"), dict(key))
        # Reloaded, so that the first run gets the same read-only, memory-mapped array as later runs.
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def stored_array(self, kind: str, key: Mapping[str, Any]) -> NDArray[Any] | None:
        """Returns the array of `key`, memory-mapped; None if it is missing or damaged."""
        try:
            return np.load(self.path(kind, key, ".npy"), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            # np.load raises ValueError or EOFError for a damaged file.
            return None

    def get(self, kind: str, key: Mapping[str, Any]) -> Any | None:
        """Returns the JSON value of `key`, or None if it is missing or unreadable."""
        try:
            return json.loads(self.path(kind, key, ".json").read_text(encoding="utf-8"))["value"]
        except (OSError, ValueError, KeyError, TypeError):
            # KeyError and TypeError: valid JSON of another form, such as the key file of an array.
            return None

    def put(self, kind: str, key: Mapping[str, Any], value: Any) -> None:
        """Stores a JSON value under `key`, atomically; not None, which `get` returns if there is none."""
        write_json(self.path(kind, key, ".json"), {"key": dict(key), "value": value})
