"""The encoder of open_clip models: a real CLIP, small and with random weights."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_images import noise_images
from rounding import rounding
from small_models import CLIP_CONTEXT, SMALL_CLIP, write_open_clip

from dissectbench.harness.errors import InputError
from dissectbench.harness.fixed_batches import CPU_ROWS
from dissectbench.harness.foundation import image_text_encoder
from dissectbench.harness.foundation.open_clip_encoder import OpenClipEncoder
from dissectbench.harness.foundation.protocols import ImageTextEncoder

WORDS = ["red", "a red boat", "night", "a striped fish in the deep blue sea before the rocks", "", "dog"]
LONG = " ".join(["boat"] * 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_open_clip(tmp_path_factory.mktemp("clip"), SMALL_CLIP)


@pytest.fixture(scope="module")
def encoder(folder) -> OpenClipEncoder:
    return OpenClipEncoder(f"local-dir:{folder}", device="cpu")


def forget_models(monkeypatch) -> None:
    monkeypatch.setattr(image_text_encoder, "_LOADED", {})


def test_embeddings_are_those_of_the_model_itself(encoder, folder):
    import open_clip

    model: Any
    preprocess: Any
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(WORDS)
    with torch.no_grad():
        texts = model.encode_text(tokens, normalize=True).numpy()
        images = model.encode_image(torch.stack([preprocess(i) for i in noise_images(5)]), normalize=True)
    # 192 values in a patch. The patches, two layers in each of two blocks, and the projection.
    tolerance = rounding(terms=192, depth=6, largest=1)
    np.testing.assert_allclose(encoder.encode_texts(WORDS), texts, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        encoder.encode_images(noise_images(5)), images.numpy(), rtol=0, atol=tolerance
    )


def test_it_implements_the_protocol_and_returns_unit_float32_rows(encoder):
    assert isinstance(encoder, ImageTextEncoder)
    for rows in (encoder.encode_texts(WORDS), encoder.encode_images(noise_images(3))):
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


@pytest.mark.numerics
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_an_embedding_does_not_depend_on_its_batch(folder, monkeypatch, batch_size):
    together = OpenClipEncoder(f"local-dir:{folder}", device="cpu")
    texts, images = together.encode_texts(WORDS), together.encode_images(noise_images(7))
    forget_models(monkeypatch)
    alone = OpenClipEncoder(f"local-dir:{folder}", device="cpu", batch_size=batch_size)
    np.testing.assert_array_equal(alone.encode_texts(WORDS[::-1])[::-1], texts)
    np.testing.assert_array_equal(alone.encode_images(noise_images(7)[::-1])[::-1], images)
    np.testing.assert_array_equal(alone.encode_images(noise_images(7)[3:4]), images[3:4])


def test_each_distinct_text_is_embedded_once(folder, monkeypatch):
    forget_models(monkeypatch)
    encoder = OpenClipEncoder(f"local-dir:{folder}", device="cpu")
    embedded: list[int] = []
    batches = image_text_encoder.batches_by_shape
    monkeypatch.setattr(
        image_text_encoder,
        "batches_by_shape",
        lambda items, *rest: embedded.append(len(items)) or batches(items, *rest),
    )
    rows = encoder.encode_texts(["red", "dog", "red", "red"])
    encoder.encode_texts(["dog", "night"])
    assert sum(embedded) == 3
    np.testing.assert_array_equal(rows[0], rows[2])


def test_images_are_consumed_in_a_stream(folder, monkeypatch):
    forget_models(monkeypatch)
    encoder = OpenClipEncoder(f"local-dir:{folder}", device="cpu")
    read, embedded, lead = [0], [0], []
    inner = encoder._towers.embed_images

    def embed(pixels):
        embedded[0] += len(pixels)
        lead.append(read[0] - embedded[0])
        return inner(pixels)

    def stream():
        for image in noise_images(10 * CPU_ROWS):
            read[0] += 1
            yield image

    key = next(iter(image_text_encoder._LOADED))
    towers = image_text_encoder._LOADED[key]
    image_text_encoder._LOADED[key] = image_text_encoder.Towers(
        towers.device, towers.preprocess, towers.tokenize, embed, towers.embed_texts
    )
    assert encoder.encode_images(stream()).shape == (10 * CPU_ROWS, 16)
    # The batch itself, and as many images preprocessed in advance as two batches hold.
    assert max(lead) <= 3 * CPU_ROWS


def test_no_inputs_give_an_empty_matrix_of_the_right_width(encoder):
    assert encoder.encode_texts([]).shape == (0, 16)
    assert encoder.encode_images([]).shape == (0, 16)


def test_a_plain_string_is_refused(encoder):
    with pytest.raises(TypeError, match="must be a list of strings"):
        encoder.encode_texts("red")


def test_a_text_longer_than_the_context_is_cut_and_counted_once(folder, monkeypatch, caplog):
    forget_models(monkeypatch)
    encoder = OpenClipEncoder(f"local-dir:{folder}", device="cpu")
    exact = " ".join(["boat"] * (CLIP_CONTEXT - 2))
    with caplog.at_level(logging.WARNING, image_text_encoder.__name__):
        rows = encoder.encode_texts([LONG, "red", exact, LONG + " dog"])
        encoder.encode_texts([LONG])
    assert [record.getMessage() for record in caplog.records] == [
        f"{encoder.name}: 2 of 4 texts are longer than the model's context and were cut there"
    ]
    np.testing.assert_array_equal(rows[0], rows[2])


def test_a_model_is_loaded_once_and_only_when_it_is_needed(folder, monkeypatch):
    forget_models(monkeypatch)
    first = OpenClipEncoder(f"local-dir:{folder}", device="cpu")
    second = OpenClipEncoder(f"local-dir:{folder}", device="cpu", batch_size=2, name="other")
    assert first.fingerprint() == second.fingerprint()
    assert not image_text_encoder._LOADED
    assert first._towers is second._towers


def test_the_fingerprint_covers_weights_precision_and_preprocessing(folder, tmp_path):
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


def test_half_precision_is_close_to_single(folder, encoder):
    half = OpenClipEncoder(f"local-dir:{folder}", device="cpu", precision="bf16")
    np.testing.assert_allclose(half.encode_texts(WORDS), encoder.encode_texts(WORDS), atol=0.05)
    assert half.encode_images(noise_images(2)).dtype == np.float32


def test_embeddings_that_are_not_finite_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = write_open_clip(tmp_path / "broken", SMALL_CLIP)
    state = load_file(folder / "open_clip_model.safetensors")
    state["text_projection"][:] = float("nan")
    save_file(state, folder / "open_clip_model.safetensors")
    with pytest.raises(InputError, match="not finite"):
        OpenClipEncoder(f"local-dir:{folder}", device="cpu").encode_texts(["red"])


# Weights of an architecture


@pytest.fixture
def architecture(tmp_path, monkeypatch) -> str:
    """The name of the small model, registered in open_clip like OpenAI's ViT-B/16."""
    from open_clip import factory
    from open_clip.pretrained import _PRETRAINED

    plain = {**SMALL_CLIP, "quick_gelu": False}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny-quickgelu", SMALL_CLIP)
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", plain)
    tag = dict(_PRETRAINED["ViT-B-16-quickgelu"]["openai"])
    for name in ("tiny", "tiny-quickgelu"):
        monkeypatch.setitem(_PRETRAINED, name, {"openai": tag})
    return "tiny-quickgelu"


