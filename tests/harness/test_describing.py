"""Every unit gets a record, also if the method fails."""

import itertools

import numpy as np
import pytest
from PIL import Image

from dissectbench.datasets.probing_set import ProbingSet
from dissectbench.harness.cache import Cache
from dissectbench.harness.describing import describe, remaining
from dissectbench.harness.errors import InputError
from dissectbench.harness.journal import Journal, read_spent
from dissectbench.harness.probe import ArrayLayer
from dissectbench.harness.records import Description
from dissectbench.methods.method import Method


class Grey(ProbingSet):
    name = "grey"

    def __len__(self):
        return 4

    def image(self, index):
        return Image.new("RGB", (8, 8), (index, index, index))

    def locate(self, index):
        return f"grey/{index}"

    def fingerprint(self):
        return "grey"


class Counting(Method):
    """Describes a unit by its number; `trouble` may raise an exception for some."""

    name = "counting"

    def __init__(self, trouble=lambda unit: None):
        self.trouble = trouble
        self.tried = []

    def describe(self, layer, units):
        for unit in units:
            self.tried.append(unit)
            self.trouble(unit)
            yield Description(layer.unit(unit), self.name, f"unit {unit}")


@pytest.fixture
def layer(tmp_path):
    maps = np.random.default_rng(0).normal(size=(4, 30)).astype(np.float32)
    return ArrayLayer(maps, Grey(), Cache(tmp_path / "cache"))


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "descriptions.jsonl") as journal:
        yield journal


def statuses(journal):
    return {unit.index: record.status for (unit, _), record in journal.latest.items()}


def test_a_failing_unit_is_recorded_with_its_reason_and_the_next_are_described(layer, journal):
    def trouble(unit):
        if unit in (2, 5):
            raise ValueError(f"no idea about {unit}")

    describe(Counting(trouble), layer, range(8), journal)
    assert statuses(journal) == {u: "failed" if u in (2, 5) else "ok" for u in range(8)}
    assert journal.latest[layer.unit(5), "counting"].evidence == {"reason": "ValueError: no idea about 5"}


def test_a_method_that_always_fails_is_stopped_and_every_unit_has_a_record(layer, journal):
    def trouble(_unit):
        raise RuntimeError("out of order")

    method = Counting(trouble)
    describe(method, layer, range(30), journal)
    assert set(statuses(journal).values()) == {"failed"}
    assert len(statuses(journal)) == 30
    assert len(method.tried) == 10
    assert "not tried" in journal.latest[layer.unit(29), "counting"].evidence["reason"]


def test_a_unit_that_a_method_leaves_out_gets_a_failed_record(layer, journal):
    class StoppingEarly(Counting):
        def describe(self, layer, units):
            yield from itertools.islice(super().describe(layer, units), 1)

    describe(StoppingEarly(), layer, range(3), journal)
    assert statuses(journal) == {0: "ok", 1: "failed", 2: "ok"}


def test_a_description_of_another_unit_is_not_recorded(layer, journal):
    class OffByOne(Counting):
        def describe(self, layer, units):
            for unit in units:
                yield Description(layer.unit(unit + 1), self.name, "words")

    describe(OffByOne(), layer, range(2), journal)
    assert statuses(journal) == {0: "failed", 1: "failed"}


def test_an_error_of_the_user_aborts_the_run(layer, journal):
    def trouble(unit):
        if unit == 1:
            raise InputError("weights missing")

    with pytest.raises(InputError, match="weights missing"):
        describe(Counting(trouble), layer, range(3), journal)
    assert statuses(journal) == {0: "ok"}


def test_units_without_a_record_remain_and_failed_ones_on_request(layer, journal):
    def trouble(unit):
        if unit == 1:
            raise ValueError("no")

    describe(Counting(trouble), layer, [0, 1], journal)
    assert remaining(journal, "counting", layer, range(4), retry_failed=False) == [2, 3]
    assert remaining(journal, "counting", layer, range(4), retry_failed=True) == [1, 2, 3]
    assert remaining(journal, "other", layer, range(2), retry_failed=False) == [0, 1]


def test_the_seconds_of_the_maps_are_part_of_a_units_seconds(layer, journal):
    class Timed(Method):
        name = "timed"

        def identity(self):
            return {}

        def describe(self, layer, units):
            for unit in units:
                yield Description(layer.unit(unit), self.name, "words", seconds=0.5)

    describe(Timed(), layer, [0, 1], journal, map_seconds=0.25)
    spent = read_spent(journal.path.with_name("spent.jsonl"))
    assert [s.seconds for s in spent.values()] == [0.75, 0.75]
