"""Generates images from prompts: pipelines of diffusers, and the renderer of tinyworld.

Every image has its own seed, so that no image depends on those generated with it or before it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from ..devices import resolve
from ..errors import InputError, at_least, nearest, one_of
from ..files import fingerprint
from ..weights import settings_digest, snapshot, weights_digest, with_commit
from .loading import loading
from .precision import AUTO, AutoPrecision, dtype_name
from .text_models import display_name

if TYPE_CHECKING:
    from PIL.Image import Image

_LOG = logging.getLogger(__name__)
_FORMAT = 1  # version of the code between prompt and image; part of the fingerprints


def seed_for(text: str, index: int, base_seed: int) -> int:
    """Returns the seed, in [0, 2^63), of image `index` of a text.

    Args:
        text: the prompt.
        index: 0-based number of the image among those of the text.
        base_seed: seed of the run.
    """
    # As JSON, so that no two triples are the same text. >> 1: fits a signed 64-bit integer.
    name = json.dumps([base_seed, text, index]).encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class DrawSettings:
    """How a pipeline of diffusers turns a prompt into an image.

    Attributes:
        steps: denoising steps.
        guidance: scale of classifier-free guidance; turbo models need 0.
        size: (width, height) in pixels; None: the pipeline's default.
        scheduler: name of a scheduler class of diffusers, configured like the pipeline's own; None: the
            pipeline's own.
        template: text around a prompt, with "{}" in its place.
        options: further arguments of the pipeline's call, such as `negative_prompt`.

    Raises:
        InputError: if a setting is out of range.
    """

    # The defaults are the settings of Describe-and-Dissect's code for Stable Diffusion 1.4.
    steps: int = 50
    guidance: Annotated[float, Ge(0)] = 7.5
    size: Sequence[int] | None = (512, 512)
    scheduler: str | None = "DPMSolverMultistepScheduler"
    template: str = "One realistic image of {}"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least("generator.drawing.steps", self.steps, 1)
        size = self.size
        # Autoencoders of diffusion models shrink images by 8.
        if size is not None and (len(size) != 2 or any(side < 8 or side % 8 for side in size)):
            raise InputError(
                f"generator.drawing.size={list(size)} must be two multiples of 8: [width,height]"
            )
        if self.template.count("{}") != 1:
            raise InputError(
                f"generator.drawing.template={self.template!r} must contain {{}} once, for the prompt"
            )

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of the pipeline's call that are the same for all prompts."""
        size = {} if self.size is None else {"width": self.size[0], "height": self.size[1]}
        return {
            "num_inference_steps": self.steps,
            "guidance_scale": float(self.guidance),
            **size,
            **self.options,
        }


