"""Similarity functions of CLIP-Dissect: reference values, formulas in float64, and properties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import rounding

from dissectbench.methods.clip_dissect import concept_softmax
from dissectbench.methods.clip_dissect import cosines as cosines_module
from dissectbench.methods.clip_dissect.activation_order import strongest
from dissectbench.methods.clip_dissect.cosines import ArrayCosines, EmbeddingCosines
from dissectbench.methods.clip_dissect.similarity import (
    SIMILARITIES,
    cos_similarity,
    cos_similarity_cubed,
    rank_reorder,
    soft_wpmi,
    wpmi,
)

# Eight images, three concepts, two units: small enough to check by hand.
P = np.array(
    [
        [0.30, 0.20, 0.10], [0.26, 0.22, 0.18], [0.21, 0.27, 0.15], [0.18, 0.29, 0.17],
        [0.15, 0.19, 0.28], [0.12, 0.16, 0.31], [0.20, 0.21, 0.19], [0.17, 0.18, 0.16],
    ],
    np.float32,
)  # fmt: skip
A = np.array(
    [[3, 0.1], [2.5, 0.2], [1, 2], [0.6, 3.1], [0.2, 0.4], [0, 1], [0.8, 0.3], [0.4, 0.05]], np.float32
)


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden" / "clip_dissect_similarity.npz")


def log_mean_exp(values):
    return np.logaddexp.reduce(values, axis=0) - np.log(len(values))


def slow_soft_wpmi(a_, p_, top_k, a, lam, min_prob, first, last, population):
    """The formula, unit by unit, in float64."""
    logits = a * p_.astype(np.float64)
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
    sums = []
    for unit in range(a_.shape[1]):
        images = np.argsort(-a_[:, unit], kind="stable")[:top_k]
        q = first - np.arange(top_k) / top_k * (first - last)
        sums.append(np.log(1 + q[:, None] * (p[images] - 1) + min_prob).sum(axis=0))
    sums = np.array(sums)
    return sums - lam * log_mean_exp(sums[list(population)])


def slow_wpmi(a_, p_, top_k, a, lam, min_prob, population):
    logits = a * p_.astype(np.float64)
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
    order = [np.argsort(-column, kind="stable")[:top_k] for column in a_.T]
    sums = np.array([np.log(p[images] + min_prob).sum(axis=0) for images in order])
    return sums - lam * log_mean_exp(sums[list(population)])


def slow_rank_reorder(a_, p_, power, top_fraction, mean_power):
    n = int(np.floor(top_fraction * len(a_)))
    rows = []
    for column in a_.T.astype(np.float64):
        images = np.argsort(-column, kind="stable")[:n]
        t, cosines = column[images], p_[images].astype(np.float64)
        rank = np.argsort(np.argsort(cosines, axis=0, kind="stable"), axis=0)
        error = (np.abs(t[:, None] - np.sort(t)[rank]) ** power).mean(axis=0)
        base = (np.abs(t[:, None] - t) ** power).mean()
        rows.append(-(error / base) / cosines.mean(axis=0) ** mean_power)
    return np.array(rows)


def random_inputs(seed, n_images=60, n_units=5, n_concepts=40):
    """Activations with ties and zeros, as rectified units have them, and cosines."""
    rng = np.random.default_rng(seed)
    activations = np.maximum(rng.standard_normal((n_images, n_units)), 0).astype(np.float32)
    activations = np.round(activations, int(rng.integers(1, 4)))
    cosines = rng.uniform(0.05, 0.45, (n_images, n_concepts)).astype(np.float32)
    return activations, cosines


# Known values


@pytest.mark.parametrize(
    ("function", "settings", "expected"),
    [
        (cos_similarity, {}, [[0.872951, 0.723551, 0.530903], [0.581196, 0.757188, 0.613065]]),
        (
            cos_similarity_cubed,
            {},
            [[0.948511, 0.019564, -0.528482], [-0.049884, 0.440595, 0.005358]],
        ),
        (wpmi, {"top_k": 3}, [[-1.081987, -1.301535, -1.623969], [-1.586369, -1.225917, -1.208351]]),
        (
            wpmi,
            {"top_k": 3, "prior_weight": 1.0},
            [[0.220722, -0.038524, -0.229248], [-0.283659, 0.037095, 0.186370]],
        ),
        (soft_wpmi, {"top_k": 4}, [[0.652987, 0.041839, -1.909859], [-2.541742, -0.043667, 0.616211]]),
        (
            soft_wpmi,
            {"top_k": 4, "prior_weight": 0.0},
            [[-3.382529, -4.098176, -6.791870], [-6.577258, -4.183682, -4.265799]],
        ),
        (
            rank_reorder,
            {"top_fraction": 0.5},
            [[0, -2.905929, -3.996593], [-0.428072, -0.050902, -3.147653]],
        ),
    ],
)
def test_values_of_the_small_case(function, settings, expected):
    np.testing.assert_allclose(function(A, P, **settings).scores, expected, atol=1e-4)


ALT_SOFT = {
    "top_k": 40,
    "inverse_temperature": 5,
    "prior_weight": 0.5,
    "first_membership": 0.99,
    "last_membership": 0.90,
    "min_prob": 1e-6,
}
ALT = {"top_k": 15, "inverse_temperature": 4, "prior_weight": 1.0, "min_prob": 1e-7}
ALT_RANK = {"power": 2, "top_fraction": 0.1, "mean_power": 1.0}
REFERENCE = [
    ("cos_similarity", cos_similarity, {}, False, 1e-5),
    ("cos_similarity_cubed", cos_similarity_cubed, {}, False, 1e-5),
    ("wpmi", wpmi, {"population": range(24)}, False, 5e-4),
    ("soft_wpmi", soft_wpmi, {"population": range(24)}, False, 1e-3),
    ("soft_wpmi_lam0", soft_wpmi, {"population": range(24), "prior_weight": 0}, False, 1e-3),
    ("rank_reorder_exact", rank_reorder, {}, False, 1e-4),
    ("wpmi_live", wpmi, {}, True, 5e-4),
    ("soft_wpmi_live", soft_wpmi, {}, True, 1e-3),
    ("soft_wpmi_alt", soft_wpmi, ALT_SOFT, True, 1e-3),
    ("wpmi_alt", wpmi, ALT, True, 5e-4),
    ("rank_reorder_exact_alt", rank_reorder, ALT_RANK, True, 1e-4),
]


@pytest.mark.parametrize(("name", "function", "settings", "live", "tolerance"), REFERENCE)
def test_reference_values_and_the_best_concept(golden, name, function, settings, live, tolerance):
    units = golden["live_units"]
    similarities = function(golden["A"][:, units] if live else golden["A"], golden["P"], **settings)
    rows = slice(None) if live else units
    assert np.abs(similarities.scores[rows] - golden[name][rows]).max() <= tolerance
    if f"{name}_argmax" in golden:
        clear = golden[f"{name}_margin"][rows] > 2 * tolerance
        best = similarities.scores[rows].argmax(axis=1)
        np.testing.assert_array_equal(best[clear], golden[f"{name}_argmax"][rows][clear])
        assert clear.sum() >= 20


@pytest.mark.parametrize("k", [100, 28, 30])
def test_reference_order_of_images_with_ties_by_index(golden, k):
    name = {100: "top_indices_100", 28: "top_indices_28", 30: "top_indices_frac05"}[k]
    np.testing.assert_array_equal(strongest(golden["A"], k).T, golden[name])


# The formulas, computed directly


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    top_k=st.integers(1, 60),
    a=st.floats(0.5, 30),
    lam=st.floats(0, 1.5),
    ends=st.tuples(st.floats(0.0, 0.9999), st.floats(0.0, 0.9999)),
)
def test_soft_wpmi_is_its_formula(seed, top_k, a, lam, ends):
    activations, cosines = random_inputs(seed)
    population = [0, 2, 3]
    last, first = sorted(ends)
    similarities = soft_wpmi(
        activations,
        cosines,
        top_k=top_k,
        inverse_temperature=a,
        prior_weight=lam,
        first_membership=first,
        last_membership=last,
        population=population,
    )
    expected = slow_soft_wpmi(activations, cosines, top_k, a, lam, 1e-7, first, last, population)
    np.testing.assert_allclose(similarities.scores, expected, atol=2e-5 * top_k + 1e-4, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), top_k=st.integers(1, 60), a=st.floats(0.5, 30), lam=st.floats(0, 1.5))
def test_wpmi_is_its_formula(seed, top_k, a, lam):
    activations, cosines = random_inputs(seed)
    similarities = wpmi(
        activations,
        cosines,
        top_k=top_k,
        inverse_temperature=a,
        prior_weight=lam,
        population=range(5),
    )
    expected = slow_wpmi(activations, cosines, top_k, a, lam, 1e-7, range(5))
    # A sum of `top_k` logarithms of p, and `lam` times their mean over units. The cosines span 0.4, so
    # -ln p is at most 0.4 a + ln 40. In float32: a product, an exponential, a logarithm, the sum.
    largest = (1 + lam) * top_k * (0.4 * a + np.log(40))
    tolerance = rounding(terms=top_k, depth=4, largest=largest)
    np.testing.assert_allclose(similarities.scores, expected, rtol=0, atol=tolerance)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    fraction=st.floats(0.1, 1),
    power=st.floats(1, 4),
    mean_power=st.floats(0, 2),
)
def test_rank_reorder_is_its_formula(seed, fraction, power, mean_power):
    activations, cosines = random_inputs(seed)
    activations += np.random.default_rng(seed).uniform(0, 0.01, activations.shape).astype(np.float32)
    similarities = rank_reorder(
        activations, cosines, power=power, top_fraction=fraction, mean_power=mean_power
    )
    expected = slow_rank_reorder(activations, cosines, power, fraction, mean_power)
    np.testing.assert_allclose(similarities.scores, expected, rtol=1e-4, atol=1e-5)


# Properties


@pytest.mark.parametrize("function", [soft_wpmi, wpmi])
def test_a_single_unit_equals_its_own_prior(function):
    activations, cosines = random_inputs(0)
    similarities = function(activations[:, :1], cosines, top_k=20, prior_weight=1.0)
    np.testing.assert_array_equal(similarities.scores, 0)


@pytest.mark.parametrize("function", [soft_wpmi, wpmi])
def test_with_weight_one_no_score_exceeds_the_log_of_the_population(function):
    activations, cosines = random_inputs(1)
    similarities = function(activations, 30 * cosines, top_k=5, prior_weight=1.0)
    assert similarities.scores.max() <= np.log(5) + 1e-4


@pytest.mark.parametrize("function", [soft_wpmi, wpmi])
def test_more_units_in_the_prior_shift_each_concept_by_one_constant(function):
    activations, cosines = random_inputs(2)
    few = function(activations[:, :3], cosines, top_k=20).scores
    shift = function(activations, cosines, top_k=20).scores[:3] - few
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-4)
    assert np.ptp(shift[0]) > 1e-3


@pytest.mark.numerics
@pytest.mark.parametrize("function", [soft_wpmi, wpmi])
def test_scores_depend_on_the_population_and_not_on_other_units(function):
    activations, cosines = random_inputs(3)
    whole = function(activations, cosines, top_k=20, population=[1, 2]).scores
    part = function(activations[:, [1, 2]], cosines, top_k=20).scores
    np.testing.assert_allclose(whole[[1, 2]], part, atol=1e-5)


@pytest.mark.parametrize("function", SIMILARITIES.values(), ids=SIMILARITIES)
def test_a_dead_unit_has_no_scores_and_does_not_change_the_others(function):
    activations, cosines = random_inputs(4, n_images=120)
    dead = np.insert(activations, 2, 0.7, axis=1)
    with_dead, without = function(dead, cosines), function(activations, cosines)
    assert with_dead.undefined.tolist() == [False, False, True, False, False, False]
    assert np.isfinite(with_dead.scores).all()
    np.testing.assert_array_equal(with_dead.scores[2], 0)
    np.testing.assert_allclose(np.delete(with_dead.scores, 2, axis=0), without.scores, atol=1e-5)
    assert 2 not in with_dead.population


@pytest.mark.parametrize("function", SIMILARITIES.values(), ids=SIMILARITIES)
def test_a_layer_of_dead_units_has_no_scores(function):
    _, cosines = random_inputs(5, n_images=120)
    assert function(np.ones((120, 3), np.float32), cosines).undefined.all()


@pytest.mark.numerics
@pytest.mark.parametrize("function", SIMILARITIES.values(), ids=SIMILARITIES)
def test_scores_do_not_depend_on_blocks_of_concepts_nor_on_their_order(function, monkeypatch):
    activations, cosines = random_inputs(6, n_images=120)
    whole = function(activations, cosines).scores
    monkeypatch.setattr(cosines_module, "CONCEPTS_PER_BLOCK", 7)
    monkeypatch.setattr(concept_softmax, "_KEPT_ELEMENTS", 1000)  # some blocks are computed again
    order = np.random.default_rng(0).permutation(cosines.shape[1])
    shuffled = function(activations, cosines[:, order]).scores
    np.testing.assert_allclose(shuffled, whole[:, order], atol=1e-4)


@pytest.mark.parametrize("function", SIMILARITIES.values(), ids=SIMILARITIES)
def test_embeddings_give_the_scores_of_their_cosines(function):
    rng = np.random.default_rng(7)
    images, texts = rng.standard_normal((120, 8)), rng.standard_normal((30, 8))
    images, texts = (
        (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (images, texts)
    )
    activations = rng.standard_normal((120, 4)).astype(np.float32)
    whole = function(activations, (images @ texts.T).astype(np.float32)).scores
    scores = function(activations, EmbeddingCosines(images, texts)).scores
    np.testing.assert_allclose(scores, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("function", SIMILARITIES.values(), ids=SIMILARITIES)
def test_the_inputs_are_not_changed(function):
    activations, cosines = random_inputs(8, n_images=120)
    before = activations.copy(), cosines.copy()
    function(activations, ArrayCosines(cosines))
    np.testing.assert_array_equal(activations, before[0])
    np.testing.assert_array_equal(cosines, before[1])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", SIMILARITIES.values(), ids=SIMILARITIES)
def test_memory_mapped_activations_cause_no_warning(function, tmp_path):
    activations, cosines = random_inputs(8, n_images=120)
    np.save(tmp_path / "values.npy", activations)
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # torch warns once per process about arrays that it cannot write to
    try:
        function(np.load(tmp_path / "values.npy", mmap_mode="r"), cosines)
    finally:
        torch.set_warn_always(before)


@settings(max_examples=20, deadline=None)
@given(scale=st.sampled_from([1e-18, 1e-6, 1e6, 1e18]), seed=st.integers(0, 100))
def test_the_scale_of_the_activations_does_not_matter(scale, seed):
    activations, cosines = random_inputs(seed, n_images=120)
    scaled = (activations.astype(np.float64) * scale).astype(np.float32)
    for function in (soft_wpmi, wpmi, cos_similarity, rank_reorder):
        a, b = function(activations, cosines).scores, function(scaled, cosines).scores
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-44, 1e-36, 1e30])
def test_cos_similarity_has_no_lower_bound_of_the_norm(scale):
    activations, cosines = random_inputs(0)
    scaled = (np.round(8 * activations) * scale).astype(np.float32)
    expected = cos_similarity(np.round(8 * activations), cosines).scores
    # A subnormal number has few digits.
    np.testing.assert_allclose(cos_similarity(scaled, cosines).scores, expected, atol=0.1)


@pytest.mark.parametrize("function", SIMILARITIES.values(), ids=SIMILARITIES)
def test_a_concept_without_any_cosine_has_finite_scores(function):
    activations, cosines = random_inputs(0, n_images=120)
    cosines[:, 2] = 0
    assert np.isfinite(function(activations, cosines).scores).all()


# Rank reorder


def test_rank_reorder_is_the_same_every_time_with_either_baseline():
    activations, cosines = random_inputs(9, n_images=200)
    for settings_ in ({}, {"baseline": "permutations", "seed": 3}):
        first = rank_reorder(activations, cosines, **settings_).scores
        np.testing.assert_array_equal(first, rank_reorder(activations, cosines, **settings_).scores)


def test_the_estimated_baseline_is_distributed_around_the_exact_one():
    activations, cosines = random_inputs(10, n_images=200)
    exact = rank_reorder(activations, cosines).scores
    ratios = [
        (exact / rank_reorder(activations, cosines, baseline="permutations", seed=s).scores)[:, 0]
        for s in range(200)
    ]
    np.testing.assert_allclose(np.mean(ratios, axis=0), 1, atol=0.1)
    assert np.std(ratios, axis=0).min() > 0.01


def test_a_negative_mean_cosine_gives_a_finite_and_worse_score():
    activations, cosines = random_inputs(11, n_images=200)
    low = cosines.copy()
    low[:, 3] -= 1
    scores, before = rank_reorder(activations, low).scores, rank_reorder(activations, cosines).scores
    assert np.isfinite(scores).all()
    assert (scores[:, 3] < before[:, 3]).all()
    np.testing.assert_array_equal(np.delete(scores, 3, 1), np.delete(before, 3, 1))


def test_equally_active_top_images_have_no_order():
    activations, cosines = random_inputs(12, n_images=200)
    activations[:, 1] = np.arange(200) >= 150
    assert rank_reorder(activations, cosines).undefined.tolist() == [False, True, False, False, False]


# Invalid input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, p: soft_wpmi(a, p), "the 100 most activating of 60"),
        (lambda a, p: wpmi(a, p, top_k=0), "the 0 most activating"),
        (lambda a, p: soft_wpmi(a, p, top_k=0), "top_k=0"),
        (lambda a, p: soft_wpmi(a, p, top_k=9, first_membership=1.0), "first_membership=1.0"),
        (
            lambda a, p: soft_wpmi(a, p, top_k=9, first_membership=0.5, last_membership=0.6),
            "last_membership=0.6",
        ),
        (lambda a, p: wpmi(a, p, population=[]), "at least one unit"),
        (lambda a, p: rank_reorder(a, p, top_fraction=0.01), "the 0 most activating"),
        (lambda a, p: rank_reorder(a, p, baseline="random"), "not 'random'"),
        (lambda a, p: wpmi(a[:-1], p), "different images"),
        (lambda a, p: wpmi(np.where(a > 1, np.nan, a), p), "activations are not finite"),
        *(
            (lambda a, p, f=function, v=value: f(a, np.where(p > 0.4, v, p)), "cosines .* not finite")
            for function in SIMILARITIES.values()
            for value in (np.nan, np.inf)
        ),
    ],
)
def test_invalid_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(*random_inputs(0))
