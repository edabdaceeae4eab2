"""Means, intervals, paired tests and Holm's correction against closed forms, scipy and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dissectbench.results.statistics import exact_sign_flip_p, holm, paired_permutation, summary

NAN = float("nan")


def test_mean_and_standard_error_equal_their_closed_form():
    result = summary([1.0, 2.0, 3.0, 4.0])
    assert result.mean == 2.5
    assert result.standard_error == pytest.approx(math.sqrt(5 / 3) / 2)
    assert (result.n, result.n_missing, result.reason) == (4, 0, None)


def test_missing_scores_are_left_out_and_counted():
    result = summary([NAN, 1.0, NAN, 3.0])
    assert (result.mean, result.n, result.n_missing) == (2.0, 2, 2)


@pytest.mark.parametrize(("scores", "mean"), [([], None), ([NAN, NAN], None), ([0.25], 0.25)])
def test_fewer_than_two_scores_have_no_interval_but_a_reason(scores, mean):
    result = summary(scores)
    assert result.mean == mean
    assert result.standard_error is result.low is result.high is None
    assert result.reason


def test_equal_scores_have_an_interval_of_no_width():
    result = summary([0.25] * 7)
    assert (result.low, result.mean, result.high, result.standard_error) == (0.25, 0.25, 0.25, 0.0)


@pytest.mark.parametrize("scores", [[[1.0, 2.0]], [1.0, math.inf]])
def test_scores_that_are_not_a_list_of_finite_numbers_are_an_error(scores):
    with pytest.raises(ValueError, match=r"one-dimensional|finite"):
        summary(scores)


@settings(deadline=None)
@given(st.permutations([0.1, 0.4, 0.35, 0.8, 0.05, NAN]), st.integers(0, 3))
def test_no_statistic_depends_on_the_order_of_units(scores, seed):
    reference = summary([0.1, 0.4, 0.35, 0.8, 0.05, NAN], seed=seed, n_resamples=200)
    assert summary(scores, seed=seed, n_resamples=200) == reference


def test_the_interval_depends_on_the_seed():
    scores = np.random.default_rng(0).normal(size=50)
    assert summary(scores, seed=1) == summary(scores, seed=1)
    assert summary(scores, seed=1).low != summary(scores, seed=2).low


def test_the_interval_is_scipys_percentile_interval_at_the_expanded_level():
    scores = np.sort(np.random.default_rng(3).normal(size=15))
    result = summary(scores, seed=5, n_resamples=5000)
    draws = stats.bootstrap(
        (scores,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(5)
    ).bootstrap_distribution
    tail = stats.norm.cdf(-math.sqrt(15 / 14) * stats.t.ppf(0.975, 14))
    assert tail < 0.025
    assert [result.low, result.high] == pytest.approx(np.quantile(draws, [tail, 1 - tail]), abs=1e-3)


def test_the_interval_of_many_scores_agrees_with_the_normal_approximation():
    scores = np.random.default_rng(4).uniform(size=1000)
    result = summary(scores)
    assert result.mean is not None
    assert result.standard_error is not None
    assert result.low == pytest.approx(result.mean - 1.96 * result.standard_error, abs=1e-3)
    assert result.high == pytest.approx(result.mean + 1.96 * result.standard_error, abs=1e-3)


@pytest.mark.parametrize("n", [12, 40])
def test_the_interval_covers_the_true_mean_at_its_level(n):
    rng = np.random.default_rng(2024)
    covered = 0
    for sample in rng.beta(4.0, 3.0, size=(2000, n)):  # bounded and slightly skewed, like cosines
        result = summary(sample, n_resamples=500)
        assert result.low is not None
        assert result.high is not None
        covered += result.low <= 4 / 7 <= result.high
    assert 0.93 <= covered / 2000 <= 0.97


def test_all_sign_patterns_of_few_units_give_the_exact_p_value():
    result = paired_permutation([2.0, 3.0, 4.0, 6.0], [1.0, 1.0, 1.0, 2.0])
    assert result.exact
    assert result.p_value == 2 / 16  # only all-plus and all-minus are as extreme
    assert result.difference.mean == 2.5


@pytest.mark.parametrize("n", [3, 8, 12])
def test_exact_p_values_equal_those_of_scipy(n):
    a, b = np.random.default_rng(n).normal(size=(2, n)) + np.array([[0.4], [0.0]])
    expected = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True
    )
    result = paired_permutation(a, b)
    assert result.exact
    assert result.p_value == pytest.approx(expected.pvalue, abs=1e-12)


def test_drawn_p_values_approach_the_exact_one():
    a, b = np.random.default_rng(7).normal(size=(2, 12)) + np.array([[0.5], [0.0]])
    exact = paired_permutation(a, b, n_resamples=4096)
    drawn = paired_permutation(a, b, n_resamples=4095)
    assert exact.exact
    assert not drawn.exact
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.02)


def test_a_drawn_p_value_is_never_zero():
    result = paired_permutation(np.ones(100), np.zeros(100), n_resamples=999)
    assert result.p_value == 1 / 1000


def test_equal_scores_have_the_p_value_one():
    assert paired_permutation([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]).p_value == 1.0
    assert paired_permutation(np.full(60, 0.1), np.full(60, 0.1)).p_value == 1.0


def test_only_units_that_both_methods_have_are_compared():
    result = paired_permutation([1.0, NAN, 3.0, 5.0], [0.0, 9.0, NAN, 3.0])
    assert (result.difference.n, result.difference.n_missing) == (2, 2)
    assert result.difference.mean == 1.5


def test_no_common_unit_gives_no_p_value_but_a_reason():
    result = paired_permutation([1.0, NAN], [NAN, 1.0])
    assert result.p_value is None
    assert result.difference.reason


def test_scores_of_different_units_cannot_be_paired():
    with pytest.raises(ValueError, match="same units"):
        paired_permutation([1.0, 2.0], [1.0])


@settings(deadline=None)
@given(st.permutations(range(30)))
def test_the_p_value_depends_neither_on_order_nor_on_direction(order):
    a, b = np.random.default_rng(11).normal(size=(2, 30))
    reference = paired_permutation(a, b, n_resamples=300)
    assert paired_permutation(a[list(order)], b[list(order)], n_resamples=300) == reference
    assert paired_permutation(b, a, n_resamples=300).p_value == pytest.approx(reference.p_value, abs=0.1)


def test_p_values_are_uniform_where_there_is_no_difference():
    rng = np.random.default_rng(99)
    p = [
        paired_permutation(a, b, seed=i, n_resamples=199).p_value
        for i, (a, b) in enumerate(rng.exponential(size=(1000, 2, 25)))
    ]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.05)


def test_holm_gives_textbook_values():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_agrees_with_its_definition(p_values):
    m = len(p_values)
    ranked = sorted(p_values)
    for p, corrected in zip(p_values, holm(p_values), strict=True):
        steps = [(m - i) * q for i, q in enumerate(ranked) if q <= p]
        assert corrected == pytest.approx(min(1.0, max(steps)))


@pytest.mark.parametrize("p", [-0.1, 1.1, NAN])
def test_a_value_outside_zero_and_one_is_not_a_p_value(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, p])


@given(st.lists(st.integers(-4, 4), max_size=9))
def test_the_p_value_of_integers_equals_that_of_all_sign_patterns(differences):
    patterns = [sum(signs) for signs in itertools.product(*((d, -d) for d in differences))]
    extreme = sum(abs(total) >= abs(sum(differences)) for total in patterns)
    assert exact_sign_flip_p(differences) == pytest.approx(extreme / len(patterns))
