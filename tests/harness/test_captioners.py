"""Captioners, from folders in transformers' true format, and the cache of captions."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation.caption_cache import cached_captions, image_digest
from dissectbench.harness.foundation.captioners import Blip, Blip2, cleaned
from dissectbench.harness.foundation.concept_captioner import ConceptCaptioner
from dissectbench.harness.foundation.protocols import Captioner

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", ",", "boat", "tree", "red", *LETTERS]


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    pieces: Any = models.WordPiece({t: i for i, t in enumerate(TOKENS)}, unk_token="[UNK]")
    tokenizer: Any = Tokenizer(pieces)
    tokenizer.add_special_tokens(TOKENS[:6])
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names, "bos_token": "[DEC]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_preprocessing(folder: Path, processor: str) -> None:
    from transformers import BlipImageProcessor

    BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["processor_class"] = processor
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


@pytest.fixture(scope="module")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BLIP with random weights."""
    from transformers import BlipConfig, BlipForConditionalGeneration

    folder = tmp_path_factory.mktemp("blip")
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = {
        **size,
        **ids,
        "vocab_size": len(TOKENS),
        "max_position_embeddings": 64,
        "initializer_range": 0.5,
    }
    vision = {**size, "image_size": 32, "patch_size": 8, "initializer_range": 1.0}
    config: Any = BlipConfig(text_config=text, vision_config=vision, initializer_range=0.5)
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    write_tokenizer(folder)
    write_preprocessing(folder, "BlipProcessor")
    return folder


@pytest.fixture(scope="module")
def blip2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BLIP-2 with random weights and an OPT language model."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, OPTConfig

    folder = tmp_path_factory.mktemp("blip2")
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = OPTConfig(
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=len(TOKENS) + 1,
        max_position_embeddings=128,
        bos_token_id=5,
        eos_token_id=3,
        pad_token_id=0,
        init_std=0.5,
    )
    config: Any = Blip2Config(
        vision_config={**size, "image_size": 32, "patch_size": 8, "initializer_range": 0.5},
        qformer_config={**size, "vocab_size": 8, "encoder_hidden_size": 32, "initializer_range": 0.5},
        text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=len(TOKENS),
        initializer_range=0.5,
    )
    torch.manual_seed(0)
    model = Blip2ForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    write_preprocessing(folder, "Blip2Processor")
    (folder / "processor_config.json").write_text(
        json.dumps({"num_query_tokens": 4, "processor_class": "Blip2Processor"})
    )
    return folder


@pytest.fixture(params=["blip", "blip2"])
def captioner(request: pytest.FixtureRequest) -> Blip | Blip2:
    folder = request.getfixturevalue(f"{request.param}_folder")
    kind = {"blip": Blip, "blip2": Blip2}[request.param]
    return kind(str(folder), device="cpu", batch_size=4, max_new_tokens=8)


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    coarse = [rng.choice(np.array([0, 255], np.uint8), (2, 2, 3)) for _ in range(count)]
    sides = rng.integers(20, 80, (count, 2)).tolist()
    return [
        Image.fromarray(c).resize(s, Image.Resampling.NEAREST) for c, s in zip(coarse, sides, strict=True)
    ]


def test_captioners_are_captioners(captioner: Blip | Blip2) -> None:
    assert isinstance(captioner, Captioner)


def test_a_caption_does_not_depend_on_the_pictures_beside_it(captioner: Blip | Blip2) -> None:
    shown = pictures(7)
    together = captioner.caption(shown)
    alone = [caption for picture in shown for caption in captioner.caption([picture])]
    assert together == alone
    assert captioner.caption(shown[::-1]) == together[::-1]
    assert len(set(together)) > 1


def test_captions_hold_no_special_tokens_and_no_doubled_spaces(captioner: Blip | Blip2) -> None:
    for caption in captioner.caption(pictures(4)):
        assert caption
        assert caption == cleaned(caption)
        assert not set("[]<>") & set(caption)


def test_no_pictures_have_no_captions(captioner: Blip | Blip2) -> None:
    assert captioner.caption([]) == []


