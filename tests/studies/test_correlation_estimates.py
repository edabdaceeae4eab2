"""Images are drawn with their probabilities; estimates are unbiased, and intervals cover the truth."""

import numpy as np
import pytest
from presence_truths import KINDS, synthetic, synthetics, tinyworld
from study_simulation import compared

from dissectbench.results.studies.correlation import (
    ErrorRates,
    Votes,
    combined,
    draw,
    estimate,
    fit_answers,
    inclusion_probabilities,
    population,
    rate_uncertainty,
)
from dissectbench.results.studies.correlation.simulation import (
    Plan,
    majority,
    plugged_in,
    recommended,
    simulated,
    uniform_ratings,
)

TRUTH = synthetic("calibrated", 0.1, 1000, 0)


@pytest.mark.parametrize("rule", ["variance", "product", "uniform"])
@pytest.mark.parametrize("images", [1, 60, 999])
def test_probabilities_add_up_and_every_image_has_one(rule, images):
    chances = inclusion_probabilities(TRUTH.values, TRUTH.guess, images, rule=rule)
    assert chances.sum() == pytest.approx(images)
    assert chances.min() > 0
    assert chances.max() <= 1
    assert len(draw(chances, np.random.default_rng(0).random(1000))) == images


def test_all_images_are_rated_if_there_are_not_more_and_a_constant_unit_is_drawn_uniformly():
    assert (inclusion_probabilities(TRUTH.values, TRUTH.guess, 1000) == 1).all()
    constant = inclusion_probabilities(np.ones(50), np.full(50, 0.3), 10, rule="product")
    assert constant == pytest.approx(np.full(50, 0.2))


def test_images_are_drawn_as_often_as_their_probabilities_say():
    chances = inclusion_probabilities(TRUTH.values, TRUTH.guess, 60)
    rng = np.random.default_rng(0)
    studies = 4000
    counts = np.zeros(1000)
    for _ in range(studies):
        counts[draw(chances, rng.random(1000))] += 1
    deviation = np.sqrt(chances * (1 - chances) / studies)
    z = (counts / studies - chances) / np.where(deviation > 0, deviation, 1)
    # Pareto sampling is not exact: probabilities near 1 are off by some thousandths.
    assert np.abs(counts / studies - chances).max() < 0.035
    assert z.std() < 1.2


def test_one_sample_for_several_units_has_no_smaller_probability_and_fewer_images_than_all_samples():
    other = synthetic("blind", 0.1, 1000, 1)
    each = [inclusion_probabilities(t.values, TRUTH.guess, 60) for t in (TRUTH, other)]
    both = combined(each)
    assert (both >= np.maximum(*each) - 1e-12).all()
    assert both.sum() == pytest.approx(round(both.sum()))
    assert 60 < both.sum() < 120
    assert combined(each[:1]) == pytest.approx(each[0])


def test_samples_of_the_same_random_numbers_share_images():
    numbers = np.random.default_rng(0).random(1000)
    each = [
        draw(inclusion_probabilities(TRUTH.values, guess, 60), numbers)
        for guess in (TRUTH.guess, synthetic("useless", 0.1, 1000, 0).guess)
    ]
    assert len(set(each[0]) & set(each[1])) > 15
    apart = draw(inclusion_probabilities(TRUTH.values, TRUTH.guess, 60), 1 - numbers)
    assert len(set(each[0]) & set(apart)) < len(set(each[0]) & set(each[1]))


def test_cells_keep_the_number_of_images_and_the_sums_of_both_columns():
    of_all, cells = population(TRUTH.values, TRUTH.guess)
    assert of_all.images == 1000
    assert len(of_all.count) < 256
    z = (TRUTH.values - TRUTH.values.mean()) / TRUTH.values.std()
    assert of_all.count * of_all.value == pytest.approx(np.bincount(cells, z), abs=1e-9)
    assert (of_all.count * of_all.value).sum() == pytest.approx(0, abs=1e-9)


def test_every_image_rated_without_errors_gives_the_exact_correlation():
    plan = Plan(images=1000, answers=1, false_yes=1e-9, false_no=1e-9)
    study = simulated([TRUTH], plan, np.random.default_rng(0))
    fit = fit_answers(study.votes, study.rated, ErrorRates.same(1e-9, 1e-9, 12))
    result = estimate(study.samples[0], study.populations[0], 0, fit)
    assert result.value == pytest.approx(TRUTH.correlation, abs=1e-6)
    assert result.prevalence == pytest.approx(0.1, abs=1e-6)
    assert result.standard_error < 1e-3
    assert result.ratings == result.images == 1000


