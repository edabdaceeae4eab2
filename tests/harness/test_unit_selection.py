"""Tests the selection of units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.errors import InputError
from dissectbench.harness.unit_selection import select_units


def test_all_units_in_order():
    assert select_units("all", "fc", 4, 0) == [0, 1, 2, 3]


@given(st.integers(1, 60), st.integers(1, 50), st.integers(0, 5))
def test_a_sample_is_sorted_distinct_and_repeatable(size, n_units, seed):
    chosen = select_units(size, "layer4", n_units, seed)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(size, n_units)
    assert set(chosen) <= set(range(n_units))
    assert chosen == select_units(size, "layer4", n_units, seed)


def test_seed_and_layer_change_the_sample():
    samples = {
        tuple(select_units(50, layer, 512, seed)) for layer in ("layer3", "layer4") for seed in (0, 1)
    }
    assert len(samples) == 4


def test_a_smaller_sample_is_part_of_a_larger_one():
    assert set(select_units(10, "fc", 100, 0)) <= set(select_units(50, "fc", 100, 0))


def test_a_list_is_sorted_without_duplicates():
    assert select_units([17, 3, 3], "fc", 20, 0) == [3, 17]


@pytest.mark.parametrize("units", [0, -1, True, "some", [], [1.5], ["a"], [20], [-1]])
def test_invalid_selections_are_refused(units):
    with pytest.raises(InputError, match="units="):
        select_units(units, "fc", 20, 0)
