"""Generates images from prompts: pipelines of diffusers, and the renderer of tinyworld.

Every picture is drawn from a seed of its own, so that none depends on those drawn with it or before it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..devices import resolve
from ..errors import InputError, nearest
from ..files import fingerprint
from ..weights import settings_digest, snapshot, weights_digest, with_commit, with_revision
from .text_models import display_name

if TYPE_CHECKING:
    from PIL.Image import Image

Precision = Literal["auto", "fp32", "fp16", "bf16"]
_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_LOG = logging.getLogger(__name__)
_FORMAT = 1


def seed_for(text: str, index: int, base_seed: int) -> int:
    """Returns the seed, in [0, 2^63), of picture `index` of a text, whatever was drawn before.

    Args:
        text: what the picture shows.
        index: 0-based number of the picture among those of the text.
        base_seed: of the run.
    """
    name = json.dumps([base_seed, text, index]).encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1


class Diffusers:
    """Any text-to-image pipeline of diffusers; implements `protocols.ImageGenerator`.

    A safety checker is never run: it would put black pictures in the place of some.

    Args:
        model: a folder, `package:<package>/<path>` or a hub name: Stable Diffusion 1 and 2, SDXL, their
            turbo versions, or another pipeline that draws from a prompt.
        steps: of denoising.
        guidance: scale of classifier-free guidance; turbo models want 0.
        size: (width, height) in pixels; None: the pipeline's own.
        scheduler: a class of diffusers, set up from the pipeline's own; None: the pipeline's own.
        dtype: "fp32", "fp16", "bf16", or "auto": fp16 on a GPU, else fp32.
        variant: which copy of the weights, as in `model.fp16.safetensors`; None: the plain one.
        batch_size: pictures at once; halved for good where they do not fit in the GPU's memory.
        template: what a prompt is put into, at its "{}".
        options: further arguments of the pipeline's call, such as `negative_prompt`.
        device: see `devices.resolve`.
        revision: branch, tag or commit on the Hub; None: main. For Hub models only.
        name: what it is called in records and tables; by default the last part of `model`.

    Raises:
        InputError: if a setting is out of range.
    """

    def __init__(
        self,
        model: str = "CompVis/stable-diffusion-v1-4",
        *,
        steps: int = 50,
        guidance: float = 7.5,
        size: Sequence[int] | None = (512, 512),
        scheduler: str | None = "DPMSolverMultistepScheduler",
        dtype: Precision = "auto",
        variant: str | None = None,
        batch_size: int = 16,
        template: str = "One realistic image of {}",
        options: Mapping[str, Any] | None = None,
        device: str = "auto",
        revision: str | None = None,
        name: str | None = None,
    ) -> None:
        for setting, value in (("steps", steps), ("batch_size", batch_size)):
            if value < 1:
                raise InputError(f"generator.{setting}={value} must be at least 1")
        if size is not None and (len(size) != 2 or any(side < 8 or side % 8 for side in size)):
            raise InputError(f"generator.size={list(size)} must be two multiples of 8: [width,height]")
        if dtype != "auto" and dtype not in _DTYPES:
            raise InputError(f"generator.dtype={dtype} is unknown", "use auto, fp32, fp16 or bf16")
        if template.count("{}") != 1:
            raise InputError(f"generator.template={template!r} must hold {{}} once, for the prompt")
        self.model, self.revision, self.device = model, revision, device
        self.name = name or with_revision(display_name(model), model, revision)
        self.steps, self.guidance, self.template = steps, float(guidance), template
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.scheduler, self.dtype, self.variant = scheduler, dtype, variant
        self.batch_size, self.options = batch_size, dict(options or {})

    @functools.cached_property
    def _folder(self) -> Path:
        suffix = f".{self.variant}" if self.variant else ""
        names = [f"*/{stem}{suffix}" for stem in ("model", "diffusion_pytorch_model")]
        weights = [f"{name}{part}.safetensors" for name in names for part in ("", "-*-of-*")]
        patterns = ("model_index.json", "*.json", "*.txt", "*.model", *weights)
        return snapshot(self.model, patterns=patterns, revision=self.revision)

    @property
    def _dtype(self) -> str:
        if self.dtype != "auto":
            return _DTYPES[self.dtype]
        return "float16" if resolve(self.device).type == "cuda" else "float32"

    @property
    def settings(self) -> dict[str, Any]:
        """What a picture depends on beside weights, prompt and seed."""
        return {
            "steps": self.steps,
            "guidance": self.guidance,
            "size": self.size,
            "scheduler": self.scheduler,
            "dtype": self._dtype,
            "variant": self.variant,
            "template": self.template,
            "options": self.options,
            "safety_checker": "off",
        }

    def fingerprint(self) -> str:
        """Hash of the weights and configuration of the whole pipeline, and of `settings`."""
        weights, configuration = weights_digest(self._folder), settings_digest(self._folder)
        digest = fingerprint(["diffusers", _FORMAT, weights, configuration, self.settings])
        return with_commit(digest, self._folder)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Image]:
        """Yields one picture per (prompt, seed), in order; none depends on the others.

        Raises:
            InputError: if the pipeline cannot be had or read, or not even one picture fits in memory.
        """
        _check_lengths(prompts, seeds)
        start = 0
        while start < len(prompts):
            end = start + self.batch_size
            drawn = self._draw_if_it_fits(prompts[start:end], seeds[start:end])
            if drawn is None:
                self._halve(min(self.batch_size, len(prompts) - start))
                continue
            yield from drawn
            start += len(drawn)

    def _draw_if_it_fits(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image] | None:
        import torch

        try:
            return self._draw(prompts, seeds)
        except torch.OutOfMemoryError:
            return None

    def _draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        import torch

        pipeline = _load(
            self._folder, self.scheduler, self.variant, str(resolve(self.device)), self._dtype
        )
        size = {} if self.size is None else {"width": self.size[0], "height": self.size[1]}
        return pipeline(
            prompt=[self.template.replace("{}", prompt) for prompt in prompts],
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            output_type="pil",
            **size,
            **self.options,
        ).images

    def _halve(self, tried: int) -> None:
        """Reduces the batch, out of the handler of the error, which holds on to the memory."""
        import torch

        torch.cuda.empty_cache()
        if tried == 1:
            raise InputError(
                f"{self.name}: not even one picture fits in the memory of {resolve(self.device)}",
                "use a smaller generator.size, generator.dtype=fp16, or another device",
            )
        self.batch_size = tried // 2
        _LOG.warning(
            "%s: %d pictures at once do not fit in memory; going on with %d",
            self.name,
            tried,
            self.batch_size,
        )


@functools.cache
def _load(folder: Path, scheduler: str | None, variant: str | None, device: str, dtype: str) -> Any:
    """Returns the pipeline, without its safety checker.

    Raises:
        InputError: if the files are missing or damaged, or there is no such scheduler.
    """
    import torch
    from safetensors import SafetensorError

    diffusers: Any = importlib.import_module("diffusers")  # it hides its names from type checkers
    if scheduler is not None and not hasattr(diffusers, scheduler):
        known = [name for name in dir(diffusers) if name.endswith("Scheduler")]
        raise InputError(f"diffusers has no {scheduler}", nearest(scheduler, known) or None)
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        unsafe = {"safety_checker": None, "requires_safety_checker": False}
        pipeline: Any = diffusers.DiffusionPipeline.from_pretrained(
            folder,
            variant=variant,
            local_files_only=True,
            **(unsafe if "safety_checker" in index else {}),
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"cannot load a pipeline of diffusers from {folder}: {reason[0]}",
            "it must hold model_index.json and a folder for each part; download it again",
        ) from error
    if scheduler is not None:
        pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device, getattr(torch, dtype))


class Rendered:
    """The embedded world's renderer; implements `protocols.ImageGenerator` without any model.

    It shows of a text what the world has words for, and leaves the rest to chance.
    """

    name = "tinyworld-renderer"

    def fingerprint(self) -> str:
        """Hash of the renderer's version."""
        from ...datasets.tinyworld.rendered_folder import FORMAT

        return fingerprint(["tinyworld renderer", FORMAT, _FORMAT])

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Image]:
        """Yields one picture per (prompt, seed), in order; none depends on the others."""
        from ...datasets.tinyworld import render

        _check_lengths(prompts, seeds)
        for prompt, seed in zip(prompts, seeds, strict=True):
            yield render(prompt, seed)


def _check_lengths(prompts: Sequence[str], seeds: Sequence[int]) -> None:
    if isinstance(prompts, str):
        raise TypeError("prompts must be a list of strings, not a plain string")
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts, but {len(seeds)} seeds")
