"""Agreement of raters against published examples, reference values, brute force and simulation."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.results.studies.analysis.agreement import (
    agreement,
    alpha,
    alpha_summary,
    rating_pairs,
    value_counts,
)

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): four observers, twelve units.
EXAMPLE = """\
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 ."""


def example():
    rows = [[np.nan if c == "." else float(c) for c in line.split()] for line in EXAMPLE.splitlines()]
    table = np.array(rows)
    raters, things = np.indices(table.shape)
    return table.ravel(), things.ravel(), raters.ravel()


def two_raters(first, second):
    n = len(first)
    return agreement([*first, *second], [*range(n)] * 2, ["a"] * n + ["b"] * n)


def test_alpha_of_krippendorffs_example():
    measures = agreement(*example())
    assert measures["alpha (nominal)"] == pytest.approx(0.743, abs=5e-4)
    assert measures["alpha (ordinal)"] == pytest.approx(0.815, abs=5e-4)
    assert measures["alpha (interval)"] == pytest.approx(0.849, abs=5e-4)
    # Correlations are of two raters.
    assert measures["Pearson"] is measures["Spearman"] is None


@pytest.mark.parametrize("function", ["pooled", "mean", "topk_sq", "image_products", "topk_compare"])
def test_agreement_equals_reference_implementations(shared, function):
    study = json.loads((shared / "golden" / "human_study.json").read_text())
    expected = study["expected"]
    names = study["scoring_functions"]
    columns = range(len(names)) if function == "pooled" else [names.index(function)]
    first, second = ([row[e][c] for row in study["rows"] for c in columns] for e in ("E1", "E2"))
    golden = (
        expected["agreement_pooled"]
        if function == "pooled"
        else expected["agreement_by_function"][function]
    )
    measures = two_raters(first, second)
    for key, name in (
        ("pearson", "Pearson"),
        ("spearman", "Spearman"),
        ("quadratic_weighted_kappa", "weighted kappa"),
        ("krippendorff_alpha_interval", "alpha (interval)"),
        ("krippendorff_alpha_ordinal", "alpha (ordinal)"),
    ):
        assert measures[name] == pytest.approx(golden[key], abs=1e-6), name
    assert measures["equal (%)"] == pytest.approx(100 * golden["exact_agreement"])
    assert measures["within one (%)"] == pytest.approx(100 * golden["within_one"])


def test_agreement_of_constant_ratings_is_undefined():
    measures = two_raters([3, 3], [3, 3])
    assert measures["Pearson"] is measures["weighted kappa"] is measures["alpha (ordinal)"] is None
    assert measures["equal (%)"] == 100


def test_without_common_things_every_measure_is_undefined():
    assert set(agreement([1, 5, 3], [0, 1, 2], ["a", "b", "a"]).values()) == {None}
    summary = alpha_summary([1, 5, 3], [0, 1, 2], [0, 1, 2])
    assert summary.mean is None
    assert summary.reason == "no two raters rated the same description"


def brute_alpha(values, things, distance):
    """Alpha by its definition: mean distance within things over mean distance of all ratings."""
    of_things = [[v for v, t in zip(values, things, strict=True) if t == thing] for thing in set(things)]
    paired = [ratings for ratings in of_things if len(ratings) > 1]
    ratings = [rating for thing in paired for rating in thing]
    n = len(ratings)
    observed = sum(
        sum(distance(a, b, ratings) for a in thing for b in thing) / (len(thing) - 1) for thing in paired
    )
    expected = sum(distance(a, b, ratings) for a in ratings for b in ratings)
    return 1 - (n - 1) * observed / expected if expected else None


def ordinal(a, b, ratings):
    low, high = min(a, b), max(a, b)
    between = sum(low <= rating <= high for rating in ratings)
    return (between - (ratings.count(a) + ratings.count(b)) / 2) ** 2


@settings(deadline=None, max_examples=80)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 5), st.integers(0, 3)), st.sampled_from([1, 2, 4, 5]), min_size=2
    )
)
def test_alpha_equals_its_definition(cells):
    things, raters = zip(*cells, strict=True)
    values = list(cells.values())
    measures = agreement(values, things, raters)
    for level, distance in (
        ("nominal", lambda a, b, _: a != b),
        ("interval", lambda a, b, _: (a - b) ** 2),
        ("ordinal", ordinal),
    ):
        assert measures[f"alpha ({level})"] == pytest.approx(brute_alpha(values, things, distance))


def test_pairs_are_those_of_different_raters_of_one_thing():
    values, things, raters = np.array([1.0, 2, 3, 4, 5]), [0, 0, 0, 1, 2], ["a", "b", "c", "a", "b"]
    pairs = rating_pairs(values, things, raters)
    assert sorted(zip(pairs.first, pairs.second, strict=True)) == [(1, 2), (1, 3), (2, 3)]


def test_the_order_of_ratings_does_not_matter():
    values, things, raters = example()
    order = np.random.default_rng(0).permutation(len(values))
    assert agreement(values[order], things[order], raters[order]) == pytest.approx(
        agreement(values, things, raters)
    )
    assert alpha_summary(values[order], things[order], things[order], n_resamples=50) == alpha_summary(
        values, things, things, n_resamples=50
    )


def test_alpha_counts_the_distance_of_values_that_are_not_consecutive():
    counts, levels = value_counts(np.array([1.0, 1, 5, 4]), [0, 0, 1, 1])
    assert alpha(counts, "interval", levels) == pytest.approx(1 - 3 * 2 / (2 * (0 + 9 + 16 + 9 + 16 + 1)))


@pytest.mark.slow
def test_the_interval_of_alpha_covers_the_alpha_of_many_units():
    rng = np.random.default_rng(3)

    def ratings(n):
        truth = rng.normal(size=(n, 1))
        return np.clip(np.round(3 + truth + rng.normal(size=(n, 3))), 1, 5)

    truth = alpha(value_counts(ratings(20_000).ravel(), np.repeat(np.arange(20_000), 3))[0], "ordinal")
    units = np.repeat(np.arange(60), 3)
    covered = 0
    for trial in range(200):
        summary = alpha_summary(ratings(60).ravel(), units, units, seed=trial, n_resamples=400)
        assert truth is not None
        assert summary.low is not None
        assert summary.high is not None
        covered += summary.low <= truth <= summary.high
    # 190 expected; three standard errors below, less what the percentile interval loses with 60 units.
    assert covered >= 178
