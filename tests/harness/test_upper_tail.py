"""Tests the exact tail against a full sort, for all batches, memory budgets and interruptions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dissectbench.harness.activations import upper_tail as tail_module
from dissectbench.harness.activations.upper_tail import (
    Ragged,
    Tail,
    above,
    above_on_device,
    largest,
    merge,
)
from dissectbench.harness.probe import tail_length, upper_quantile

AMPLE = 1 << 30


@pytest.fixture(autouse=True)
def no_minimum_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes small test data take the code paths of large data."""
    monkeypatch.setattr(tail_module, "_SMALL", 1)


def sorted_values(maps: np.ndarray) -> np.ndarray:
    """Returns [units, images * h * w], in descending order."""
    return -np.sort(-maps.transpose(1, 0, 2, 3).reshape(maps.shape[1], -1), axis=1)


def gather(folder: Path, maps: np.ndarray, keep: int, budget: int, batches: list[int], stops: set[int]):
    """Adds `maps` to a tail in batches; after the batches in `stops` it is discarded and resumed."""
    folder.mkdir(parents=True, exist_ok=True)
    tail, start = Tail(folder, maps.shape[1], keep, budget), 0
    for number, size in enumerate(batches):
        part = torch.from_numpy(maps[start : start + size])
        tail.add(part, part.amax((2, 3)))
        start += size
        if number in stops:
            state = tail.checkpoint()
            lost = torch.from_numpy(maps[:1] + 100)  # added after the checkpoint, by a killed process
            tail.add(lost, lost.amax((2, 3)))
            tail._spill()
            tail = Tail(folder, maps.shape[1], keep, budget, state)
    tail.finish(folder / "tail.npy", keep)
    return np.load(folder / "tail.npy")


def make_maps(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns random maps with values of one of the `KINDS`."""
    values = rng.standard_normal(shape)
    if kind == "relu":
        values = np.maximum(values - 1, 0)
    elif kind == "ties":
        values = np.round(values)
    elif kind == "negative":
        values = -np.abs(values)
    elif kind == "constant":
        values = np.full(shape, rng.integers(-1, 2))
    elif kind == "rising":  # the worst order: every value is above the floor
        values = np.sort(values.ravel()).reshape(shape[0], *shape[2:], shape[1])
        values = np.moveaxis(values, -1, 1)
    elif kind == "signed zeros":
        values = np.where(values > 0, 0.0, -0.0)
    return np.ascontiguousarray(values, dtype=np.float32)


KINDS = ("normal", "relu", "ties", "negative", "constant", "rising", "signed zeros")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_tail_equals_a_full_sort(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    images, units = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 5))
    shape = (images, units, data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)))
    maps = make_maps(rng, data.draw(st.sampled_from(KINDS)), shape)
    total = maps.size // units
    keep = data.draw(st.integers(1, total))
    batches: list[int] = []
    while sum(batches) < images:
        batches.append(data.draw(st.integers(1, images - sum(batches))))
    stops = data.draw(st.sets(st.integers(0, len(batches) - 1)))
    budget = data.draw(st.sampled_from([1, 320, 3200, 32000, AMPLE]))
    result = gather(tmp_path_factory.mktemp("tail"), maps, keep, budget, batches, stops)
    # Adding 0 turns -0 into 0. Bytes are compared because 0 == -0.
    expected = sorted_values(maps)[:, :keep] + np.float32(0)
    assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("q", [0.001, 0.005, 0.04])
def test_quantiles_from_the_tail_equal_numpy(tmp_path: Path, kind: str, q: float):
    maps = make_maps(np.random.default_rng(1), kind, (60, 3, 7, 5))
    total = 60 * 35
    keep = tail_length(total, 0.04)
    tail = gather(tmp_path, maps, keep, 3200, [7] * 8 + [4], {2, 5})
    flat = maps.transpose(1, 0, 2, 3).reshape(3, -1)
    expected = np.quantile(flat.astype(np.float64), 1 - q, axis=1)
    # Both interpolate in float64, but NumPy computes the position from the other end.
    np.testing.assert_allclose(upper_quantile(tail.T, total, q), expected, rtol=1e-9, atol=1e-12)
    kth = sorted_values(maps)[:, int(np.floor(q * total))]
    np.testing.assert_array_equal(upper_quantile(tail.T, total, q, "kth"), kth)


def test_a_log_of_zeros_does_not_grow(tmp_path: Path):
    tail, size = Tail(tmp_path, 4, 50, 1 << 16), []
    for _ in range(40):
        maps = torch.zeros(8, 4, 10, 10)
        tail.add(maps, maps.amax((2, 3)))
        size.append(tail.checkpoint()["bytes"])
        tail.sweep()
    # Float32 values of 4 units, twice `keep` of them, and the headers of three parts.
    assert max(size) <= 4 * 4 * 2 * 50 + 3 * 12 * 4
    assert len(list(tmp_path.iterdir())) == 1


def test_the_log_never_exceeds_a_few_times_the_values_to_keep(tmp_path: Path):
    rng = np.random.default_rng(0)
    keep, units = 1000, 3
    tail, size = Tail(tmp_path, units, keep, 64000), []
    for _ in range(100):
        maps = torch.from_numpy(make_maps(rng, "normal", (4, units, 10, 10)))
        tail.add(maps, maps.amax((2, 3)))
        size.append(tail.checkpoint()["bytes"] / (4 * units * keep))
    assert max(size) < 2.5


def test_a_truncated_log_is_an_error(tmp_path: Path):
    tail = Tail(tmp_path, 2, 10, AMPLE)
    maps = torch.rand(3, 2, 4, 4)
    tail.add(maps, maps.amax((2, 3)))
    state = tail.checkpoint()
    log = next(tmp_path.glob("tail.*.log"))
    log.write_bytes(log.read_bytes()[:-1])
    with pytest.raises(ValueError, match="shorter"):
        Tail(tmp_path, 2, 10, AMPLE, state)


def test_merging_keeps_units_apart():
    a = Ragged(np.array([2, 0, 1]), np.array([1, 2, 3], np.float32))
    b = Ragged(np.array([0, 2, 2]), np.array([4, 5, 6, 7], np.float32))
    both = merge([a, b])
    assert both.counts.tolist() == [2, 2, 3]
    assert both.values.tolist() == [1, 2, 4, 5, 3, 6, 7]
    assert sorted(largest(both, 1).values.tolist()) == [2, 5, 7]


@pytest.mark.parametrize("level", [-np.inf, -1.0, 0.0, 2.5, 9.0])
def test_selection_on_host_and_device_agrees_with_a_loop(level: float):
    rng = np.random.default_rng(3)
    maps = make_maps(rng, "normal", (6, 5, 4, 3))
    floor = (level + rng.random(5)).astype(np.float32)
    rows, maxima = maps.reshape(6, 5, 12), maps.max(axis=(2, 3))
    expected = [maps[:, u][maps[:, u] > floor[u]] for u in range(5)]
    on_host = above(rows, maxima, floor)
    on_device = above_on_device(*map(torch.from_numpy, (rows, maxima, floor)))
    for selected in (on_host, on_device):
        assert selected.counts.tolist() == [len(values) for values in expected]
        np.testing.assert_array_equal(selected.values, np.concatenate(expected))
