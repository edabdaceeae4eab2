"""Tests the cache: values are computed once, and damaged values are computed again."""

import numpy as np
import pytest

from dissectbench.harness.cache import Cache


def test_an_array_is_computed_once_per_key(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return np.arange(6.0).reshape(2, 3)

    cache = Cache(tmp_path)
    for _ in range(2):
        assert cache.array("embeddings", {"model": "a", "images": "b"}, compute).tolist() == [
            [0, 1, 2],
            [3, 4, 5],
        ]
    assert len(calls) == 1
    cache.array("embeddings", {"model": "other", "images": "b"}, compute)
    cache.array("captions", {"model": "a", "images": "b"}, compute)
    assert len(calls) == 3


def test_a_damaged_array_is_computed_again(tmp_path):
    cache, key = Cache(tmp_path), {"a": 1}
    cache.array("x", key, lambda: np.arange(100.0))
    path = cache.path("x", key, ".npy")
    path.write_bytes(path.read_bytes()[:150])
    assert cache.array("x", key, lambda: np.arange(100.0))[99] == 99


def test_json_values_are_returned_and_truncated_ones_are_missing(tmp_path):
    cache, key = Cache(tmp_path), {"prompt": "what is this?", "model": "m"}
    assert cache.get("replies", key) is None
    cache.put("replies", key, {"text": "a boat"})
    assert cache.get("replies", key) == {"text": "a boat"}
    path = cache.path("replies", key, ".json")
    path.write_text(path.read_text()[:20])
    assert cache.get("replies", key) is None


def test_an_interrupted_computation_leaves_no_file(tmp_path):
    cache = Cache(tmp_path)

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.array("x", {"a": 1}, interrupted)
    assert not list(tmp_path.rglob("*.npy"))
