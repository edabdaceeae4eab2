import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import CLIP_CONTEXT, SMALL_CLIP, write_open_clip

from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation import image_text_encoders
from dissectbench.harness.foundation.image_text_encoders import HuggingFaceEncoder, OpenClipEncoder
from dissectbench.harness.foundation.protocols import ImageTextEncoder

WORDS = ["red", "a red boat", "night", "a striped fish in the deep blue sea before the rocks", "", "dog"]
LONG = " ".join(["boat"] * 60)
SIZES = [(40, 50), (32, 32), (70, 33), (33, 90), (64, 64), (51, 40), (35, 35)]


def pictures(n: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    shapes = [SIZES[i % len(SIZES)] for i in range(n)]
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in shapes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_open_clip(tmp_path_factory.mktemp("clip"), SMALL_CLIP)


@pytest.fixture(scope="module")
def encoder(folder) -> OpenClipEncoder:
    return OpenClipEncoder(f"local-dir:{folder}", device="cpu")


def unloaded(monkeypatch) -> None:
    monkeypatch.setattr(image_text_encoders, "_LOADED", {})


def test_embeddings_are_those_of_the_model_itself(encoder, folder):
    import open_clip

    model: Any
    preprocess: Any
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(WORDS)
    with torch.no_grad():
        texts = model.encode_text(tokens, normalize=True).numpy()
        images = model.encode_image(torch.stack([preprocess(p) for p in pictures(5)]), normalize=True)
    np.testing.assert_allclose(encoder.encode_texts(WORDS), texts, atol=1e-6)
    np.testing.assert_allclose(encoder.encode_images(pictures(5)), images.numpy(), atol=1e-6)


def test_it_is_an_image_text_encoder_and_gives_unit_float32_rows(encoder):
    assert isinstance(encoder, ImageTextEncoder)
    for rows in (encoder.encode_texts(WORDS), encoder.encode_images(pictures(3))):
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_an_embedding_does_not_depend_on_its_batch(folder, monkeypatch, batch_size):
    together = OpenClipEncoder(f"local-dir:{folder}", device="cpu")
    texts, images = together.encode_texts(WORDS), together.encode_images(pictures(7))
    unloaded(monkeypatch)
    alone = OpenClipEncoder(f"local-dir:{folder}", device="cpu", batch_size=batch_size)
    np.testing.assert_allclose(alone.encode_texts(WORDS[::-1])[::-1], texts, atol=1e-6)
    np.testing.assert_allclose(alone.encode_images(pictures(7)), images, atol=1e-6)


def test_each_distinct_text_is_embedded_once(folder, monkeypatch):
    unloaded(monkeypatch)
    encoder = OpenClipEncoder(f"local-dir:{folder}", device="cpu")
    seen: list[int] = []
    inner = image_text_encoders._open_clip_texts
    monkeypatch.setattr(
        image_text_encoders,
        "_open_clip_texts",
        lambda model, ids: seen.append(len(ids)) or inner(model, ids),
    )
    rows = encoder.encode_texts(["red", "dog", "red", "red"])
    encoder.encode_texts(["dog", "night"])
    assert sum(seen) == 3
    np.testing.assert_array_equal(rows[0], rows[2])


def test_images_are_consumed_in_a_stream(folder, monkeypatch):
    unloaded(monkeypatch)
    encoder = OpenClipEncoder(f"local-dir:{folder}", device="cpu", batch_size=2)
    drawn, embedded, lead = [0], [0], []
    inner = encoder._towers.embed_images

    def embed(pixels):
        embedded[0] += len(pixels)
        lead.append(drawn[0] - embedded[0])
        return inner(pixels)

    def stream():
        for picture in pictures(40):
            drawn[0] += 1
            yield picture

    key = next(iter(image_text_encoders._LOADED))
    towers = image_text_encoders._LOADED[key]
    image_text_encoders._LOADED[key] = image_text_encoders.Towers(
        towers.device, towers.preprocess, towers.tokenize, embed, towers.embed_texts
    )
    assert encoder.encode_images(stream()).shape == (40, 16)
    assert max(lead) <= 6


def test_nothing_is_an_empty_matrix_of_the_right_width(encoder):
    assert encoder.encode_texts([]).shape == (0, 16)
    assert encoder.encode_images([]).shape == (0, 16)


def test_a_plain_string_is_refused(encoder):
    with pytest.raises(TypeError, match="plain string"):
        encoder.encode_texts("red")


def test_a_text_beyond_the_context_is_cut_and_counted_once(folder, monkeypatch, caplog):
    unloaded(monkeypatch)
    encoder = OpenClipEncoder(f"local-dir:{folder}", device="cpu")
    exact = " ".join(["boat"] * (CLIP_CONTEXT - 2))
    with caplog.at_level(logging.WARNING, image_text_encoders.__name__):
        rows = encoder.encode_texts([LONG, "red", exact, LONG + " dog"])
        encoder.encode_texts([LONG])
    assert [record.getMessage() for record in caplog.records] == [
        f"{encoder.name}: 2 of 4 texts are longer than the model's context and were cut there"
    ]
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-6)


