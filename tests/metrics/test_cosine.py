"""Cosines of text embeddings."""

from typing import Any

import numpy as np
import pytest

from dissectbench.metrics.cosine import ClipCosine, SentenceCosine

COMPASS = {"east": (1, 0), "north": (0, 1), "north-east": (1, 1), "west": (-1, 0)}


class Table:
    """An encoder, of images and texts or of sentences, that looks up its vectors in a dictionary."""

    name = "table"

    def fingerprint(self):
        return "abc"

    def encode_images(self, images):
        raise NotImplementedError

    def encode_texts(self, texts):
        return np.array([COMPASS[text] for text in texts], np.float32)

    encode = encode_texts


@pytest.mark.parametrize("kind", [ClipCosine, SentenceCosine])
def test_the_score_is_the_cosine_of_the_angle(kind):
    predictions = ["east", "east", "east", "north", "west"]
    references = [["east"], ["north"], ["north-east"], ["west", "north-east"], ["east"]]
    scores = kind(Table()).score(predictions, references)
    np.testing.assert_allclose(scores, [1, 0, 0.5**0.5, 0.5**0.5, -1], rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", [ClipCosine, SentenceCosine])
def test_tables_and_records_name_the_encoder(kind):
    metric = kind(Table(), name="table_cos")
    assert metric.name == "table_cos"
    assert list(metric.models().values()) == ["table"]
    assert metric.identity() == {"encoder": "table", "fingerprint": "abc"}


def test_the_text_side_of_a_real_clip_is_used(tmp_path):
    """A small CLIP with random weights, in a folder written by transformers."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPProcessor,
        CLIPTextConfig,
        CLIPTokenizer,
        CLIPVisionConfig,
    )

    from dissectbench.harness.foundation.huggingface_encoder import HuggingFaceEncoder

    trained = ByteLevelBPETokenizer(add_prefix_space=False)
    special = ["<|startoftext|>", "<|endoftext|>"]
    trained.train_from_iterator(
        ["a red car", "a dog on the grass"] * 9, vocab_size=300, special_tokens=special
    )
    trained.save_model(str(tmp_path))
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    small: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    ids: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    text = CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **ids, **small)
    vision = CLIPVisionConfig(image_size=32, patch_size=16, **small)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = CLIPModel(
            CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
        )
        model.save_pretrained(tmp_path)
    CLIPProcessor(CLIPImageProcessor(size={"shortest_edge": 32}), tokenizer).save_pretrained(tmp_path)

    metric = ClipCosine(HuggingFaceEncoder(str(tmp_path), device="cpu"))
    scores = metric.score(["a red car", "dog"], [["a red car"], ["grass"]])
    assert scores[0] == pytest.approx(1, abs=1e-6)
    with torch.no_grad():
        tokens = tokenizer(["dog", "grass"], padding=True, return_tensors="pt")
        dog, grass = model.eval().text_model(**tokens).pooler_output @ model.text_projection.weight.T
    cosine = torch.nn.functional.cosine_similarity(dog, grass, dim=0)
    assert scores[1] == pytest.approx(float(cosine), abs=1e-5)
