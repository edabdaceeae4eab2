"""Rank intervals, tie groups, effect sizes and detectable differences."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.results.ranks import (
    _letters,
    effect_size,
    rank_intervals,
    smallest_detectable_difference,
)

RNG = np.random.default_rng(4)
HARD = RNG.normal(0, 1, 60)  # what makes a unit hard for every method
SCORES = {
    "third": HARD - 1 + RNG.normal(0, 0.1, 60),
    "first": HARD + 1 + RNG.normal(0, 0.1, 60),
    "second": HARD + RNG.normal(0, 0.1, 60),
    "also second": HARD + RNG.normal(0, 0.1, 60),
}


def test_methods_that_do_not_differ_share_a_rank_interval_and_a_letter():
    ranks = rank_intervals(SCORES, n_resamples=1000)
    assert next(iter(ranks)) == "first"
    assert {name: str(rank) for name, rank in ranks.items()} == {
        "first": "1",
        "second": "2-3",
        "also second": "2-3",
        "third": "4",
    }
    assert ranks["second"].group == ranks["also second"].group == "b"
    assert (ranks["first"].group, ranks["third"].group) == ("a", "c")


def test_for_a_distance_the_order_is_reversed():
    ranks = rank_intervals(SCORES, higher_is_better=False, n_resamples=1000)
    assert str(ranks["third"]) == "1"
    assert str(ranks["first"]) == "4"


def test_ranks_do_not_depend_on_the_order_of_methods_or_units():
    shuffled = RNG.permutation(60)
    other = {name: SCORES[name][shuffled] for name in sorted(SCORES)}
    assert rank_intervals(other, n_resamples=1000) == rank_intervals(SCORES, n_resamples=1000)


def test_only_units_that_every_method_has_count():
    hard = np.where(HARD < 0, np.nan, SCORES["third"])  # leaves out the hard units
    both = rank_intervals({"a": hard, "b": SCORES["second"]}, n_resamples=1000)
    assert str(both["b"]) == "1"
    nothing = rank_intervals({"a": [np.nan, 1.0], "b": [1.0, np.nan]})
    assert {str(rank) for rank in nothing.values()} == {"1-2"}


def test_one_method_has_rank_one():
    assert str(rank_intervals({"a": [1.0, 2.0]})["a"]) == "1"


@settings(deadline=None)
@given(
    st.integers(1, 7).flatmap(
        lambda n: st.tuples(
            st.just(n), st.sets(st.sampled_from(list(combinations(range(n), 2)) or [(0, 0)]))
        )
    )
)
def test_letters_are_shared_exactly_by_methods_that_do_not_differ(case):
    n, different = case
    better = np.zeros((n, n), bool)
    for first, second in different:
        better[first, second] = first != second
    letters = _letters(better)
    for first, second in combinations(range(n), 2):
        assert bool(set(letters[first]) & set(letters[second])) != bool(better[first, second])


def test_effect_size_is_the_mean_in_standard_deviations():
    assert effect_size([1.0, 2.0, 3.0, np.nan]) == pytest.approx(2.0)
    assert effect_size([1.0]) is None
    assert effect_size([1.0, 1.0]) is None


def test_a_detectable_difference_is_detected_with_its_power():
    rng = np.random.default_rng(0)
    n, found = 40, 0
    for _ in range(400):
        noise = rng.normal(0, 1, n)
        shift = (2.0227 + 0.8511) / math.sqrt(n)  # t quantiles of 39 degrees of freedom, sd 1
        values = noise + shift
        found += abs(values.mean()) / (values.std(ddof=1) / math.sqrt(n)) > 2.0227
    assert 0.75 < found / 400 < 0.87  # three standard errors around 0.8 and a little
    exact = rng.normal(0, 1, n)
    expected = (2.0227 + 0.8511) * exact.std(ddof=1) / math.sqrt(n)
    assert smallest_detectable_difference(exact) == pytest.approx(expected, rel=1e-3)
    assert smallest_detectable_difference([0.3]) is None
