"""The captioner of tinyworld: its size, its quality, and loading it like any other BLIP."""

import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dissectbench.datasets.tinyworld.captions import caption
from dissectbench.datasets.tinyworld.networks import WEIGHTS
from dissectbench.datasets.tinyworld.rendering import render_image, spec_of
from dissectbench.datasets.tinyworld.training.captioner_quality import Mentions, compare, mentions
from dissectbench.datasets.tinyworld.training.images import HELD_OUT_SEED
from dissectbench.harness.foundation.captioners import Blip

FOLDER = WEIGHTS / "captioner"
NAME = "package:dissectbench.datasets.tinyworld/weights/captioner"


@pytest.fixture(scope="module")
def captioned() -> tuple[list[Any], list[str]]:
    """Contents and captions of 120 images that are used neither for training nor for the model card."""
    images = [render_image(HELD_OUT_SEED, index) for index in range(5000, 5120)]
    captions = Blip(NAME, device="cpu").caption([Image.fromarray(image.pixels) for image in images])
    return [image.spec for image in images], captions


def test_the_captioner_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 4.5e6


def test_the_captioner_names_object_colour_and_scene(captioned: tuple[list[Any], list[str]]) -> None:
    specs, captions = captioned
    pairs = list(zip([mentions(text) for text in captions], specs, strict=True))
    named = np.mean([m.object == s.main.kind for m, s in pairs])
    coloured = np.mean([m.colour == s.main.colour for m, s in pairs])
    placed = np.mean([m.scene == s.scene for m, s in pairs])
    assert named > 0.55
    assert coloured > 0.6
    assert placed > 0.95


def test_the_model_card_states_the_measured_quality(captioned: tuple[list[Any], list[str]]) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    stated = re.search(r"main object is named correctly: \*\*([\d.]+)%", card)
    assert stated
    specs, captions = captioned
    named = np.mean([mentions(t).object == s.main.kind for t, s in zip(captions, specs, strict=True)])
    assert abs(float(stated[1]) / 100 - named) < 0.15


def test_a_true_caption_is_parsed_completely() -> None:
    for index in range(300):
        spec = spec_of(HELD_OUT_SEED, index)
        expected = Mentions(
            spec.main.kind,
            spec.main.colour,
            spec.main.texture,
            spec.scene,
            frozenset(f"{each.colour} {each.kind}" for each in spec.objects[:-1]),
        )
        assert mentions(caption(spec)) == expected


@pytest.mark.slow
def test_true_captions_score_best_and_those_of_other_images_do_not() -> None:
    specs = [spec_of(HELD_OUT_SEED, index) for index in range(30)]
    true = [caption(spec) for spec in specs]
    best, worst = compare(true, specs), compare([*true[1:], true[0]], specs)
    shares = (best.exact, best.object, best.colour, best.texture, best.scene, best.smaller_objects)
    assert shares == (1,) * 6
    assert best.bertscore == pytest.approx(1, abs=1e-5)
    assert best.chance == pytest.approx(worst.bertscore, abs=1e-5)
    assert worst.exact < 0.1
    assert worst.object < 0.5


def test_the_script_writes_the_files_that_are_shipped(tmp_path: Any) -> None:
    from transformers import AutoTokenizer

    from dissectbench.datasets.tinyworld.training import train_captioner as script

    tokens = (FOLDER / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    script.write_tokenizer(tokens, tmp_path)
    script.write_preprocessing(tmp_path)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text()
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path)
    sentence = caption(spec_of(HELD_OUT_SEED, 0))
    assert tokenizer.unk_token_id not in tokenizer(f"{sentence} zyzzyva")["input_ids"]


def test_the_shares_of_a_patch_are_those_of_its_pixels() -> None:
    from dissectbench.datasets.tinyworld.training import train_captioner as script
    from dissectbench.datasets.tinyworld.words import NUMBER

    image = render_image(1, 3)
    shares, side = script._patch_word_shares(1, 3), image.object.shape[0] // script.GRID
    kind = NUMBER[image.spec.main.kind]
    for row in range(script.GRID):
        for column in range(script.GRID):
            block = image.object[row * side :, column * side :][:side, :side]
            assert shares[row, column, kind - 1] == int((block == kind).mean() * 255 + 1e-9)
    assert shares[..., kind - 1].max() == 255