def test_no_model_is_loaded_twice_nor_before_it_is_needed(folder, monkeypatch):
    unloaded(monkeypatch)
    first = OpenClipEncoder(f"local-dir:{folder}", device="cpu")
    second = OpenClipEncoder(f"local-dir:{folder}", device="cpu", batch_size=2, name="other")
    assert first.fingerprint() == second.fingerprint()
    assert not image_text_encoders._LOADED
    assert first._towers is second._towers


def test_other_weights_precision_or_preprocessing_are_another_fingerprint(folder, tmp_path):
    def fingerprint(path, **settings):
        return OpenClipEncoder(f"local-dir:{path}", device="cpu", **settings).fingerprint()

    same = write_open_clip(tmp_path / "same", SMALL_CLIP)
    other = write_open_clip(tmp_path / "other", SMALL_CLIP, seed=1)
    cropped = write_open_clip(tmp_path / "cropped", SMALL_CLIP)
    config = {"model_cfg": SMALL_CLIP, "preprocess_cfg": {"resize_mode": "squash"}}
    (cropped / "open_clip_config.json").write_text(json.dumps(config))
    assert fingerprint(same) == fingerprint(folder)
    prints = [fingerprint(p) for p in (folder, other, cropped)] + [fingerprint(folder, precision="bf16")]
    assert len(set(prints)) == 4


def test_half_precision_stays_near_single(folder, encoder):
    half = OpenClipEncoder(f"local-dir:{folder}", device="cpu", precision="bf16")
    np.testing.assert_allclose(half.encode_texts(WORDS), encoder.encode_texts(WORDS), atol=0.05)
    assert half.encode_images(pictures(2)).dtype == np.float32


def test_embeddings_that_are_not_finite_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = write_open_clip(tmp_path / "broken", SMALL_CLIP)
    state = load_file(folder / "open_clip_model.safetensors")
    state["text_projection"][:] = float("nan")
    save_file(state, folder / "open_clip_model.safetensors")
    with pytest.raises(InputError, match="not finite"):
        OpenClipEncoder(f"local-dir:{folder}", device="cpu").encode_texts(["red"])


# Weights of a named architecture


@pytest.fixture
def architecture(tmp_path, monkeypatch) -> str:
    """The small model under names of open_clip's own registry, as if it were OpenAI's ViT-B/16."""
    from open_clip import factory
    from open_clip.pretrained import _PRETRAINED

    plain = {**SMALL_CLIP, "quick_gelu": False}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny-quickgelu", SMALL_CLIP)
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", plain)
    tag = dict(_PRETRAINED["ViT-B-16-quickgelu"]["openai"])
    for name in ("tiny", "tiny-quickgelu"):
        monkeypatch.setitem(_PRETRAINED, name, {"openai": tag})
    return "tiny-quickgelu"


def test_a_local_file_serves_as_the_named_weights(architecture, folder, encoder):
    file = folder / "open_clip_model.safetensors"
    named = OpenClipEncoder(architecture, "openai", checkpoint=str(file), device="cpu")
    np.testing.assert_allclose(named.encode_texts(WORDS), encoder.encode_texts(WORDS), atol=1e-6)
    np.testing.assert_allclose(
        named.encode_images(pictures(3)), encoder.encode_images(pictures(3)), atol=1e-6
    )


def test_openais_own_torchscript_file_serves_too(architecture, folder, encoder, tmp_path):
    file = write_torchscript(tmp_path / "ViT-B-16.pt", folder)
    named = OpenClipEncoder(architecture, "openai", checkpoint=str(file), device="cpu")
    np.testing.assert_allclose(named.encode_texts(WORDS), encoder.encode_texts(WORDS), atol=1e-6)


def write_torchscript(path: Path, folder: Path) -> Path:
    """The weights as OpenAI wrote theirs: buried in a TorchScript archive, beside three numbers."""
    from safetensors.torch import load_file

    root = torch.nn.Module()
    for name, value in load_file(folder / "open_clip_model.safetensors").items():
        *parts, leaf = name.split(".")
        module = root
        for part in parts:
            if not hasattr(module, part):
                module.add_module(part, torch.nn.Module())
            module = getattr(module, part)
        module.register_parameter(leaf, torch.nn.Parameter(value))
    for key in ("input_resolution", "context_length", "vocab_size"):
        root.register_buffer(key, torch.tensor(1))
    torch.jit.script(root).save(str(path))
    return path


def test_quickgelu_weights_are_refused_by_a_model_without_it(architecture, folder, tmp_path):
    for checkpoint, pretrained in (
        (folder / "open_clip_model.safetensors", "openai"),
        (write_torchscript(tmp_path / "ViT-B-16.pt", folder), None),
    ):
        wrong = OpenClipEncoder("tiny", pretrained, checkpoint=str(checkpoint), device="cpu")
        with pytest.raises(InputError, match="trained with QuickGELU") as caught:
            wrong.fingerprint()
        assert "encoder.model=tiny-quickgelu" in str(caught.value)


