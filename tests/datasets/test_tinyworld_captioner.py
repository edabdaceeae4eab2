"""The embedded captioner: small, honest about its quality, loaded like any other BLIP."""

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
def shown() -> tuple[list[Any], list[str]]:
    """What is in 120 pictures that are neither trained on nor those of the card, and what is said."""
    drawn = [render_image(HELD_OUT_SEED, index) for index in range(5000, 5120)]
    said = Blip(NAME, device="cpu").caption([Image.fromarray(p.pixels) for p in drawn])
    return [p.spec for p in drawn], said


def test_the_captioner_fits_its_budget() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 4.5e6


def test_the_captioner_says_what_the_pictures_show(shown: tuple[list[Any], list[str]]) -> None:
    specs, said = shown
    found = [mentions(text) for text in said]
    named = np.mean([m.object == s.main.kind for m, s in zip(found, specs, strict=True)])
    coloured = np.mean([m.colour == s.main.colour for m, s in zip(found, specs, strict=True)])
    placed = np.mean([m.scene == s.scene for m, s in zip(found, specs, strict=True)])
    assert named > 0.55
    assert coloured > 0.6
    assert placed > 0.95


def test_the_card_says_what_is_measured(shown: tuple[list[Any], list[str]]) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    stated = re.search(r"main object is named: \*\*([\d.]+)%", card)
    assert stated
    specs, said = shown
    named = np.mean([mentions(t).object == s.main.kind for t, s in zip(said, specs, strict=True)])
    assert abs(float(stated[1]) / 100 - named) < 0.15


def test_a_true_caption_is_read_back_whole() -> None:
    for index in range(300):
        spec = spec_of(HELD_OUT_SEED, index)
        expected = Mentions(
            spec.main.kind,
            spec.main.colour,
            spec.main.texture,
            spec.scene,
            frozenset(f"{thing.colour} {thing.kind}" for thing in spec.objects[:-1]),
        )
        assert mentions(caption(spec)) == expected


@pytest.mark.slow
def test_true_captions_are_perfect_and_those_of_others_are_not() -> None:
    specs = [spec_of(HELD_OUT_SEED, index) for index in range(30)]
    true = [caption(spec) for spec in specs]
    best, worst = compare(true, specs), compare([*true[1:], true[0]], specs)
    shares = (best.exact, best.object, best.colour, best.texture, best.scene, best.smaller_objects)
    assert shares == (1,) * 6
    assert best.bertscore == pytest.approx(1, abs=1e-5)
    assert best.chance == pytest.approx(worst.bertscore, abs=1e-5)
    assert worst.exact < 0.1
    assert worst.object < 0.5


def test_the_trained_format_is_the_one_that_the_script_writes(tmp_path: Any) -> None:
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


def test_a_patch_knows_the_words_that_it_shows() -> None:
    from dissectbench.datasets.tinyworld.training import train_captioner as script
    from dissectbench.datasets.tinyworld.words import NUMBER

    drawn = render_image(1, 3)
    shares, side = script._patch_words(1, 3), drawn.object.shape[0] // script.GRID
    kind = NUMBER[drawn.spec.main.kind]
    for row in range(script.GRID):
        for column in range(script.GRID):
            block = drawn.object[row * side :, column * side :][:side, :side]
            assert shares[row, column, kind - 1] == int((block == kind).mean() * 255 + 1e-9)
    assert shares[..., kind - 1].max() == 255
