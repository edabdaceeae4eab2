"""BERTScore on the architecture of roberta-large, small, with random weights and loaded from a folder."""

import json
from typing import Any

import numpy as np
import pytest
from rounding import rounding
from small_models import SMALL_TRANSFORMER, write_transformer

from dissectbench.harness.foundation.token_vectors import TokenVectors
from dissectbench.metrics.bertscore import BERTScore

WORDS = ["a dog on the grass", "dogs in various settings", "tench, Tinca tinca", 'the "old" red house']
PAIRS = [("dogs on the grass", "tench"), ("red", 'the "old" house'), ("various settings", "a tinca, dog")]


def save_roberta(folder, **tokenizer_settings):
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(WORDS * 20, vocab_size=320, special_tokens=special)
    trained.save_model(str(folder))
    RobertaTokenizer.from_pretrained(folder, model_max_length=512, **tokenizer_settings).save_pretrained(
        folder
    )
    sizes = {**SMALL_TRANSFORMER, "num_hidden_layers": 4, "max_position_embeddings": 66}
    config = RobertaConfig(**sizes, vocab_size=320, type_vocab_size=1)
    write_transformer(folder, RobertaForMaskedLM, config)  # a checkpoint with a head and no pooler


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny-roberta")
    save_roberta(folder)
    return folder


def test_single_pairs_have_the_scores_of_the_library(tmp_path, roberta):
    # transformers 5 ignores the library's request for a leading space, so its copy has it as a setting.
    from bert_score import BERTScorer

    save_roberta(tmp_path, add_prefix_space=True)
    library = BERTScorer(str(tmp_path), num_layers=3, idf=False, batch_size=1, device="cpu")
    predictions, references = map(list, zip(*PAIRS, strict=True))
    expected: Any = library.score(predictions, references)
    for part, values in zip(("precision", "recall", "f1"), expected, strict=True):
        metric = BERTScore(str(roberta), 3, part, "cpu")
        scores = metric.score(predictions, [[text] for text in references])
        # The embeddings, two layers in each of three blocks, and the library's cosines in float32.
        tolerance = rounding(terms=64, depth=8, largest=1)
        np.testing.assert_allclose(scores, values.numpy(), rtol=0, atol=tolerance)


def test_the_first_word_is_read_as_a_whole_word(roberta):
    vectors = TokenVectors(str(roberta), 3, "cpu").encode(["dog", " dog "])
    assert vectors["dog"].counts.tolist() == [False, True, False]
    np.testing.assert_array_equal(vectors["dog"].vectors, vectors[" dog "].vectors)


def test_the_layer_is_the_hidden_state_of_the_whole_model(roberta):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(roberta)(" dogs in various settings", return_tensors="pt")
    with torch.no_grad():
        states = (
            AutoModel.from_pretrained(roberta).eval()(**tokens, output_hidden_states=True).hidden_states
        )
    for layer in (1, 2, 3, 4):
        [matrix] = TokenVectors(str(roberta), layer, "cpu").encode(["dogs in various settings"]).values()
        expected = states[layer][0].numpy()
        # Each block has an attention and a feed-forward layer; the embeddings come first.
        tolerance = rounding(terms=64, depth=2 * layer + 1, largest=np.abs(expected).max())
        np.testing.assert_allclose(matrix.vectors, expected, rtol=0, atol=tolerance)


def test_a_long_text_is_cut_at_the_positions_of_the_model_and_counted(roberta, tmp_path, caplog):
    for file in roberta.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del settings["model_max_length"]  # as in older checkpoints: the tokenizer has no limit
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    vectors = TokenVectors(str(tmp_path), 1, "cpu")
    long = "dog " * 600
    assert (
        len(vectors.encode([long, "dog"])[long].vectors) == 64
    )  # RoBERTa reserves two of its 66 positions
    assert vectors.cut == {long}
    assert "1 of 2 texts cut at 64 tokens" in caplog.text