class Diffusers:
    """Any text-to-image pipeline of diffusers; implements `protocols.ImageGenerator`.

    The safety checker is never run, because it replaces some images by black ones.

    Args:
        model: a folder, `package:<package>/<path>` or a Hub name: Stable Diffusion 1 and 2, SDXL, their
            turbo versions, or another pipeline that generates images from a prompt.
        drawing: how a prompt becomes an image.
        precision: "fp32", "fp16", "bf16", or "auto": fp16 on a GPU, fp32 on a CPU.
        variant: which copy of the weights, such as "fp16" for `model.fp16.safetensors`; None: the one
            without a variant in its name.
        batch_size: images per call on a GPU; halved permanently if they do not fit into its memory.
        device: see `devices.resolve`.
        revision: branch, tag or commit on the Hub; None: main. Only for models on the Hub.
        name: name in records and tables; None: the last part of `model`.

    Raises:
        InputError: if a setting is out of range.
    """

    def __init__(
        self,
        model: str,
        *,
        drawing: DrawSettings | None = None,
        precision: AutoPrecision = "auto",
        variant: str | None = None,
        batch_size: int = 16,
        device: str = "auto",
        revision: str | None = None,
        name: str | None = None,
    ) -> None:
        self.model, self.variant, self.revision, self.device = model, variant, revision, device
        self.drawing = drawing or DrawSettings()
        self.precision = one_of("generator.precision", precision, AUTO)
        self.batch_size = at_least("generator.batch_size", batch_size, 1)
        self.name = name or display_name(model, revision)

    @functools.cached_property
    def _folder(self) -> Path:
        suffix = f".{self.variant}" if self.variant else ""
        names = [f"*/{stem}{suffix}" for stem in ("model", "diffusion_pytorch_model")]
        weights = [f"{name}{part}.safetensors" for name in names for part in ("", "-*-of-*")]
        patterns = ("model_index.json", "*.json", "*.txt", "*.model", *weights)
        return snapshot(self.model, patterns=patterns, revision=self.revision)

    @property
    def _dtype(self) -> str:
        return dtype_name(self.precision, self.device)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that an image depends on, besides weights, prompt and seed."""
        drawing = self.drawing
        return {
            "steps": drawing.steps,
            "guidance": float(drawing.guidance),
            "size": None if drawing.size is None else [int(side) for side in drawing.size],
            "scheduler": drawing.scheduler,
            "dtype": self._dtype,
            "variant": self.variant,
            "template": drawing.template,
            "options": dict(drawing.options),
            "safety_checker": "off",
        }

    def fingerprint(self) -> str:
        """Hash of the weights and configuration of the whole pipeline, and of `settings`."""
        weights, configuration = weights_digest(self._folder), settings_digest(self._folder)
        digest = fingerprint(["diffusers", _FORMAT, weights, configuration, self.settings])
        return with_commit(digest, self._folder)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Image]:
        """Yields one image per (prompt, seed), in order; no image depends on the others.

        On a GPU, rounding in batches of different sizes may change the last bits of an image.

        Raises:
            InputError: if the pipeline cannot be found, downloaded or read, or if a single image does
                not fit into memory.
        """
        _check_lengths(prompts, seeds)
        start = 0
        while start < len(prompts):
            end = min(start + self._images_per_call(), len(prompts))
            images = self._generate_if_it_fits(prompts[start:end], seeds[start:end])
            if images is None:
                self._halve(end - start)
                continue
            yield from images
            start += len(images)

    def _images_per_call(self) -> int:
        """One on the CPU: as fast as a batch, and every image is computed in the same shape."""
        return 1 if resolve(self.device).type == "cpu" else self.batch_size

    def _generate_if_it_fits(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image] | None:
        import torch

        try:
            return self._generate(prompts, seeds)
        except torch.OutOfMemoryError:
            return None

    def _generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image]:
        import torch

        pipeline = _load(
            self._folder, self.drawing.scheduler, self.variant, str(resolve(self.device)), self._dtype
        )
        return pipeline(
            # `replace` and not `format`: a prompt may contain braces.
            prompt=[self.drawing.template.replace("{}", prompt) for prompt in prompts],
            # On the CPU, so that the noise is the same on every device.
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            output_type="pil",
            **self.drawing.arguments(),
        ).images

    def _halve(self, failed: int) -> None:
        """Reduces the batch size after a batch of `failed` images did not fit.

        Not called in the handler of the error: the traceback keeps the batch's memory alive.
        """
        import torch

        torch.cuda.empty_cache()
        if failed == 1:
            raise InputError(
                f"{self.name}: a single image does not fit into the memory of {resolve(self.device)}",
                "use a smaller generator.drawing.size, generator.precision=fp16, or another device",
            )
        self.batch_size = failed // 2
        _LOG.warning(
            "%s: a batch of %d images does not fit into memory; continuing with %d",
            self.name,
            failed,
            self.batch_size,
        )


@functools.cache
def _load(folder: Path, scheduler: str | None, variant: str | None, device: str, dtype: str) -> Any:
    """Returns the pipeline, without its safety checker.

    Raises:
        InputError: if the files are missing or damaged, or the scheduler does not exist.
    """
    import torch

    diffusers: Any = importlib.import_module("diffusers")  # its names are hidden from type checkers
    if scheduler is not None and not hasattr(diffusers, scheduler):
        known = [name for name in dir(diffusers) if name.endswith("Scheduler")]
        raise InputError(f"diffusers has no {scheduler}", nearest(scheduler, known) or None)
    needs = "model_index.json and a folder for each part"
    with loading(folder, "a pipeline of diffusers", needs=needs):
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        unsafe = {"safety_checker": None, "requires_safety_checker": False}
        pipeline: Any = diffusers.DiffusionPipeline.from_pretrained(
            folder,
            variant=variant,
            local_files_only=True,
            # Pipelines without a safety checker refuse these arguments.
            **(unsafe if "safety_checker" in index else {}),
        )
    if scheduler is not None:
        pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device, getattr(torch, dtype))


class Rendered:
    """The renderer of tinyworld; implements `protocols.ImageGenerator` without a model.

    It renders the words of a prompt that tinyworld knows and chooses the rest of the scene at random.
    """

    name = "tinyworld-renderer"

    def fingerprint(self) -> str:
        """Hash of the renderer's version."""
        from ...datasets.tinyworld.rendered_folder import FORMAT

        return fingerprint(["tinyworld renderer", FORMAT, _FORMAT])

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Image]:
        """Yields one image per (prompt, seed), in order; no image depends on the others."""
        from ...datasets.tinyworld import render

        _check_lengths(prompts, seeds)
        for prompt, seed in zip(prompts, seeds, strict=True):
            yield render(prompt, seed)


def _check_lengths(prompts: Sequence[str], seeds: Sequence[int]) -> None:
    if isinstance(prompts, str):
        raise TypeError("prompts must be a list of strings, not a plain string")
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts, but {len(seeds)} seeds")
