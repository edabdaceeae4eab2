"""Means, choices and comparisons of a study are those of the reference and of brute force."""

import itertools
import json
import math

import numpy as np
import pytest
from golden_study import golden_study

from dissectbench.harness.records import UnitId
from dissectbench.results.statistics import holm
from dissectbench.results.studies import Rules, import_answers, read_answers
from dissectbench.results.studies.analysis import Ratings, study_ratings
from dissectbench.results.studies.analysis.comparisons import differences
from dissectbench.results.studies.analysis.estimates import MEAN_OF_LAYERS, POOLED, Resampling, estimates

FEW = Resampling(n_resamples=50)


@pytest.mark.parametrize(
    ("rules", "results"), [(Rules(), "results"), (Rules(too_fast=10), "results_without_too_fast")]
)
def test_the_reference_study_has_the_expected_means(shared, tmp_path, rules, results):
    golden = shared / "golden" / "mturk"
    study = golden_study(golden, tmp_path / "study")
    import_answers(study, [golden / "Batch_results_A.csv"])
    expected = json.loads((golden / "expected.json").read_text(encoding="utf-8"))[results]
    ratings, _ = study_ratings(study, read_answers(study), rules)
    means = estimates(ratings, ratings.values, "no rating", FEW)
    chosen = estimates(ratings, ratings.best, "no choice", FEW)
    for layer, of_layer in expected.items():
        row = POOLED if layer == "all" else layer
        for column, method in enumerate(ratings.methods):
            want, mean, best = of_layer[method], means[row, column], chosen[row, column]
            assert best.mean is not None
            assert (mean.n, round(best.mean * best.n)) == (want["n_ratings"], want["times_best"])
            assert mean.mean == pytest.approx(want["mean_rating"], abs=1e-9)
            assert mean.standard_error == pytest.approx(want["standard_error"], abs=1e-9)
            assert 100 * best.mean == pytest.approx(want["percent_best_none_in_denominator"], abs=1e-9)
    for column in range(len(ratings.methods)):
        layers = [means[layer, column].mean or math.nan for layer in ratings.layers]
        assert means[MEAN_OF_LAYERS, column].mean == pytest.approx(np.mean(layers), abs=1e-12)


def small_ratings():
    """Five units of two layers, two raters, three methods; one rating is missing."""
    random = np.random.default_rng(3)
    values = random.integers(1, 6, (10, 3)).astype(float)
    values[4, 1] = np.nan
    return Ratings(
        *(("a", "b", "c"), ("l1", "l2")),
        tuple(UnitId("net", "l1" if index < 3 else "l2", index) for index in range(5)),
        ("r1", "r2"),
        unit=np.repeat(np.arange(5), 2),
        rater=np.tile([0, 1], 5),
        values=values,
        best=np.zeros((10, 3)),
        slots=np.tile([1, 2, 3], (10, 1)),
    )


def brute_force_p(sums):
    patterns = itertools.product((-1, 1), repeat=len(sums))
    totals = [abs(sum(sign * value for sign, value in zip(p, sums, strict=True))) for p in patterns]
    return np.mean([total >= abs(sum(sums)) for total in totals])


def test_differences_equal_all_sign_patterns_of_units():
    ratings = small_ratings()
    found = {(d.row, d.first, d.second): d for d in differences(ratings, ratings.values, FEW)}
    for row, units in (("l1", range(3)), ("l2", range(3, 5)), (POOLED, range(5))):
        for a, b in itertools.combinations(range(3), 2):
            paired = ratings.values[:, a] - ratings.values[:, b]
            sums = [np.nansum(paired[ratings.unit == unit]) for unit in units]
            got = found[row, ratings.methods[a], ratings.methods[b]]
            assert got.p_value == pytest.approx(brute_force_p(sums))
            kept = paired[np.isin(ratings.unit, list(units)) & ~np.isnan(paired)]
            assert got.difference.mean == pytest.approx(kept.mean())
    families = [[d for d in found.values() if (d.row == POOLED) == pooled] for pooled in (True, False)]
    for family in families:
        p_values = [d.p_value for d in family if d.p_value is not None]
        assert [d.corrected for d in family] == pytest.approx(holm(p_values))


def test_an_interval_needs_two_units_and_two_raters():
    ratings = small_ratings()
    one = ratings.only(ratings.unit == 0)
    mean = estimates(one, one.values, "no rating", FEW)["l1", 0]
    assert mean.low is None
    assert mean.reason
    assert math.isfinite(mean.mean or math.nan)
