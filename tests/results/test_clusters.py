"""Means of clustered scores against classical formulas, brute force and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.results.clusters import clustered_summary
from dissectbench.results.statistics import Summary, summary


def test_clusters_of_one_score_give_the_classical_standard_error():
    scores = np.random.default_rng(0).normal(size=30)
    alone = clustered_summary(scores, [np.arange(30)], n_resamples=500)
    classical = summary(scores, n_resamples=500)
    assert alone.mean == classical.mean
    assert alone.standard_error == pytest.approx(classical.standard_error)
    assert classical.low is not None
    # The interval of independent scores is expanded for few units, this one is not.
    assert alone.low == pytest.approx(classical.low, abs=0.1)


def brute_force(scores, kinds):
    """The two-way variance as the double sum over pairs of scores, with the factor of each kind."""
    residuals = np.asarray(scores) - np.mean(scores)
    total = 0.0
    both = list(zip(*kinds, strict=True))
    for sign, labels in ((1, kinds[0]), (1, kinds[1]), (-1, both)):
        groups = len(set(labels))
        pairs = sum(
            residuals[i] * residuals[j]
            for i in range(len(residuals))
            for j in range(len(residuals))
            if labels[i] == labels[j]
        )
        total += sign * pairs * groups / (groups - 1)
    return total / len(residuals) ** 2


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3), st.integers(0, 4)), min_size=4, max_size=25)
)
def test_two_way_standard_errors_are_those_of_brute_force(rows):
    ratings, raters, units = zip(*rows, strict=True)
    if len(set(raters)) < 2 or len(set(units)) < 2 or len(set(zip(raters, units, strict=True))) < 2:
        assert clustered_summary(ratings, [raters, units], n_resamples=20).standard_error is None
        return
    variance = brute_force(ratings, [list(raters), list(units)])
    error = clustered_summary(ratings, [raters, units], n_resamples=20).standard_error
    assert error is not None
    if variance > 1e-9:
        assert error == pytest.approx(np.sqrt(variance))


def contains(result: Summary, value: float) -> bool:
    assert result.low is not None
    assert result.high is not None
    return result.low <= value <= result.high


def test_the_interval_covers_the_true_mean_where_the_naive_one_does_not():
    rng = np.random.default_rng(1)
    covered, naive = 0, 0
    for trial in range(100):
        raters, units = np.divmod(np.arange(200), 10)
        ratings = rng.normal(size=20)[raters] + rng.normal(size=10)[units] + rng.normal(size=200)
        result = clustered_summary(ratings, [raters, units], seed=trial, n_resamples=200)
        plain = summary(ratings, seed=trial, n_resamples=200)
        covered += contains(result, 0.0)
        naive += contains(plain, 0.0)
    assert covered >= 88  # 95 expected; 88 is three standard errors below
    assert naive < 75


def test_results_depend_neither_on_order_nor_on_names_of_clusters():
    scores, raters = [1.0, 2.0, 4.0, 8.0], ["x", "x", "y", "z"]
    first = clustered_summary(scores, [raters], n_resamples=50)
    renamed = clustered_summary(scores, [[10, 10, 20, 30]], n_resamples=50)
    assert first == renamed
    assert clustered_summary(scores[::-1], [raters[::-1]], n_resamples=50).standard_error == (
        pytest.approx(first.standard_error)
    )


def test_missing_scores_are_counted_and_too_few_clusters_have_no_error():
    result = clustered_summary([1.0, np.nan, 3.0], [["a", "b", "b"]], n_resamples=20)
    assert (result.n, result.n_missing, result.mean) == (2, 1, 2.0)
    one = clustered_summary([1.0, 3.0], [["a", "a"]])
    assert one.standard_error is None
    assert one.reason == "one cluster has no spread"
    assert clustered_summary([np.nan], [["a"]]).mean is None
    with pytest.raises(ValueError, match="kind"):
        clustered_summary([1.0], [])
    with pytest.raises(ValueError, match="every score"):
        clustered_summary([1.0, 2.0], [["a"]])
