"""Generators, from folders in diffusers' true format, and the cache of pictures."""

import importlib
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dissectbench.harness.cache import Cache
from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation import image_generators
from dissectbench.harness.foundation.image_cache import cached_images, image_key
from dissectbench.harness.foundation.image_generators import Diffusers, Rendered, seed_for
from dissectbench.harness.foundation.protocols import ImageGenerator

PROMPTS = ["red boat", "tree", "a clock", "night", "red boat"]
SEEDS = [seed_for(prompt, index, 0) for index, prompt in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Stable Diffusion with random weights, its safety checker among them."""
    # Both libraries hide from type checkers what their classes take.
    diffusers: Any = importlib.import_module("diffusers")
    transformers: Any = importlib.import_module("transformers")
    checker: Any = importlib.import_module("diffusers.pipelines.stable_diffusion.safety_checker")

    folder = tmp_path_factory.mktemp("sd")
    characters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz")]
    tokens = ["<|startoftext|>", "<|endoftext|>", *characters]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=24)
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**size, "vocab_size": len(tokens), "max_position_embeddings": 24}
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    clip = transformers.CLIPConfig(
        text_config={**text, **ids},
        vision_config={**size, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    torch.manual_seed(0)
    diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            latent_channels=4,
        ),
        text_encoder=transformers.CLIPTextModel(transformers.CLIPTextConfig(**text, **ids)),
        tokenizer=tokenizer,
        unet=diffusers.UNet2DConditionModel(
            sample_size=16,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        ),
        scheduler=diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        safety_checker=checker.StableDiffusionSafetyChecker(clip),
        feature_extractor=transformers.CLIPImageProcessor(),
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def diffusion(pipeline_folder: Path) -> Diffusers:
    return small(pipeline_folder)


def small(folder: Path, **settings: Any) -> Diffusers:
    few: dict[str, Any] = {"steps": 2, "size": (32, 32), "device": "cpu", "batch_size": 2, **settings}
    return Diffusers(str(folder), **few)


def pixels(images: Any) -> np.ndarray:
    return np.stack([np.asarray(image) for image in images]).astype(int)


def test_a_seed_is_a_function_of_text_index_and_base_seed_alone() -> None:
    assert seed_for("red boat", 3, 7) == seed_for("red boat", 3, 7) == 1101021379594545656
    triples = [(t, i, s) for t in ("a", "b", "a 1", "") for i in range(3) for s in range(3)]
    seeds = {seed_for(*triple) for triple in triples}
    assert len(seeds) == len(triples)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_are_generators(diffusion: Diffusers) -> None:
    assert isinstance(diffusion, ImageGenerator)
    assert isinstance(Rendered(), ImageGenerator)


def test_a_picture_does_not_depend_on_those_drawn_with_it(pipeline_folder: Path) -> None:
    together = pixels(small(pipeline_folder, batch_size=5).generate(PROMPTS, SEEDS))
    backwards = pixels(small(pipeline_folder, batch_size=2).generate(PROMPTS[::-1], SEEDS[::-1]))
    one = small(pipeline_folder, batch_size=1)
    alone = np.concatenate([pixels(one.generate([p], [s])) for p, s in zip(PROMPTS, SEEDS, strict=True)])
    # Matrix products of another batch size may be rounded otherwise in their last bit.
    assert np.abs(together - alone).max() <= 1
    assert np.abs(together - backwards[::-1]).max() <= 1
    assert np.abs(together[0] - together[4]).mean() > 1  # one prompt, two seeds
    assert together.shape == (5, 32, 32, 3)


def test_the_prompt_reaches_the_pipeline_in_its_template(pipeline_folder: Path) -> None:
    direct = small(pipeline_folder, template="{}").generate(["one realistic image of tree"], [1])
    by_template = small(pipeline_folder).generate(["tree"], [1])
    other = small(pipeline_folder).generate(["boat"], [1])
    first, second, third = (pixels(images) for images in (direct, by_template, other))
    assert (first == second).all()
    assert (first != third).any()


def test_a_safety_checker_is_not_run_and_the_record_says_so(diffusion: Diffusers) -> None:
    pipeline = image_generators._load(diffusion._folder, diffusion.scheduler, None, "cpu", "float32")
    assert pipeline.safety_checker is None
    assert diffusion.settings["safety_checker"] == "off"
    assert type(pipeline.scheduler).__name__ == "DPMSolverMultistepScheduler"


def test_everything_a_picture_depends_on_is_in_the_fingerprint(
    pipeline_folder: Path, tmp_path: Path
) -> None:
    base = small(pipeline_folder).fingerprint()
    assert small(pipeline_folder, batch_size=7, name="another").fingerprint() == base
    changes: list[dict[str, Any]] = [
        {"steps": 3},
        {"guidance": 1.0},
        {"size": (40, 32)},
        {"scheduler": None},
        {"dtype": "bf16"},
        {"template": "{}"},
        {"options": {"negative_prompt": "text"}},
    ]
    others = [small(pipeline_folder, **change).fingerprint() for change in changes]
    copy = tmp_path / "copy"
    shutil.copytree(pipeline_folder, copy)
    assert small(copy).fingerprint() == base
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert len({base, *others, small(copy).fingerprint()}) == len(changes) + 2


class Crowded:
    """Stands for a pipeline on a GPU that holds so many pictures; notes what it was asked."""

    def __init__(self, holds: int) -> None:
        self.holds, self.asked = holds, []

    def __call__(self, prompt: Sequence[str], generator: Sequence[Any], **_: Any) -> Any:
        self.asked.append(len(prompt))
        if len(prompt) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        images = [Image.new("RGB", (8, 8), (g.initial_seed(), 0, 0)) for g in generator]
        return type("Output", (), {"images": images})()


def test_a_batch_that_does_not_fit_is_halved_for_good_and_it_says_so(
    pipeline_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crowded = Crowded(holds=3)
    monkeypatch.setattr(image_generators, "_load", lambda *_: crowded)
    generator = small(pipeline_folder, batch_size=8)
    with caplog.at_level(logging.WARNING):
        drawn = pixels(generator.generate(["x"] * 10, list(range(10))))
    assert drawn[:, 0, 0, 0].tolist() == list(range(10))
    assert crowded.asked == [8, 4, 2, 2, 2, 2, 2]
    assert [record.getMessage().split(";")[1] for record in caplog.records] == [
        " going on with 4",
        " going on with 2",
    ]
    list(generator.generate(["x"] * 4, [0] * 4))
    assert crowded.asked[7:] == [2, 2]


def test_a_picture_that_does_not_fit_at_all_is_explained(
    pipeline_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_generators, "_load", lambda *_: Crowded(holds=0))
    with pytest.raises(InputError, match="not even one picture"):
        list(small(pipeline_folder, batch_size=4).generate(["x"], [0]))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"steps": 0}, "generator.steps=0"),
        ({"batch_size": 0}, "generator.batch_size=0"),
        ({"size": (512,)}, "generator.size"),
        ({"size": (500, 500)}, "generator.size"),
        ({"dtype": "half"}, "generator.dtype=half"),
        ({"template": "no place"}, "generator.template"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Diffusers(**settings)


def test_an_unknown_scheduler_is_named_with_its_neighbours(pipeline_folder: Path) -> None:
    with pytest.raises(InputError, match="DDIMScheduler"):
        list(small(pipeline_folder, scheduler="DDIMSheduler").generate(["x"], [0]))


def test_a_missing_model_is_named_at_the_first_picture_and_not_before() -> None:
    generator = Diffusers("no/such-generator")
    with pytest.raises(InputError, match="such-generator"):
        list(generator.generate(["x"], [0]))


def test_a_folder_that_is_no_pipeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="model_index"):
        list(small(tmp_path).generate(["x"], [0]))


@pytest.mark.parametrize("generator", [Rendered(), Diffusers("never/read")])
def test_prompts_without_seeds_are_refused(generator: ImageGenerator) -> None:
    with pytest.raises(ValueError, match="2 prompts, but 1 seeds"):
        list(generator.generate(["a", "b"], [0]))
    with pytest.raises(TypeError):
        list(generator.generate("ab", [0, 1]))


def test_the_renderer_shows_what_is_asked_for() -> None:
    drawn = list(Rendered().generate(PROMPTS, SEEDS))
    again = list(Rendered().generate(PROMPTS[::-1], SEEDS[::-1]))
    assert (pixels(drawn) == pixels(again)[::-1]).all()
    assert (pixels(drawn)[0] != pixels(drawn)[4]).any()
    night, day = Rendered().generate(["night", "desert"], [1, 1])
    assert np.asarray(night).mean() < 0.6 * np.asarray(day).mean()


class Counting:
    """Draws plain pictures; notes what it was asked, and may be killed."""

    name = "counting"

    def __init__(self, killed_after: int = 1000) -> None:
        self.asked: list[tuple[str, int]] = []
        self.killed_after = killed_after

    def fingerprint(self) -> str:
        return "counting"

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Image.Image]:
        for prompt, seed in zip(prompts, seeds, strict=True):
            if len(self.asked) == self.killed_after:
                raise RuntimeError("killed")
            self.asked.append((prompt, seed))
            yield Image.new("RGB", (40, 20), (seed % 256, len(prompt), 0))


def test_cached_pictures_are_not_drawn_again(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    drawn = pixels(cached_images(first, PROMPTS, SEEDS, Cache(tmp_path)))
    stored = pixels(cached_images(second, PROMPTS[::-1], SEEDS[::-1], Cache(tmp_path)))
    assert (drawn == pixels(Counting().generate(PROMPTS, SEEDS))).all()
    assert (stored == drawn[::-1]).all()
    assert len(first.asked) == 5
    assert second.asked == []


def test_pictures_are_kept_one_by_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        list(cached_images(Counting(killed_after=3), PROMPTS, SEEDS, Cache(tmp_path)))
    resumed = Counting()
    drawn = pixels(cached_images(resumed, PROMPTS, SEEDS, Cache(tmp_path)))
    assert resumed.asked == list(zip(PROMPTS, SEEDS, strict=True))[3:]
    assert (drawn == pixels(Counting().generate(PROMPTS, SEEDS))).all()


def test_equal_prompts_with_equal_seeds_are_drawn_once(tmp_path: Path) -> None:
    counting = Counting()
    drawn = pixels(cached_images(counting, ["a", "b", "a"], [1, 2, 1], Cache(tmp_path)))
    assert counting.asked == [("a", 1), ("b", 2)]
    assert (drawn[0] == drawn[2]).all()


@pytest.mark.parametrize("format", ["png", "webp"])
@pytest.mark.parametrize("keep", [0, 40])
def test_a_damaged_file_is_drawn_anew(tmp_path: Path, format: Any, keep: int) -> None:
    cache = Cache(tmp_path)
    drawn = pixels(cached_images(Counting(), PROMPTS, SEEDS, cache, format=format))
    path = cache.path("images", image_key("counting", PROMPTS[2], SEEDS[2], format), f".{format}")
    path.write_bytes(path.read_bytes()[:keep])
    again = Counting()
    assert (pixels(cached_images(again, PROMPTS, SEEDS, cache, format=format)) == drawn).all()
    assert again.asked == [(PROMPTS[2], SEEDS[2])]


def test_a_run_and_its_repetition_see_the_same_lossy_pictures(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"format": "webp", "size": (24, 24)}
    first = pixels(cached_images(Rendered(), PROMPTS, SEEDS, Cache(tmp_path), **settings))
    second = pixels(cached_images(Rendered(), PROMPTS, SEEDS, Cache(tmp_path), **settings))
    assert first.shape == (5, 24, 24, 3)
    assert (first == second).all()


def test_size_and_format_are_part_of_the_key(tmp_path: Path) -> None:
    cache, counting = Cache(tmp_path), Counting()
    for settings in ({}, {"size": (8, 8)}, {"format": "webp"}):
        list(cached_images(counting, ["a"], [1], cache, **settings))  # pyright: ignore
    assert len(counting.asked) == 3


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="jpeg"):
        list(cached_images(Counting(), ["a"], [1], Cache(tmp_path), format="jpeg"))  # pyright: ignore
