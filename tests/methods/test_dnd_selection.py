import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.methods.dnd.selection import (
    PRODUCTS,
    SCORING_FUNCTIONS,
    RankedImages,
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


def ranked_of(case, **settings):
    responses = [np.array(one) for one in case["activations"]]
    own = np.array(case["top_image_embeddings"])
    return RankedImages.of(
        responses, own, [np.array(one) for one in case["synthetic_embeddings"]], **settings
    )


def random_results(seed, n_candidates=4, ties=False):
    """Responses and embeddings of a few candidates with unequal numbers of images."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 12, n_candidates)
    responses = [rng.standard_normal(count) for count in counts]
    if ties:
        responses = [np.maximum(one, 0).round(1) for one in responses]
    own = rng.standard_normal((10, 8)) + 1
    return responses, own, [rng.standard_normal((count, 8)) + 0.5 for count in counts]


def test_all_reference_cases_are_tested(cases):
    assert len(cases) == N_CASES


@pytest.mark.parametrize("index", range(N_CASES))
def test_ranks_and_their_scores_equal_the_reference(cases, index):
    case = cases[index]
    ranked = ranked_of(case)
    assert [one.tolist() for one in ranked.ranks] == case["expected"]["ranks"]
    for word in RANK_WORDS:
        expected = case["expected"][word]
        np.testing.assert_allclose(SCORING_FUNCTIONS[word](ranked), expected["scores"], rtol=0, atol=1e-9)
        assert best_first(ranked, word) == expected["order"]


@pytest.mark.parametrize("index", range(N_CASES))
def test_the_official_choice_equals_the_reference(cases, index):
    expected = cases[index]["expected"]
    ranked = ranked_of(cases[index], variant="official")
    products = SCORING_FUNCTIONS["image_products"](ranked)
    final = SCORING_FUNCTIONS["topk_sq_image_products"](ranked)
    np.testing.assert_allclose(products, expected["image_products"]["E"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(final, expected["final"]["score"], rtol=0, atol=1e-5)
    assert best_first(ranked, "image_products") == expected["image_products"]["order"]
    assert best_first(ranked) == expected["final"]["order"]


@pytest.mark.parametrize("top_images", [10, 5])
@pytest.mark.parametrize("index", range(N_CASES))
def test_the_paper_choice_equals_the_reference(cases, index, top_images):
    case, expected = cases[index], cases[index]["paper_variant"][f"t{top_images}"]
    ranked = ranked_of(case, top_images=top_images)
    products = SCORING_FUNCTIONS["image_products"](ranked)
    final = SCORING_FUNCTIONS["topk_sq_image_products"](ranked)
    np.testing.assert_allclose(products, expected["E"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(final, expected["score"], rtol=0, atol=1e-5)
    assert best_first(ranked, "image_products") == expected["image_products_order"]
    # Exact ties: the reference puts the larger index first even here, the paper variant the smaller.
    tied = case["flags"]["paper_score_tie"][f"t{top_images}"]
    assert best_first(ranked) == ([0, 1] if tied else expected["order"])


@pytest.mark.parametrize("index", range(N_CASES))
def test_the_evidence_contains_every_score(cases, index):
    ranked = ranked_of(cases[index], variant="official")
    evidence = candidate_scores(ranked)
    for word, function in SCORING_FUNCTIONS.items():
        assert [getattr(one, word) for one in evidence] == function(ranked).tolist()
    assert [list(one.ranks) for one in evidence] == cases[index]["expected"]["ranks"]
    by_place = sorted(range(len(evidence)), key=lambda index: evidence[index].position)
    assert by_place == cases[index]["expected"]["topk_sq_mean"]["order"]
    for one in evidence:
        assert one.image_products is not None
        final = (len(evidence) - one.position) * one.image_products
        assert one.topk_sq_image_products == pytest.approx(final)
    json.dumps([vars(one) for one in evidence])  # plain numbers, as a record needs them


@given(st.integers(0, 10_000), st.booleans())
def test_a_position_is_the_number_of_stronger_and_of_earlier_equal_images(seed, ties):
    responses, _, _ = random_results(seed, ties=ties)
    pool = np.concatenate(responses)
    start, expected = 0, []
    for one in responses:
        indices = range(start, start + len(one))
        expected.append(
            sorted(int((pool > pool[i]).sum() + (pool[:i] == pool[i]).sum()) for i in indices)
        )
        start += len(one)
    assert [ranks.tolist() for ranks in joint_ranks(responses)] == expected


def slow_scores(responses, own, synthetic, word, top_k, top_images, variant):
    """Every scoring function by its definition, image by image."""
    pool = sorted(((-value, j, i) for j, one in enumerate(responses) for i, value in enumerate(one)))
    place = {(j, i): rank for rank, (_, j, i) in enumerate(pool)}
    n = len(responses)
    ranks = [sorted(place[j, i] for i in range(len(responses[j]))) for j in range(n)]
    topk = [sum(r * r for r in one[:top_k]) / len(one[:top_k]) for one in ranks]
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
        images = (
            images[:top_images] if variant == "paper" else [i for i in images if place[j, i] < top_images]
        )
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


@pytest.mark.parametrize("word", SCORING_FUNCTIONS)
@pytest.mark.parametrize("variant", ["paper", "official"])
@given(st.integers(0, 10_000), st.booleans(), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_scores_equal_their_definitions(word, variant, seed, ties, top_k, top_images):
    responses, own, synthetic = random_results(seed, ties=ties)
    ranked = RankedImages.of(
        responses, own, synthetic, top_k=top_k, top_images=top_images, variant=variant
    )
    expected = slow_scores(responses, own, synthetic, word, top_k, top_images, variant)
    np.testing.assert_allclose(SCORING_FUNCTIONS[word](ranked), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant", ["paper", "official"])
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_scores_do_not_depend_on_the_order_of_images_nor_on_the_scale_of_responses(variant, seed, random):
    responses, own, synthetic = random_results(seed)
    orders = [random.sample(range(len(one)), len(one)) for one in responses]
    shuffled = [4 * one[order] for one, order in zip(responses, orders, strict=True)]
    images = [3 * one[order] for one, order in zip(synthetic, orders, strict=True)]
    before = RankedImages.of(responses, own, synthetic, variant=variant)
    after = RankedImages.of(shuffled, own[::-1], images, variant=variant)
    for word, function in SCORING_FUNCTIONS.items():
        np.testing.assert_allclose(function(after), function(before), rtol=1e-12)
        assert best_first(after, word) == best_first(before, word)


@given(st.integers(0, 10_000), st.permutations(range(4)))
@settings(max_examples=60, deadline=None)
def test_the_choice_does_not_depend_on_the_order_of_candidates(seed, order):
    responses, own, synthetic = random_results(seed)
    before = RankedImages.of(responses, own, synthetic)
    after = RankedImages.of([responses[j] for j in order], own, [synthetic[j] for j in order])
    for word, function in SCORING_FUNCTIONS.items():
        scores = function(before)
        if word == "topk_sq_image_products" and len(set(SCORING_FUNCTIONS["topk_sq_mean"](before))) < 4:
            continue  # ties are broken by index
        np.testing.assert_allclose(function(after), scores[list(order)], rtol=1e-12)
        if len(set(scores.round(6))) == 4:
            assert [order[j] for j in best_first(after, word)] == best_first(before, word)


def test_a_candidate_without_strong_images_is_minus_one_only_officially():
    responses = [np.arange(10, 20.0), np.arange(10.0)]
    own = np.eye(4)[:1]
    synthetic = [np.tile([1, 1, 0, 0], (10, 1)), np.tile([1, 0, 0, 0], (10, 1))]
    assert SCORING_FUNCTIONS["image_products"](RankedImages.of(responses, own, synthetic))[1] == 1
    assert (
        SCORING_FUNCTIONS["image_products"](
            RankedImages.of(responses, own, synthetic, variant="official")
        )[1]
        == -1
    )


@pytest.mark.parametrize(("variant", "expected"), [("paper", range(6)), ("official", range(5, -1, -1))])
def test_products_that_differ_only_by_rounding_are_ties(variant, expected):
    rng = np.random.default_rng(0)
    numbers = rng.uniform(0, 1, 33)
    synthetic = [np.tile(rng.permutation(numbers), (2, 1)) for _ in range(6)]
    responses = [np.array([20.0 - j, j]) for j in range(6)]
    ranked = RankedImages.of(responses, np.ones((3, 33)), synthetic, variant=variant)
    assert len(set(SCORING_FUNCTIONS["image_products"](ranked).tolist())) > 1
    assert best_first(ranked, "image_products") == list(expected)


def test_scoring_functions_have_the_names_of_the_settings():
    assert set(SCORING_FUNCTIONS) == {*RANK_WORDS, "image_products", "topk_sq_image_products"}
    assert set(SCORING_FUNCTIONS) - set(RANK_WORDS) == PRODUCTS


def test_scores_by_position_need_no_embeddings():
    responses, _, _ = random_results(1)
    ranked = RankedImages.of(responses)
    for word in RANK_WORDS:
        assert sorted(best_first(ranked, word)) == [0, 1, 2, 3]
    for word in PRODUCTS:
        with pytest.raises(ValueError, match="embeddings"):
            best_first(ranked, word)
    evidence = candidate_scores(ranked)
    assert {(one.image_products, one.topk_sq_image_products) for one in evidence} == {(None, None)}
    assert [one.mean for one in evidence] == SCORING_FUNCTIONS["mean"](ranked).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"responses": []}, "at least one"),
        ({"responses": [np.ones(2), np.ones(0)]}, "at least one"),
        ({"responses": [np.ones(2), np.array([1, np.nan])]}, "finite"),
        ({"own_embeddings": None}, "both needed"),
        ({"own_embeddings": np.zeros((3, 2))}, "zero"),
        ({"own_embeddings": np.zeros((0, 2))}, "at least one"),
        ({"synthetic_embeddings": [np.ones((2, 2))]}, "one embedding and one response"),
        ({"synthetic_embeddings": [np.ones((2, 2)), np.ones((3, 2))]}, "one embedding and one response"),
        ({"synthetic_embeddings": [np.ones((2, 2)), np.full((2, 2), np.inf)]}, "finite"),
        ({"top_k": 0}, "top_k=0"),
        ({"top_images": 0}, "top_images=0"),
        ({"variant": "best"}, "'best'"),
    ],
)
def test_invalid_inputs_are_refused(change, message):
    good = {
        "responses": [np.ones(2), np.ones(2)],
        "own_embeddings": np.ones((3, 2)),
        "synthetic_embeddings": [np.ones((2, 2)), np.ones((2, 2))],
    }
    assert best_first(RankedImages.of(**good)) == [0, 1]
    with pytest.raises(ValueError, match=message):
        RankedImages.of(**good | change)


def test_labels_that_repeat_a_kept_one_are_dropped():
    similarity = np.array(
        [[1, 0.81, 0.9, 0.2], [0.81, 1, 0.1, 0.82], [0.9, 0.1, 1, 0.3], [0.2, 0.82, 0.3, 1]]
    )
    labels = ["a", "b", "c", "d"]
    # b is at the limit to a; c is too similar to a; d is too similar to b.
    assert keep_distinct(labels, similarity) == ["a", "b"]
    # Without b, d is kept; a dropped label (c) does not exclude others.
    assert keep_distinct(labels, similarity, max_similarity=0.8) == ["a", "d"]
    assert keep_distinct(labels, similarity, max_similarity=1.0) == labels
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


def test_similarities_of_another_number_of_labels_are_refused():
    with pytest.raises(ValueError, match="2 labels"):
        keep_distinct(["a", "b"], np.eye(3))