def test_a_local_file_replaces_the_weights_of_the_hub(architecture, folder, encoder):
    file = folder / "open_clip_model.safetensors"
    local = OpenClipEncoder(architecture, "openai", checkpoint=str(file), device="cpu")
    np.testing.assert_allclose(local.encode_texts(WORDS), encoder.encode_texts(WORDS), atol=1e-6)
    np.testing.assert_allclose(
        local.encode_images(noise_images(3)), encoder.encode_images(noise_images(3)), atol=1e-6
    )


def test_openais_own_torchscript_file_is_accepted(architecture, folder, encoder, tmp_path):
    file = write_torchscript(tmp_path / "ViT-B-16.pt", folder)
    local = OpenClipEncoder(architecture, "openai", checkpoint=str(file), device="cpu")
    np.testing.assert_allclose(local.encode_texts(WORDS), encoder.encode_texts(WORDS), atol=1e-6)


def write_torchscript(path: Path, folder: Path) -> Path:
    """Writes the weights like OpenAI: in a TorchScript archive that also contains three sizes."""
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


def test_quickgelu_weights_are_refused_for_a_model_without_quickgelu(architecture, folder, tmp_path):
    for checkpoint, pretrained in (
        (folder / "open_clip_model.safetensors", "openai"),
        (write_torchscript(tmp_path / "ViT-B-16.pt", folder), None),
    ):
        wrong = OpenClipEncoder("tiny", pretrained, checkpoint=str(checkpoint), device="cpu")
        with pytest.raises(InputError, match="trained with QuickGELU") as caught:
            wrong.fingerprint()
        assert "encoder.model=tiny-quickgelu" in str(caught.value)


def test_the_error_says_where_missing_weights_belong(tmp_path, monkeypatch):
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
        ({"pretrained": "laion2b"}, "no weights 'laion2b' for ViT-B-16-quickgelu"),
        ({"pretrained": None}, "there are no weights for"),
        ({"checkpoint": "/missing/file.pt"}, "no such file: /missing/file.pt"),
        ({"pretrained": __file__}, "name of the weights, not a file"),
        ({"model": "local-dir:/missing/folder"}, "no such folder: /missing/folder"),
    ],
)
def test_the_error_names_a_wrong_setting(settings, message):
    with pytest.raises(InputError, match=message):
        OpenClipEncoder(**settings, device="cpu").fingerprint()


def test_precision_and_batch_size_are_checked_at_once():
    with pytest.raises(InputError, match="precision is 'fp8'"):
        OpenClipEncoder(precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 1"):
        OpenClipEncoder(batch_size=0)


@pytest.mark.parametrize("damage", ["truncated", "other architecture"])
def test_the_error_names_weights_that_cannot_be_loaded(tmp_path, damage):
    config = SMALL_CLIP if damage == "truncated" else {**SMALL_CLIP, "embed_dim": 8}
    folder = write_open_clip(tmp_path / "model", SMALL_CLIP)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    if damage == "truncated":
        file = folder / "open_clip_model.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cannot load .*model"):
        OpenClipEncoder(f"local-dir:{folder}", device="cpu").encode_texts(["red"])


def test_a_folder_without_weights_is_refused(tmp_path):
    folder = write_open_clip(tmp_path / "model", SMALL_CLIP)
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights in"):
        OpenClipEncoder(f"local-dir:{folder}", device="cpu").encode_texts(["red"])
