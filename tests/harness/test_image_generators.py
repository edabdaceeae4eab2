"""Image generators: a real pipeline of diffusers, small and with random weights, and the renderer."""

import importlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dissectbench.harness.errors import InputError
from dissectbench.harness.foundation import image_generators
from dissectbench.harness.foundation.image_generators import (
    Diffusers,
    DrawSettings,
    Rendered,
    seed_for,
)
from dissectbench.harness.foundation.protocols import ImageGenerator

PROMPTS = ["red boat", "tree", "a clock", "night", "red boat"]
SEEDS = [seed_for(prompt, index, 0) for index, prompt in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Stable Diffusion with random weights and a safety checker."""
    # Both libraries hide the arguments of their classes from type checkers.
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
    return Diffusers(str(folder), **{"drawing": drawing(), "device": "cpu", "batch_size": 2, **settings})


def drawing(**settings: Any) -> DrawSettings:
    return DrawSettings(**{"steps": 2, "size": (32, 32), **settings})


def pixels(images: Any) -> np.ndarray:
    return np.stack([np.asarray(image) for image in images]).astype(int)


def test_a_seed_depends_on_text_index_and_base_seed_alone() -> None:
    assert seed_for("red boat", 3, 7) == seed_for("red boat", 3, 7) == 1101021379594545656
    triples = [(t, i, s) for t in ("a", "b", "a 1", "") for i in range(3) for s in range(3)]
    seeds = {seed_for(*triple) for triple in triples}
    assert len(seeds) == len(triples)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_implement_the_protocol(diffusion: Diffusers) -> None:
    assert isinstance(diffusion, ImageGenerator)
    assert isinstance(Rendered(), ImageGenerator)


@pytest.mark.numerics
def test_an_image_does_not_depend_on_the_other_images(pipeline_folder: Path) -> None:
    together = pixels(small(pipeline_folder, batch_size=5).generate(PROMPTS, SEEDS))
    reversed_order = pixels(small(pipeline_folder, batch_size=2).generate(PROMPTS[::-1], SEEDS[::-1]))
    single = small(pipeline_folder, batch_size=1)
    requests = zip(PROMPTS, SEEDS, strict=True)
    alone = np.concatenate([pixels(single.generate([prompt], [seed])) for prompt, seed in requests])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, reversed_order[::-1])
    assert np.abs(together[0] - together[4]).mean() > 1  # the same prompt with two seeds
    assert together.shape == (5, 32, 32, 3)


def test_the_pipeline_receives_the_prompt_in_its_template(pipeline_folder: Path) -> None:
    direct = small(pipeline_folder, drawing=drawing(template="{}")).generate(
        ["one realistic image of tree"], [1]
    )
    by_template = small(pipeline_folder).generate(["tree"], [1])
    other = small(pipeline_folder).generate(["boat"], [1])
    first, second, third = (pixels(images) for images in (direct, by_template, other))
    assert (first == second).all()
    assert (first != third).any()


def test_the_safety_checker_is_off_and_the_settings_record_it(diffusion: Diffusers) -> None:
    pipeline = image_generators._load(
        diffusion._folder, diffusion.drawing.scheduler, None, "cpu", "float32"
    )
    assert pipeline.safety_checker is None
    assert diffusion.settings["safety_checker"] == "off"
    assert type(pipeline.scheduler).__name__ == "DPMSolverMultistepScheduler"


def test_the_fingerprint_covers_everything_that_an_image_depends_on(
    pipeline_folder: Path, tmp_path: Path
) -> None:
    base = small(pipeline_folder).fingerprint()
    assert small(pipeline_folder, batch_size=7, name="another").fingerprint() == base
    changes: list[dict[str, Any]] = [
        {"drawing": drawing(steps=3)},
        {"drawing": drawing(guidance=1.0)},
        {"drawing": drawing(size=(40, 32))},
        {"drawing": drawing(scheduler=None)},
        {"drawing": drawing(template="{}")},
        {"drawing": drawing(options={"negative_prompt": "text"})},
        {"precision": "bf16"},
    ]
    others = [small(pipeline_folder, **change).fingerprint() for change in changes]
    copy = tmp_path / "copy"
    shutil.copytree(pipeline_folder, copy)
    assert small(copy).fingerprint() == base
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert len({base, *others, small(copy).fingerprint()}) == len(changes) + 2


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are generated in batches, as on a GPU."""
    monkeypatch.setattr(Diffusers, "_images_per_call", lambda self: self.batch_size)


class Crowded:
    """Replaces a pipeline on a GPU with memory for `holds` images; records the batch sizes."""

    def __init__(self, holds: int) -> None:
        self.holds, self.batches = holds, []

    def __call__(self, prompt: Sequence[str], generator: Sequence[Any], **_: Any) -> Any:
        self.batches.append(len(prompt))
        if len(prompt) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        images = [Image.new("RGB", (8, 8), (g.initial_seed(), 0, 0)) for g in generator]
        return type("Output", (), {"images": images})()


@pytest.mark.usefixtures("gpu")
def test_a_batch_that_does_not_fit_is_halved_permanently_with_a_warning(
    pipeline_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crowded = Crowded(holds=3)
    monkeypatch.setattr(image_generators, "_load", lambda *_: crowded)
    generator = small(pipeline_folder, batch_size=8)
    with caplog.at_level(logging.WARNING):
        images = pixels(generator.generate(["x"] * 10, list(range(10))))
    assert images[:, 0, 0, 0].tolist() == list(range(10))
    assert crowded.batches == [8, 4, 2, 2, 2, 2, 2]
    assert [record.getMessage().split(";")[1] for record in caplog.records] == [
        " continuing with 4",
        " continuing with 2",
    ]
    list(generator.generate(["x"] * 4, [0] * 4))
    assert crowded.batches[7:] == [2, 2]


def test_the_error_says_that_a_single_image_does_not_fit(
    pipeline_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_generators, "_load", lambda *_: Crowded(holds=0))
    with pytest.raises(InputError, match="a single image does not fit"):
        list(small(pipeline_folder, batch_size=4).generate(["x"], [0]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "generator.drawing.steps=0"),
        ({"size": (512,)}, "generator.drawing.size"),
        ({"size": (500, 500)}, "generator.drawing.size"),
        ({"template": "no place"}, "generator.drawing.template"),
    ],
)
def test_the_error_names_a_drawing_setting_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DrawSettings(**settings)


def test_the_error_names_a_setting_out_of_range() -> None:
    with pytest.raises(InputError, match=r"generator\.batch_size=0"):
        Diffusers("model", batch_size=0)
    with pytest.raises(InputError, match=r"generator\.precision is 'half'"):
        Diffusers("model", precision="half")  # pyright: ignore


def test_the_error_suggests_names_for_an_unknown_scheduler(pipeline_folder: Path) -> None:
    unknown = drawing(scheduler="DDIMSheduler")
    with pytest.raises(InputError, match="DDIMScheduler"):
        list(small(pipeline_folder, drawing=unknown).generate(["x"], [0]))


def test_a_missing_model_is_reported_at_the_first_image() -> None:
    generator = Diffusers("no/such-generator")
    with pytest.raises(InputError, match="such-generator"):
        list(generator.generate(["x"], [0]))


def test_the_error_names_a_folder_without_a_pipeline(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="model_index"):
        list(small(tmp_path).generate(["x"], [0]))


@pytest.mark.parametrize("generator", [Rendered(), Diffusers("never/read")])
def test_prompts_and_seeds_must_have_equal_lengths(generator: ImageGenerator) -> None:
    with pytest.raises(ValueError, match="2 prompts, but 1 seeds"):
        list(generator.generate(["a", "b"], [0]))
    with pytest.raises(TypeError):
        list(generator.generate("ab", [0, 1]))


def test_the_renderer_renders_the_prompt() -> None:
    images = pixels(Rendered().generate(PROMPTS, SEEDS))
    reversed_order = pixels(Rendered().generate(PROMPTS[::-1], SEEDS[::-1]))
    assert (images == reversed_order[::-1]).all()
    assert (images[0] != images[4]).any()
    night, day = Rendered().generate(["night", "desert"], [1, 1])
    assert np.asarray(night).mean() < 0.6 * np.asarray(day).mean()