def test_grey_and_transparent_pictures_are_captioned_as_rgb(captioner: Blip | Blip2) -> None:
    [picture] = pictures(1)
    grey = picture.convert("L")
    assert captioner.caption([grey]) == captioner.caption([grey.convert("RGB")])
    assert captioner.caption([picture.convert("RGBA")]) == captioner.caption([picture])


def test_the_model_says_what_transformers_says(blip_folder: Path) -> None:
    from transformers import AutoProcessor, BlipForConditionalGeneration

    shown = pictures(3)
    model: Any = BlipForConditionalGeneration.from_pretrained(blip_folder, dtype=torch.float32).eval()
    processor: Any = AutoProcessor.from_pretrained(blip_folder)
    for picture, caption in zip(shown, Blip(str(blip_folder)).caption(shown), strict=True):
        inputs = processor(images=picture, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=32, min_length=5)
        assert caption == cleaned(processor.decode(tokens[0], skip_special_tokens=True))


def test_spaces_before_marks_and_between_words_are_cleaned() -> None:
    assert cleaned(" a boat , red  and\nwhite . ") == "a boat, red and white."


def test_everything_a_caption_depends_on_is_in_the_fingerprint(blip_folder: Path, tmp_path: Path) -> None:
    base = Blip(str(blip_folder)).fingerprint()
    assert Blip(str(blip_folder), batch_size=3, name="another").fingerprint() == base
    others = [
        Blip(str(blip_folder), max_new_tokens=31),
        Blip(str(blip_folder), min_length=4),
        Blip(str(blip_folder), num_beams=2),
        Blip(str(blip_folder), no_repeat_ngram_size=3),
        Blip(str(blip_folder), precision="bf16"),
    ]
    copy = tmp_path / "copy"
    shutil.copytree(blip_folder, copy)
    assert Blip(str(copy)).fingerprint() == base
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps({**settings, "image_mean": [0, 0, 0]}))
    changed = [other.fingerprint() for other in others] + [Blip(str(copy)).fingerprint()]
    assert len({base, *changed}) == len(changed) + 1


def test_beams_and_a_ban_on_repeats_reach_the_model(blip_folder: Path) -> None:
    shown = pictures(6)
    free = Blip(str(blip_folder)).caption(shown)
    banned = Blip(str(blip_folder), no_repeat_ngram_size=1).caption(shown)
    assert any(len(set(text.split())) < len(text.split()) for text in free)
    assert all(len(set(text.split())) == len(text.split()) for text in banned)


def test_nothing_is_read_before_the_first_caption() -> None:
    assert Blip("no/such-model").name == "such-model"


def test_a_missing_model_is_named() -> None:
    with pytest.raises(InputError, match="such-captioner"):
        Blip("no/such-captioner").caption(pictures(1))


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_folder_is_named_without_a_traceback(
    blip_folder: Path, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(blip_folder, folder)
    (folder / damage).write_bytes(b"{")
    with pytest.raises(InputError, match="damaged"):
        Blip(str(folder)).caption(pictures(1))


def test_another_kind_of_model_is_refused(blip2_folder: Path) -> None:
    with pytest.raises(InputError, match="blip2"):
        Blip(str(blip2_folder)).caption(pictures(1))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("batch_size", 0), ("max_new_tokens", 0), ("num_beams", 0), ("min_length", -1)],
)
def test_a_setting_out_of_range_is_named(setting: str, value: int) -> None:
    with pytest.raises(InputError, match=f"captioner.{setting}={value}"):
        Blip(**{setting: value})  # pyright: ignore


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(InputError, match="precision=half"):
        Blip(precision="half")  # pyright: ignore


class Sizes:
    """Captions a picture by its size; counts what it was asked, and may fail."""

    name, batch_size = "sizes", 2

    def __init__(self, fails_after: int = 1000) -> None:
        self.asked: list[int] = []
        self.fails_after = fails_after

    def fingerprint(self) -> str:
        return "sizes"

    def caption(self, images: Sequence[Image.Image]) -> list[str]:
        if len(self.asked) >= self.fails_after:
            raise RuntimeError("killed")
        self.asked.append(len(images))
        return [f"{image.width} by {image.height}" for image in images]