@pytest.mark.parametrize("answer", [False, True])
def test_a_concept_that_no_image_or_every_image_shows_has_correlation_zero(answer):
    plan = Plan(images=1000, answers=1)
    study = simulated([TRUTH], plan, np.random.default_rng(0))
    study.votes.yes[:] = answer
    fit = fit_answers(study.votes, study.rated, ErrorRates.same(1e-9, 1e-9, 12))
    result = estimate(study.samples[0], study.populations[0], 0, fit)
    assert result.value == result.low == result.high == 0
    assert result.prevalence == pytest.approx(float(answer), abs=1e-3)


def test_error_rates_of_raters_are_recovered():
    truths = [synthetic(kind, 0.2, 4000, 0) for kind in KINDS]
    rng = np.random.default_rng(1)
    study = simulated(truths, Plan(raters=6, alike=30, images=400), rng)
    fit = fit_answers(study.votes, study.rated)
    doubt = rate_uncertainty(study.votes, study.rated, fit)
    assert fit.rates.of_raters == pytest.approx(study.rates, abs=0.06)
    assert np.abs(fit.rates.of_raters - study.rates).mean() < 0.02
    assert np.abs(fit.rates.of_raters - study.rates).mean() < 0.7 * np.abs(_spread(study.rates)).mean()
    assert 0 < np.sqrt(np.diag(doubt.covariance)).max() < 0.3


def _spread(rates):
    return rates - rates.mean(axis=0)


def test_an_answer_more_or_less_moves_presence_by_its_weight_of_evidence():
    votes = Votes(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([True, False, True]), 3)
    ratios = ErrorRates.same(0.1, 0.2, 2).log_ratios(votes)
    yes, no = np.log(0.8 / 0.1), np.log(0.2 / 0.9)
    assert ratios == pytest.approx([yes + no, yes, 0])


def test_estimates_are_less_biased_than_majority_votes_in_a_few_studies():
    truths = synthetics(4000, (0.1, 0.4))
    outcomes = compared(truths, Plan(false_yes=0.1, false_no=0.2), 6)
    best, votes = outcomes["recommended"], outcomes["majority"]
    assert abs(best.bias) < 0.02
    assert best.coverage > 0.85
    assert votes.bias < -0.04
    assert best.rmse < 0.75 * votes.rmse


def test_ratings_of_a_uniform_sample_have_the_standard_error_that_is_asked_for():
    plan = Plan(images=2000, answers=3, rule="uniform", false_yes=0.05, false_no=0.2, alike=1e9)
    truth = synthetic("calibrated", 0.2, 40_000, 0)
    values = []
    for seed in range(150):
        study = simulated([truth], plan, np.random.default_rng(seed))
        values.append(plugged_in(study, majority(study))[0])
    needed = uniform_ratings(truth, plan, float(np.std(values)), debiased=False)
    assert needed == pytest.approx(plan.images * plan.answers, rel=0.3)
    assert uniform_ratings(truth, plan, 0.05, debiased=True) > uniform_ratings(
        truth, plan, 0.1, debiased=True
    )


def test_a_study_without_a_guess_is_unbiased_too():
    truth = synthetic("calibrated", 0.3, 2000, 0)
    blind = type(truth)(truth.name, truth.values, truth.presence, np.full(2000, 0.05))
    values = [
        recommended(simulated([blind], Plan(), np.random.default_rng(seed)))[0].value
        for seed in range(20)
    ]
    assert np.mean(values) == pytest.approx(
        truth.correlation, abs=3 * np.std(values) / np.sqrt(20) + 0.01
    )


@pytest.mark.slow
@pytest.mark.parametrize("errors", [(0.02, 0.3), (0.05, 0.2), (0.23, 0.23)])
def test_estimates_are_unbiased_and_intervals_cover_at_the_nominal_rate(errors):
    outcomes = compared(synthetics(), Plan(false_yes=errors[0], false_no=errors[1]), 40)
    best = outcomes["recommended"]
    assert abs(best.bias) < 0.015
    assert 0.91 < best.coverage < 0.985
    # 23 % of wrong answers attenuate both usual estimators.
    assert outcomes["majority"].bias < best.bias - 0.02
    assert outcomes["posterior"].bias < -0.08


@pytest.mark.slow
def test_estimates_are_unbiased_on_units_of_tinyworld(tmp_path, monkeypatch):
    monkeypatch.setenv("DISSECTBENCH_HOME", str(tmp_path / "home"))
    outcomes = compared(tinyworld(tmp_path, images=1200), Plan(), 30)
    assert abs(outcomes["recommended"].bias) < 0.01
    assert 0.91 < outcomes["recommended"].coverage < 0.99
    assert outcomes["recommended"].rmse < outcomes["majority"].rmse