def test_missing_weights_are_named_with_the_place_they_belong(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="cannot get the weights openai of ViT-B-16-quickgelu") as caught:
        OpenClipEncoder(device="cpu").fingerprint()
    message = str(caught.value)
    assert "hf download timm/vit_base_patch16_clip_224.openai open_clip_model.safetensors" in message
    assert "encoder.checkpoint=" in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "ViT-B16-quickgelu"}, "no model 'ViT-B16-quickgelu'; did you mean ViT-B-16-quickgelu"),
        ({"pretrained": "laion2b"}, "knows no weights 'laion2b' for ViT-B-16-quickgelu"),
        ({"pretrained": None}, "no weights are given"),
        ({"checkpoint": "/missing/file.pt"}, "no such file: /missing/file.pt"),
        ({"pretrained": __file__}, "names the training, not a file"),
        ({"model": "local-dir:/missing/folder"}, "no such folder: /missing/folder"),
    ],
)
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(InputError, match=message):
        OpenClipEncoder(**settings, device="cpu").fingerprint()


def test_a_wrong_precision_or_batch_size_is_named_at_once():
    with pytest.raises(InputError, match="fp8 is unknown"):
        OpenClipEncoder(precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 1"):
        OpenClipEncoder(batch_size=0)


@pytest.mark.parametrize("damage", ["truncated", "other architecture"])
def test_weights_that_cannot_be_loaded_are_named(tmp_path, damage):
    config = SMALL_CLIP if damage == "truncated" else {**SMALL_CLIP, "embed_dim": 8}
    folder = write_open_clip(tmp_path / "model", SMALL_CLIP)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    if damage == "truncated":
        file = folder / "open_clip_model.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cannot load .*model"):
        OpenClipEncoder(f"local-dir:{folder}", device="cpu").encode_texts(["red"])


def test_a_folder_without_weights_is_refused_rather_than_random(tmp_path):
    folder = write_open_clip(tmp_path / "model", SMALL_CLIP)
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights in"):
        OpenClipEncoder(f"local-dir:{folder}", device="cpu").encode_texts(["red"])


# transformers


def word_tokenizer(cls, **special):
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
        model_max_length=CLIP_CONTEXT, **special,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["clip", "siglip"])
def transformers_folder(request, tmp_path_factory) -> Path:
    """A small model of transformers with random weights, saved as the library saves its own."""
    import transformers as t

    folder = tmp_path_factory.mktemp(request.param)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
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


def test_a_model_of_transformers_embeds_as_the_library_does(transformers_folder):
    import transformers as t

    encoder = HuggingFaceEncoder(str(transformers_folder), device="cpu")
    assert isinstance(encoder, ImageTextEncoder)
    model = t.AutoModel.from_pretrained(transformers_folder).eval()
    processor = t.AutoProcessor.from_pretrained(transformers_folder)
    words = ["red boat", "night"]
    inputs = processor(
        text=words, images=pictures(2), padding="max_length", max_length=CLIP_CONTEXT, return_tensors="pt"
    )
    with torch.no_grad():
        output = model(**inputs)
    np.testing.assert_allclose(encoder.encode_texts(words), output.text_embeds.numpy(), atol=1e-6)
    np.testing.assert_allclose(encoder.encode_images(pictures(2)), output.image_embeds.numpy(), atol=1e-6)


def test_a_model_of_transformers_does_not_depend_on_batches(transformers_folder, monkeypatch):
    encoder = HuggingFaceEncoder(str(transformers_folder), device="cpu")
    texts, images = encoder.encode_texts(WORDS), encoder.encode_images(pictures(5))
    unloaded(monkeypatch)
    alone = HuggingFaceEncoder(str(transformers_folder), device="cpu", batch_size=1)
    np.testing.assert_allclose(alone.encode_texts(WORDS), texts, atol=1e-6)
    np.testing.assert_allclose(alone.encode_images(pictures(5)), images, atol=1e-6)


def test_a_model_of_transformers_counts_texts_that_were_cut(transformers_folder, monkeypatch, caplog):
    unloaded(monkeypatch)
    with caplog.at_level(logging.WARNING, image_text_encoders.__name__):
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


@pytest.mark.parametrize("name", ["clip_vit_b16", "clip_vit_l14", "siglip", "open_clip", "huggingface"])
def test_every_encoder_config_builds_without_reading_weights(name):
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from dissectbench.harness import conf

    root = Path(next(iter(conf.__path__)))
    config = OmegaConf.create(
        {"device": "cpu", "encoder": OmegaConf.load(root / "encoder" / f"{name}.yaml")}
    )
    if OmegaConf.is_missing(config.encoder, "model"):
        config.encoder.model = "org/model"
    assert isinstance(instantiate(config.encoder), ImageTextEncoder)