def test_cached_captions_are_not_asked_again(tmp_path: Path) -> None:
    shown = pictures(5)
    first, second = Sizes(), Sizes()
    said = cached_captions(first, shown, Cache(tmp_path))
    assert said == Sizes().caption(shown)
    assert first.asked == [2, 2, 1]
    assert cached_captions(second, shown[::-1], Cache(tmp_path)) == said[::-1]
    assert second.asked == []


def test_a_batch_is_kept_the_moment_it_is_done(tmp_path: Path) -> None:
    shown = pictures(6)
    with pytest.raises(RuntimeError, match="killed"):
        cached_captions(Sizes(fails_after=2), shown, Cache(tmp_path))
    resumed = Sizes()
    assert cached_captions(resumed, shown, Cache(tmp_path)) == Sizes().caption(shown)
    assert resumed.asked == [2]


def test_equal_pictures_are_captioned_once(tmp_path: Path) -> None:
    one, two = pictures(2)
    sizes = Sizes()
    said = cached_captions(sizes, [one, two.copy(), one.copy(), two], Cache(tmp_path))
    assert sizes.asked == [2]
    assert said == [*said[:2], *said[:2]]


def test_another_captioner_does_not_get_these_captions(tmp_path: Path, blip_folder: Path) -> None:
    shown = pictures(2)
    cached_captions(Sizes(), shown, Cache(tmp_path))
    blip = Blip(str(blip_folder))
    assert cached_captions(blip, shown, Cache(tmp_path)) == blip.caption(shown)


def test_a_damaged_entry_is_captioned_again(tmp_path: Path) -> None:
    shown = pictures(2)
    cached_captions(Sizes(), shown, Cache(tmp_path))
    for entry in (tmp_path / "captions").glob("*.json"):
        entry.write_text('{"value": ')
    again = Sizes()
    assert cached_captions(again, shown, Cache(tmp_path)) == Sizes().caption(shown)
    assert again.asked == [2]


def test_an_empty_caption_is_tried_again(tmp_path: Path) -> None:
    class Silent(Sizes):
        def caption(self, images: Sequence[Image.Image]) -> list[str]:
            super().caption(images)
            return ["" for _ in images]

    assert cached_captions(Silent(), pictures(1), Cache(tmp_path)) == [""]
    assert cached_captions(Sizes(), pictures(1), Cache(tmp_path)) != [""]


def test_pictures_of_the_same_bytes_and_another_shape_differ() -> None:
    pixels = np.arange(48, dtype=np.uint8)
    wide, high = (Image.fromarray(pixels.reshape(*shape, 3)) for shape in ((2, 8), (8, 2)))
    assert image_digest(wide) != image_digest(high)


class Words:
    name = "three words"
    words = ("red", "green", "blue")


class Colours:
    """Embeds a picture by its mean colour, and a word by the colour it names."""

    name = "colours"

    def fingerprint(self) -> str:
        return "colours"

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        rows = np.stack([np.asarray(image, np.float32).mean((0, 1)) for image in images])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([np.eye(3, dtype=np.float32)[Words.words.index(t.split()[-1])] for t in texts])


def test_the_nearest_concept_is_the_caption() -> None:
    captioner = ConceptCaptioner(Colours(), Words(), template="a patch of {}")  # pyright: ignore
    shown = [Image.new("RGB", (4, 4), colour) for colour in ("blue", "red", "lime", "red")]
    assert isinstance(captioner, Captioner)
    assert captioner.caption(shown) == ["blue", "red", "green", "red"]
    plain = ConceptCaptioner(Colours(), Words())  # pyright: ignore
    assert plain.fingerprint() != captioner.fingerprint()


def test_a_concept_captioner_without_a_place_or_without_concepts_is_refused() -> None:
    with pytest.raises(InputError, match="template"):
        ConceptCaptioner(Colours(), Words(), template="no place")  # pyright: ignore
    empty = type("Empty", (), {"name": "none", "words": ()})()
    with pytest.raises(InputError, match="no concepts"):
        ConceptCaptioner(Colours(), empty)  # pyright: ignore
