"""The networks of tinyworld: their size, their quality, and loading them like any other."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dissectbench.datasets.tinyworld.networks import WEIGHTS, TinyResNet, resnet
from dissectbench.datasets.tinyworld.phrases import facts, phrase
from dissectbench.datasets.tinyworld.rendering import spec_of
from dissectbench.datasets.tinyworld.tinyworld import other_words
from dissectbench.datasets.tinyworld.training.images import HELD_OUT_SEED, ImageSet, pixels_and_areas
from dissectbench.datasets.tinyworld.words import NUMBER, OBJECTS, WORDS

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def held_out():
    """Images that are used neither for training nor for the model cards."""
    indices = range(5000, 5150)
    pixels, areas = zip(*(pixels_and_areas(HELD_OUT_SEED, i) for i in indices), strict=True)
    specs = tuple(spec_of(HELD_OUT_SEED, i) for i in indices)
    return ImageSet(np.stack(pixels), np.stack(areas), specs)


@pytest.fixture(scope="module")
def clip():
    import open_clip

    folder = f"local-dir:{WEIGHTS / 'clip'}"
    model, _, preprocess = open_clip.create_model_and_transforms(folder)
    return model.eval(), preprocess, open_clip.get_tokenizer(folder)


def test_all_shipped_weights_are_small():
    sizes = {path.name: path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 16e6
    resnet_and_clip = sum(p.stat().st_size for n in ("resnet", "clip") for p in (WEIGHTS / n).iterdir())
    assert resnet_and_clip <= 7e6


def test_the_classifier_has_torchvisions_module_names():
    from torchvision.models import resnet50

    ours, theirs = ({name for name, _ in m.named_children()} for m in (TinyResNet(), resnet50()))
    assert ours == theirs


def test_the_maps_of_the_classifier_have_the_documented_shapes():
    model, prepare = resnet()
    shapes = {}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        getattr(model, name).register_forward_hook(
            lambda _, __, out, name=name: shapes.update({name: out.shape[1:]})
        )
    logits = model(prepare(Image.new("RGB", (200, 120)))[None])
    assert logits.shape == (1, len(OBJECTS))
    assert shapes == {
        "layer1": (64, 24, 24),
        "layer2": (128, 12, 12),
        "layer3": (256, 6, 6),
        "layer4": (512, 6, 6),
    }


def test_the_classifier_is_accurate_on_new_images(held_out):
    model, prepare = resnet()
    with torch.inference_mode():
        batch = torch.stack([prepare(Image.fromarray(pixels)) for pixels in held_out.pixels])
        predicted = model(batch).argmax(1).numpy()
    assert (predicted == held_out.classes).mean() >= 0.93


def test_the_preprocessing_converts_and_normalises():
    _, prepare = resnet()
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    grey = Image.fromarray(pixels[..., 0])
    assert torch.equal(prepare(grey), prepare(grey.convert("RGB")))
    expected = (pixels / 255 - [0.42, 0.42, 0.40]) / [0.33, 0.33, 0.36]
    assert np.allclose(prepare(Image.fromarray(pixels)).numpy(), expected.transpose(2, 0, 1), atol=1e-6)


def embed(clip, images, texts):
    model, preprocess, tokenize = clip
    with torch.inference_mode():
        batch = torch.stack([preprocess(Image.fromarray(pixels)) for pixels in images])
        return (
            model.encode_image(batch, normalize=True).numpy(),
            model.encode_text(tokenize(list(texts)), normalize=True).numpy(),
        )


def test_the_image_text_model_recognises_the_class(clip, held_out):
    images, texts = embed(clip, held_out.pixels, OBJECTS)
    assert ((images @ texts.T).argmax(1) == held_out.classes).mean() >= 0.9


def lead(clip, held_out, word):
    """How much more similar a word is to images that show it than to others, in standard deviations."""
    images, texts = embed(clip, held_out.pixels, [word])
    score, true = images @ texts[0], held_out.areas[:, NUMBER[word]] > 0.01
    return (score[true].mean() - score[~true].mean()) / score.std()


@pytest.mark.parametrize("word", ["night", "desert", "sea", "sail", "wheel", "wing", "window"])
def test_the_image_text_model_finds_scenes_and_parts(clip, held_out, word):
    assert lead(clip, held_out, word) > 1


@pytest.mark.parametrize("word", ["striped", "red", "purple"])
def test_the_image_text_model_finds_textures_and_colours_better_than_chance(clip, held_out, word):
    """Its weak side, as its model card states: they cover far fewer pixels than scenes."""
    assert lead(clip, held_out, word) > 0.3


def test_the_image_text_model_prefers_true_words_to_other_words(clip, held_out):
    words = [*WORDS, *other_words()]
    images, texts = embed(clip, held_out.pixels, words)
    nearest = [words[i] for i in (images @ texts.T).argmax(1)]
    true = [facts(spec, areas) for spec, areas in zip(held_out.specs, held_out.areas, strict=True)]
    assert np.mean([word in t for word, t in zip(nearest, true, strict=True)]) >= 0.9


def test_unknown_words_have_tokens_and_case_does_not_matter(clip):
    tokenize = clip[2]
    unknown = tokenize(["perpendicularity naïve 漢字"])
    assert (unknown != 0).sum() > 5
    assert torch.equal(tokenize(["A Red BOAT"]), tokenize(["a red boat"]))
    assert tokenize(["word " * 100]).shape == (1, 24)


def test_the_image_text_model_loads_offline_from_any_folder(tmp_path):
    code = (
        "import open_clip, sys\n"
        "model, _, _ = open_clip.create_model_and_transforms('local-dir:' + sys.argv[1])\n"
        "tokens = open_clip.get_tokenizer('local-dir:' + sys.argv[1])(['a sail'])\n"
        "print(type(model).__name__, tuple(model.encode_text(tokens).shape))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(WEIGHTS / "clip")],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "CLIP (1, 128)"


@pytest.mark.parametrize("network", ["resnet", "clip"])
def test_the_model_card_states_quality_and_training(network):
    text = (WEIGHTS / network / "README.md").read_text(encoding="utf-8")
    assert re.search(r"\*\*\d+\.\d%\*\*", text)
    for word in ("seed", "epochs", "MB", f"seed {HELD_OUT_SEED}"):
        assert word in text


def test_every_training_phrase_is_true_of_its_image(held_out):
    rng = np.random.default_rng(0)
    for spec, areas in zip(held_out.specs, held_out.areas, strict=True):
        true = facts(spec, areas)
        for _ in range(5):
            assert phrase(spec, true, rng).facts <= true
