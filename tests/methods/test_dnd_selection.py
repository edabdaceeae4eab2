import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.methods.dnd.selection import (
    PRODUCTS,
    SCORINGS,
    Contest,
    best_first,
    candidate_scores,
    joint_ranks,
    keep_distinct,
)

RANK_WORDS = ("mean", "median", "sq_mean", "topk_sq_mean")
N_CASES = 16


@pytest.fixture(scope="module")
def cases(shared):
    return json.loads((shared / "golden" / "dnd_scoring.json").read_text("utf-8"))["cases"]


def contest_of(case, **settings):
    responses = [np.array(one) for one in case["activations"]]
    own = np.array(case["top_image_embeddings"])
    return Contest.of(responses, own, [np.array(one) for one in case["synthetic_embeddings"]], **settings)


def drawn(seed, n_candidates=4, ties=False):
    """Responses and embeddings of a few candidates with unequal numbers of images."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 12, n_candidates)
    responses = [rng.standard_normal(count) for count in counts]
    if ties:
        responses = [np.maximum(one, 0).round(1) for one in responses]
    own = rng.standard_normal((10, 8)) + 1
    return responses, own, [rng.standard_normal((count, 8)) + 0.5 for count in counts]


def test_all_reference_cases_are_tried(cases):
    assert len(cases) == N_CASES


@pytest.mark.parametrize("index", range(N_CASES))
def test_ranks_and_their_scores_equal_the_reference(cases, index):
    case = cases[index]
    contest = contest_of(case)
    assert [one.tolist() for one in contest.ranks] == case["expected"]["ranks"]
    for word in RANK_WORDS:
        expected = case["expected"][word]
        np.testing.assert_allclose(SCORINGS[word](contest), expected["scores"], rtol=0, atol=1e-9)
        assert best_first(contest, word) == expected["order"]


@pytest.mark.parametrize("index", range(N_CASES))
def test_the_official_choice_equals_the_reference(cases, index):
    expected = cases[index]["expected"]
    contest = contest_of(cases[index], variant="official")
    products = SCORINGS["image_products"](contest)
    final = SCORINGS["topk_sq_image_products"](contest)
    np.testing.assert_allclose(products, expected["image_products"]["E"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(final, expected["final"]["score"], rtol=0, atol=1e-5)
    assert best_first(contest, "image_products") == expected["image_products"]["order"]
    assert best_first(contest) == expected["final"]["order"]


@pytest.mark.parametrize("t", [10, 5])
@pytest.mark.parametrize("index", range(N_CASES))
def test_the_paper_choice_equals_the_reference(cases, index, t):
    case, expected = cases[index], cases[index]["paper_variant"][f"t{t}"]
    contest = contest_of(case, t=t)
    products = SCORINGS["image_products"](contest)
    final = SCORINGS["topk_sq_image_products"](contest)
    np.testing.assert_allclose(products, expected["E"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(final, expected["score"], rtol=0, atol=1e-5)
    assert best_first(contest, "image_products") == expected["image_products_order"]
    # Exact ties: the reference puts the larger index first even here, the paper variant the smaller.
    tied = case["flags"]["paper_score_tie"][f"t{t}"]
    assert best_first(contest) == ([0, 1] if tied else expected["order"])


@pytest.mark.parametrize("index", range(N_CASES))
def test_the_evidence_holds_every_score(cases, index):
    contest = contest_of(cases[index], variant="official")
    evidence = candidate_scores(contest)
    for word, function in SCORINGS.items():
        assert [getattr(one, word) for one in evidence] == function(contest).tolist()
    assert [list(one.ranks) for one in evidence] == cases[index]["expected"]["ranks"]
    by_place = sorted(range(len(evidence)), key=lambda index: evidence[index].position)
    assert by_place == cases[index]["expected"]["topk_sq_mean"]["order"]
    for one in evidence:
        assert one.image_products is not None
        final = (len(evidence) - one.position) * one.image_products
        assert one.topk_sq_image_products == pytest.approx(final)
    json.dumps([vars(one) for one in evidence])  # plain numbers, fit for a record


@given(st.integers(0, 10_000), st.booleans())
def test_a_position_counts_the_stronger_images_and_the_equal_ones_before(seed, ties):
    responses, _, _ = drawn(seed, ties=ties)
    pool = np.concatenate(responses)
    start, expected = 0, []
    for one in responses:
        indices = range(start, start + len(one))
        expected.append(
            sorted(int((pool > pool[i]).sum() + (pool[:i] == pool[i]).sum()) for i in indices)
        )
        start += len(one)
    assert [ranks.tolist() for ranks in joint_ranks(responses)] == expected


def slow_scores(responses, own, synthetic, word, beta, t, variant):
    """Every scoring function as its definition reads, image by image."""
    pool = sorted(((-value, j, i) for j, one in enumerate(responses) for i, value in enumerate(one)))
    place = {(j, i): rank for rank, (_, j, i) in enumerate(pool)}
    n = len(responses)
    ranks = [sorted(place[j, i] for i in range(len(responses[j]))) for j in range(n)]
    topk = [sum(r * r for r in one[:beta]) / len(one[:beta]) for one in ranks]
    if word in RANK_WORDS:
        return {
            "mean": [sum(one) / len(one) for one in ranks],
            "median": [(one[(len(one) - 1) // 2] + one[len(one) // 2]) / 2 for one in ranks],
            "sq_mean": [sum(r * r for r in one) / len(one) for one in ranks],
            "topk_sq_mean": topk,
        }[word]
    products = []
    for j in range(n):
        images = sorted(range(len(responses[j])), key=lambda i: place[j, i])
        images = images[:t] if variant == "paper" else [i for i in images if place[j, i] < t]
        cosines = [
            float(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
            for u in own
            for v in synthetic[j][images]
        ]
        products.append(sum(cosines) / len(cosines) if cosines else -1.0)
    if word == "image_products":
        return products
    position = {j: rank for rank, j in enumerate(sorted(range(n), key=lambda j: (topk[j], j)))}
    return [(n - position[j]) * products[j] for j in range(n)]


@pytest.mark.parametrize("word", SCORINGS)
@pytest.mark.parametrize("variant", ["paper", "official"])
@given(st.integers(0, 10_000), st.booleans(), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_scores_equal_their_definitions(word, variant, seed, ties, beta, t):
    responses, own, synthetic = drawn(seed, ties=ties)
    contest = Contest.of(responses, own, synthetic, beta=beta, t=t, variant=variant)
    expected = slow_scores(responses, own, synthetic, word, beta, t, variant)
    np.testing.assert_allclose(SCORINGS[word](contest), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant", ["paper", "official"])
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_scores_do_not_depend_on_the_order_of_images_nor_on_the_scale_of_responses(variant, seed, random):
    responses, own, synthetic = drawn(seed)
    orders = [random.sample(range(len(one)), len(one)) for one in responses]
    shuffled = [4 * one[order] for one, order in zip(responses, orders, strict=True)]
    images = [3 * one[order] for one, order in zip(synthetic, orders, strict=True)]
    before = Contest.of(responses, own, synthetic, variant=variant)
    after = Contest.of(shuffled, own[::-1], images, variant=variant)
    for word, function in SCORINGS.items():
        np.testing.assert_allclose(function(after), function(before), rtol=1e-12)
        assert best_first(after, word) == best_first(before, word)


@given(st.integers(0, 10_000), st.permutations(range(4)))
@settings(max_examples=60, deadline=None)
def test_the_choice_does_not_depend_on_the_order_of_candidates(seed, order):
    responses, own, synthetic = drawn(seed)
    before = Contest.of(responses, own, synthetic)
    after = Contest.of([responses[j] for j in order], own, [synthetic[j] for j in order])
    for word, function in SCORINGS.items():
        scores = function(before)
        if word == "topk_sq_image_products" and len(set(SCORINGS["topk_sq_mean"](before))) < 4:
            continue  # equal places are given by index
        np.testing.assert_allclose(function(after), scores[list(order)], rtol=1e-12)
        if len(set(scores.round(6))) == 4:
            assert [order[j] for j in best_first(after, word)] == best_first(before, word)


def test_a_candidate_without_strong_images_is_minus_one_only_officially():
    responses = [np.arange(10, 20.0), np.arange(10.0)]
    own = np.eye(4)[:1]
    synthetic = [np.tile([1, 1, 0, 0], (10, 1)), np.tile([1, 0, 0, 0], (10, 1))]
    assert SCORINGS["image_products"](Contest.of(responses, own, synthetic))[1] == 1
    assert SCORINGS["image_products"](Contest.of(responses, own, synthetic, variant="official"))[1] == -1


@pytest.mark.parametrize(("variant", "expected"), [("paper", range(6)), ("official", range(5, -1, -1))])
def test_products_that_are_equal_but_for_rounding_go_by_index(variant, expected):
    rng = np.random.default_rng(0)
    numbers = rng.uniform(0, 1, 33)
    synthetic = [np.tile(rng.permutation(numbers), (2, 1)) for _ in range(6)]
    responses = [np.array([20.0 - j, j]) for j in range(6)]
    contest = Contest.of(responses, np.ones((3, 33)), synthetic, variant=variant)
    assert len(set(SCORINGS["image_products"](contest).tolist())) > 1
    assert best_first(contest, "image_products") == list(expected)


def test_the_words_of_the_configuration_name_the_functions():
    assert set(SCORINGS) == {*RANK_WORDS, "image_products", "topk_sq_image_products"}
    assert set(SCORINGS) - set(RANK_WORDS) == PRODUCTS


def test_positions_alone_need_no_embeddings():
    responses, _, _ = drawn(1)
    contest = Contest.of(responses)
    for word in RANK_WORDS:
        assert sorted(best_first(contest, word)) == [0, 1, 2, 3]
    for word in PRODUCTS:
        with pytest.raises(ValueError, match="embeddings"):
            best_first(contest, word)
    evidence = candidate_scores(contest)
    assert {(one.image_products, one.topk_sq_image_products) for one in evidence} == {(None, None)}
    assert [one.mean for one in evidence] == SCORINGS["mean"](contest).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"responses": []}, "at least one"),
        ({"responses": [np.ones(2), np.ones(0)]}, "at least one"),
        ({"responses": [np.ones(2), np.array([1, np.nan])]}, "finite"),
        ({"own": None}, "go together"),
        ({"own": np.zeros((3, 2))}, "zero"),
        ({"own": np.zeros((0, 2))}, "at least one"),
        ({"synthetic": [np.ones((2, 2))]}, "one embedding and one response"),
        ({"synthetic": [np.ones((2, 2)), np.ones((3, 2))]}, "one embedding and one response"),
        ({"synthetic": [np.ones((2, 2)), np.full((2, 2), np.inf)]}, "finite"),
        ({"beta": 0}, "beta=0"),
        ({"t": 0}, "t=0"),
        ({"variant": "best"}, "'best'"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, message):
    good = {
        "responses": [np.ones(2), np.ones(2)],
        "own": np.ones((3, 2)),
        "synthetic": [np.ones((2, 2)), np.ones((2, 2))],
    }
    assert best_first(Contest.of(**good)) == [0, 1]
    with pytest.raises(ValueError, match=message):
        Contest.of(**good | change)


def test_labels_that_repeat_a_kept_one_are_dropped():
    similarity = np.array(
        [[1, 0.81, 0.9, 0.2], [0.81, 1, 0.1, 0.82], [0.9, 0.1, 1, 0.3], [0.2, 0.82, 0.3, 1]]
    )
    labels = ["a", "b", "c", "d"]
    # b is at the limit of a; c is too near to a; d is too near to b.
    assert keep_distinct(labels, similarity) == ["a", "b"]
    # without b in between d stays, and what was dropped (c) bars nobody
    assert keep_distinct(labels, similarity, limit=0.8) == ["a", "d"]
    assert keep_distinct(labels, similarity, limit=1.0) == labels
    assert keep_distinct([], np.empty((0, 0))) == []


@given(st.integers(0, 10_000), st.integers(1, 8), st.floats(0, 1))
def test_kept_labels_are_distinct_and_dropped_ones_are_not(seed, n, limit):
    drawn = np.random.default_rng(seed).uniform(0, 1, (n, n))
    similarity = np.maximum(drawn, drawn.T)
    kept = [int(label) for label in keep_distinct([str(i) for i in range(n)], similarity, limit)]
    assert kept[0] == 0
    assert kept == sorted(kept)
    for index in range(n):
        near = [similarity[index, other] > limit for other in kept if other < index]
        assert (index in kept) != any(near)


def test_labels_and_similarities_must_belong_together():
    with pytest.raises(ValueError, match="2 labels"):
        keep_distinct(["a", "b"], np.eye(3))
