"""Captioners: real transformers models, small and with random weights, loaded from their folders."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from random_images import block_images

from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation.captioners import Blip, Blip2, CaptionDecoding, cleaned
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
    decoding = CaptionDecoding(max_new_tokens=8)
    return kind(str(folder), decoding=decoding, device="cpu", batch_size=4)


def test_it_implements_the_protocol(captioner: Blip | Blip2) -> None:
    assert isinstance(captioner, Captioner)


@pytest.mark.numerics
def test_a_caption_does_not_depend_on_the_other_images(captioner: Blip | Blip2) -> None:
    images = block_images(7)
    together = captioner.caption(images)
    alone = [caption for image in images for caption in captioner.caption([image])]
    assert together == alone
    assert captioner.caption(images[::-1]) == together[::-1]
    assert len(set(together)) > 1


def test_captions_contain_no_special_tokens_and_no_double_spaces(captioner: Blip | Blip2) -> None:
    for caption in captioner.caption(block_images(4)):
        assert caption
        assert caption == cleaned(caption)
        assert not set("[]<>") & set(caption)


def test_no_images_give_no_captions(captioner: Blip | Blip2) -> None:
    assert captioner.caption([]) == []


def test_grey_and_transparent_images_are_captioned_as_rgb(captioner: Blip | Blip2) -> None:
    [image] = block_images(1)
    grey = image.convert("L")
    assert captioner.caption([grey]) == captioner.caption([grey.convert("RGB")])
    assert captioner.caption([image.convert("RGBA")]) == captioner.caption([image])


def test_captions_are_those_of_transformers(blip_folder: Path) -> None:
    from transformers import AutoProcessor, BlipForConditionalGeneration

    images = block_images(3)
    model: Any = BlipForConditionalGeneration.from_pretrained(blip_folder, dtype=torch.float32).eval()
    processor: Any = AutoProcessor.from_pretrained(blip_folder)
    for image, caption in zip(images, Blip(str(blip_folder)).caption(images), strict=True):
        inputs = processor(images=image, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=32, min_length=5)
        assert caption == cleaned(processor.decode(tokens[0], skip_special_tokens=True))


def test_superfluous_spaces_are_removed() -> None:
    assert cleaned(" a boat , red  and\nwhite . ") == "a boat, red and white."


def test_the_fingerprint_covers_everything_that_a_caption_depends_on(
    blip_folder: Path, tmp_path: Path
) -> None:
    base = Blip(str(blip_folder)).fingerprint()
    assert Blip(str(blip_folder), batch_size=3, name="another").fingerprint() == base
    decodings = [
        CaptionDecoding(max_new_tokens=31),
        CaptionDecoding(min_length=4),
        CaptionDecoding(num_beams=2),
        CaptionDecoding(no_repeat_ngram_size=3),
    ]
    others = [Blip(str(blip_folder), decoding=decoding) for decoding in decodings]
    others.append(Blip(str(blip_folder), precision="bf16"))
    copy = tmp_path / "copy"
    shutil.copytree(blip_folder, copy)
    assert Blip(str(copy)).fingerprint() == base
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps({**settings, "image_mean": [0, 0, 0]}))
    changed = [other.fingerprint() for other in others] + [Blip(str(copy)).fingerprint()]
    assert len({base, *changed}) == len(changed) + 1


def test_decoding_settings_reach_the_model(blip_folder: Path) -> None:
    images = block_images(6)
    default = Blip(str(blip_folder)).caption(images)
    no_repeats = CaptionDecoding(no_repeat_ngram_size=1)
    distinct = Blip(str(blip_folder), decoding=no_repeats).caption(images)
    assert any(len(set(text.split())) < len(text.split()) for text in default)
    assert all(len(set(text.split())) == len(text.split()) for text in distinct)


def test_the_constructor_reads_no_files() -> None:
    assert Blip("no/such-model").name == "such-model"


def test_the_error_names_a_missing_model() -> None:
    with pytest.raises(InputError, match="such-captioner"):
        Blip("no/such-captioner").caption(block_images(1))


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors", "tokenizer.json"])
def test_the_error_names_a_damaged_folder(blip_folder: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(blip_folder, folder)
    (folder / damage).write_bytes(b"{")
    with pytest.raises(InputError, match="damaged"):
        Blip(str(folder)).caption(block_images(1))


def test_another_kind_of_model_is_refused(blip2_folder: Path) -> None:
    with pytest.raises(InputError, match="blip2"):
        Blip(str(blip2_folder)).caption(block_images(1))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_new_tokens", 0),
        ("num_beams", 0),
        ("min_length", -1),
        ("no_repeat_ngram_size", -1),
    ],
)
def test_the_error_names_a_decoding_setting_out_of_range(setting: str, value: int) -> None:
    with pytest.raises(InputError, match=f"captioner.decoding.{setting}={value}"):
        CaptionDecoding(**{setting: value})


def test_the_error_names_a_setting_out_of_range() -> None:
    with pytest.raises(InputError, match=r"captioner\.batch_size=0"):
        Blip("model", batch_size=0)
    with pytest.raises(InputError, match=r"captioner\.precision is 'half'"):
        Blip("model", precision="half")  # pyright: ignore
