"""The encoder of transformers models: a real CLIP and a real SigLIP, small and with random weights."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from random_images import noise_images
from rounding import rounding
from small_models import CLIP_CONTEXT

from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation import image_text_encoder
from dissectbench.harness.foundation.huggingface_encoder import HuggingFaceEncoder
from dissectbench.harness.foundation.protocols import ImageTextEncoder

WORDS = ["red", "a red boat", "night", "a striped fish in the deep blue sea before the rocks", "", "dog"]
LONG = " ".join(["boat"] * 60)


def forget_models(monkeypatch) -> None:
    monkeypatch.setattr(image_text_encoder, "_LOADED", {})


def word_tokenizer(cls):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = [
        "<pad>",
        "<unk>",
        "<s>",
        *["red", "a", "boat", "night", "striped", "fish", "in", "the", "deep", "blue", "sea", "dog"],
        "</s>",
    ]
    vocabulary = {word: i for i, word in enumerate(words)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", len(words) - 1)]
    )
    return cls(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        model_max_length=CLIP_CONTEXT,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["clip", "siglip"])
def transformers_folder(request, tmp_path_factory) -> Path:
    """The folder of a small CLIP or SigLIP with random weights."""
    import transformers as t

    folder = tmp_path_factory.mktemp(request.param)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1}
    text = {**tower, "vocab_size": 16, "max_position_embeddings": CLIP_CONTEXT, "eos_token_id": 15}
    vision = {**tower, "image_size": 32, "patch_size": 8}
    size = {"height": 32, "width": 32}
    tokenizer = word_tokenizer(t.PreTrainedTokenizerFast)
    torch.manual_seed(0)
    if request.param == "clip":
        model = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        processor = t.CLIPProcessor(t.CLIPImageProcessor(size=size, crop_size=size), tokenizer)
    else:
        model = t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=vision))
        processor = t.SiglipProcessor(t.SiglipImageProcessor(size=size), tokenizer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_embeddings_are_those_of_the_library(transformers_folder):
    import transformers as t

    encoder = HuggingFaceEncoder(str(transformers_folder), device="cpu")
    assert isinstance(encoder, ImageTextEncoder)
    model = t.AutoModel.from_pretrained(transformers_folder).eval()
    processor = t.AutoProcessor.from_pretrained(transformers_folder)
    words = ["red boat", "night"]
    inputs = processor(
        text=words,
        images=noise_images(2),
        padding="max_length",
        max_length=CLIP_CONTEXT,
        return_tensors="pt",
    )
    with torch.no_grad():
        output = model(**inputs)
    # 192 values in a patch. The patches, two layers in each of two blocks, and the projection.
    tolerance = rounding(terms=192, depth=6, largest=1)
    np.testing.assert_allclose(
        encoder.encode_texts(words), output.text_embeds.numpy(), rtol=0, atol=tolerance
    )
    np.testing.assert_allclose(
        encoder.encode_images(noise_images(2)), output.image_embeds.numpy(), rtol=0, atol=tolerance
    )


@pytest.mark.numerics
def test_an_embedding_does_not_depend_on_its_batch(transformers_folder, monkeypatch):
    words = [*WORDS, LONG]  # the last one fills the context: transformers needs no mask for it
    encoder = HuggingFaceEncoder(str(transformers_folder), device="cpu")
    texts, images = encoder.encode_texts(words), encoder.encode_images(noise_images(5))
    for i, word in enumerate(words):
        forget_models(monkeypatch)
        alone = HuggingFaceEncoder(str(transformers_folder), device="cpu", batch_size=1)
        np.testing.assert_array_equal(alone.encode_texts([word])[0], texts[i])
    np.testing.assert_array_equal(encoder.encode_images(noise_images(5)[::-1])[::-1], images)
    np.testing.assert_array_equal(encoder.encode_images(noise_images(5)[2:3]), images[2:3])


def test_texts_longer_than_the_context_are_counted(transformers_folder, monkeypatch, caplog):
    forget_models(monkeypatch)
    with caplog.at_level(logging.WARNING, image_text_encoder.__name__):
        HuggingFaceEncoder(str(transformers_folder), device="cpu").encode_texts([LONG, "red"])
    assert "1 of 2 texts are longer" in caplog.text


def test_a_model_that_embeds_no_images_is_refused(tmp_path):
    import transformers as t

    config = t.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16
    )
    t.BertModel(config).save_pretrained(tmp_path)
    word_tokenizer(t.PreTrainedTokenizerFast).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="does not embed images and texts"):
        HuggingFaceEncoder(str(tmp_path), device="cpu").encode_texts(["red"])
