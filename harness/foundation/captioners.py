"""Captioners of transformers: BLIP and BLIP-2.

Nothing is loaded before the first caption is asked for, and no model is loaded twice in a process.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ..devices import resolve
from ..errors import InputError
from ..files import fingerprint
from ..weights import settings_digest, snapshot, weights_digest, with_commit, with_revision
from .text_models import display_name

if TYPE_CHECKING:
    from PIL.Image import Image

Precision = Literal["auto", "fp32", "fp16", "bf16"]
_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_FILES = ("config.json", "*.json", "*.txt", "*.model", "*.safetensors")
_FORMAT = 1  # of what is done to a caption once the model has said it
_SPACE_BEFORE_MARK = re.compile(r"\s+([,.;:!?])")


class _TransformersCaptioner:
    """What BLIP and BLIP-2 have in common; implements `protocols.Captioner`."""

    _MODEL: ClassVar[str]

    def __init__(
        self,
        model: str,
        *,
        device: str,
        precision: Precision,
        batch_size: int,
        max_new_tokens: int,
        min_length: int,
        num_beams: int,
        no_repeat_ngram_size: int,
        revision: str | None,
        name: str | None,
    ) -> None:
        if precision != "auto" and precision not in _DTYPES:
            raise InputError(f"captioner.precision={precision} is unknown", "use auto, fp32, fp16, bf16")
        self._settings = {
            "max_new_tokens": max_new_tokens,
            "min_length": min_length,
            "num_beams": num_beams,
            "no_repeat_ngram_size": no_repeat_ngram_size,
        }
        least = {"batch_size": 1, "max_new_tokens": 1, "num_beams": 1}
        for setting, value in {"batch_size": batch_size, **self._settings}.items():
            if value < least.get(setting, 0):
                raise InputError(f"captioner.{setting}={value} must be at least {least.get(setting, 0)}")
        self.model, self.device, self.batch_size = model, device, batch_size
        self.precision, self.revision = precision, revision
        self.name = name or with_revision(display_name(model), model, revision)

    @functools.cached_property
    def _folder(self) -> Path:
        return snapshot(self.model, patterns=_FILES, revision=self.revision)

    @property
    def _dtype(self) -> str:
        if self.precision != "auto":
            return _DTYPES[self.precision]
        return "float16" if resolve(self.device).type == "cuda" else "float32"

    def fingerprint(self) -> str:
        """Hash of weights, preprocessing, tokenizer, precision and the settings of generation."""
        weights, settings = weights_digest(self._folder), settings_digest(self._folder)
        parts = [self._MODEL, _FORMAT, weights, settings, self._dtype, dict(self._settings)]
        return with_commit(fingerprint(parts), self._folder)

    def caption(self, images: Sequence[Image]) -> list[str]:
        """Returns one caption per picture; a caption does not depend on the other pictures.

        Raises:
            InputError: if the model cannot be had or read.
        """
        captions = []
        for start in range(0, len(images), self.batch_size):
            captions += self._caption(images[start : start + self.batch_size])
        return captions

    def _caption(self, images: Sequence[Image]) -> list[str]:
        import torch

        processor, model = _load(self._MODEL, self._folder, str(resolve(self.device)), self._dtype)
        pictures = [image.convert("RGB") for image in images]
        pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            tokens = model.generate(
                pixel_values=pixels.to(model.device, model.dtype), do_sample=False, **self._settings
            )
        return [
            cleaned(text) for text in processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        ]


class Blip(_TransformersCaptioner):
    """BLIP, as `BlipForConditionalGeneration` of transformers.

    Args:
        model: a folder, `package:<package>/<path>` or a hub name.
        device: see `devices.resolve`.
        precision: "fp32", "fp16", "bf16", or "auto": fp16 on a GPU, else fp32.
        batch_size: pictures at once.
        max_new_tokens: of a caption.
        min_length: tokens that a caption has at least, counted as transformers does.
        num_beams: of beam search; 1: always the likeliest token.
        no_repeat_ngram_size: no run of so many tokens comes twice in a caption; 0: it may.
        revision: branch, tag or commit on the Hub; None: main. For Hub models only.
        name: what it is called in records and tables; by default the last part of `model`.

    Raises:
        InputError: if a setting is out of range.
    """

    _MODEL = "BlipForConditionalGeneration"

    def __init__(
        self,
        model: str = "Salesforce/blip-image-captioning-base",
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        batch_size: int = 16,
        max_new_tokens: int = 32,
        min_length: int = 5,
        num_beams: int = 1,
        no_repeat_ngram_size: int = 0,
        revision: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            model,
            device=device,
            precision=precision,
            batch_size=batch_size,
            max_new_tokens=max_new_tokens,
            min_length=min_length,
            num_beams=num_beams,
            no_repeat_ngram_size=no_repeat_ngram_size,
            revision=revision,
            name=name,
        )


class Blip2(_TransformersCaptioner):
    """BLIP-2, as `Blip2ForConditionalGeneration` of transformers; arguments as those of `Blip`."""

    _MODEL = "Blip2ForConditionalGeneration"

    def __init__(
        self,
        model: str = "Salesforce/blip2-opt-2.7b",
        *,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int = 8,
        max_new_tokens: int = 32,
        min_length: int = 5,
        num_beams: int = 1,
        no_repeat_ngram_size: int = 0,
        revision: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            model,
            device=device,
            precision=precision,
            batch_size=batch_size,
            max_new_tokens=max_new_tokens,
            min_length=min_length,
            num_beams=num_beams,
            no_repeat_ngram_size=no_repeat_ngram_size,
            revision=revision,
            name=name,
        )


@functools.cache
def _load(kind: str, folder: Path, device: str, dtype: str) -> tuple[Any, Any]:
    """Returns processor and model.

    Raises:
        InputError: if the files are missing, damaged, or of another kind of model.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    try:
        with _quietly():
            processor: Any = transformers.AutoProcessor.from_pretrained(folder)
            model, report = getattr(transformers, kind).from_pretrained(
                folder, dtype=getattr(torch, dtype), output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"cannot load a captioner from {folder}: {reason[0]}",
            "it must hold config.json, the weights, preprocessor_config.json and the tokenizer's files",
        ) from error
    if report["missing_keys"]:
        raise InputError(
            f"{folder} lacks weights of {kind}, such as {min(report['missing_keys'])}",
            "it is another kind of model, or damaged; download it again",
        )
    return processor, model.to(device).eval().requires_grad_(False)


@contextmanager
def _quietly() -> Iterator[None]:
    """Loads without a progress bar, and without a report on tensors: the caller looks at them."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def cleaned(text: str) -> str:
    """Returns a caption with single spaces, and none before a punctuation mark."""
    return _SPACE_BEFORE_MARK.sub(r"\1", " ".join(text.split()))
