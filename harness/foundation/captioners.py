"""Captioners of transformers: BLIP and BLIP-2.

A model is loaded when the first caption is requested, and once per process.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..devices import resolve
from ..errors import InputError, at_least, one_of
from ..files import fingerprint
from ..fixed_batches import batch_rows, fixed_batches
from ..weights import settings_digest, snapshot, weights_digest, with_commit
from .loading import loading
from .precision import AUTO, AutoPrecision, dtype_name
from .text_models import display_name

if TYPE_CHECKING:
    from PIL.Image import Image

# config.json is named in full, so that a cached model without it counts as incomplete.
_FILES = ("config.json", "*.json", "*.txt", "*.model", "*.safetensors")
_FORMAT = 1  # version of `cleaned`; part of the fingerprint, so that a change recomputes the captions
# Tokenizers of word pieces decode a mark as a word: "a boat , red".
_SPACE_BEFORE_MARK = re.compile(r"\s+([,.;:!?])")


@dataclass(frozen=True)
class CaptionDecoding:
    """How a captioner chooses words; decoding is deterministic.

    Attributes:
        max_new_tokens: maximum length of a caption.
        min_length: minimum length in tokens, counted as transformers does.
        num_beams: width of the beam search; 1: greedy.
        no_repeat_ngram_size: n-grams of this length occur at most once in a caption; 0: no limit.

    Raises:
        InputError: if a setting is out of range.
    """

    # The defaults are the settings of Describe-and-Dissect's code: greedy, 5 to 32 tokens.
    max_new_tokens: int = 32
    min_length: int = 5
    num_beams: int = 1
    no_repeat_ngram_size: int = 0

    def __post_init__(self) -> None:
        at_least("captioner.decoding.max_new_tokens", self.max_new_tokens, 1)
        at_least("captioner.decoding.min_length", self.min_length, 0)
        at_least("captioner.decoding.num_beams", self.num_beams, 1)
        at_least("captioner.decoding.no_repeat_ngram_size", self.no_repeat_ngram_size, 0)


class TransformersCaptioner:
    """Common part of the captioners of transformers; implements `protocols.Captioner`.

    Args:
        model: a folder, `package:<package>/<path>` or a Hub name.
        decoding: how words are chosen.
        device: see `devices.resolve`.
        precision: "fp32", "fp16", "bf16", or "auto": fp16 on a GPU, fp32 on a CPU.
        batch_size: images per forward pass on a GPU; see `fixed_batches.batch_rows`.
        revision: branch, tag or commit on the Hub; None: main. Only for models on the Hub.
        name: name in records and tables; None: the last part of `model`.

    Raises:
        InputError: if a setting is out of range.
    """

    _MODEL: ClassVar[str]

    def __init__(
        self,
        model: str,
        *,
        decoding: CaptionDecoding | None = None,
        device: str = "auto",
        precision: AutoPrecision = "fp32",
        batch_size: int = 16,
        revision: str | None = None,
        name: str | None = None,
    ) -> None:
        self.model, self.device, self.revision = model, device, revision
        self.decoding = decoding or CaptionDecoding()
        self.precision = one_of("captioner.precision", precision, AUTO)
        self.batch_size = at_least("captioner.batch_size", batch_size, 1)
        self.name = name or display_name(model, revision)

    @functools.cached_property
    def _folder(self) -> Path:
        return snapshot(self.model, patterns=_FILES, revision=self.revision)

    @property
    def _dtype(self) -> str:
        return dtype_name(self.precision, self.device)

    def fingerprint(self) -> str:
        """Hash of weights, preprocessing, tokenizer, precision and decoding."""
        weights, settings = weights_digest(self._folder), settings_digest(self._folder)
        parts = [self._MODEL, _FORMAT, weights, settings, self._dtype, asdict(self.decoding)]
        return with_commit(fingerprint(parts), self._folder)

    def caption(self, images: Sequence[Image]) -> list[str]:
        """Returns one caption per image; a caption does not depend on the other images.

        Raises:
            InputError: if the model cannot be found, downloaded or read.
        """
        captions = []
        for batch, count in fixed_batches(images, batch_rows(resolve(self.device), self.batch_size)):
            captions += self._caption(batch)[:count]
        return captions

    def _caption(self, images: Sequence[Image]) -> list[str]:
        import torch

        processor, model = _load(self._MODEL, self._folder, str(resolve(self.device)), self._dtype)
        # The processors expect three channels; images may be grey, have a palette or be transparent.
        inputs = [image.convert("RGB") for image in images]
        pixels = processor.image_processor(inputs, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            tokens = model.generate(
                pixel_values=pixels.to(model.device, model.dtype),
                do_sample=False,
                **asdict(self.decoding),
            )
        texts = processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [cleaned(text) for text in texts]


class Blip(TransformersCaptioner):
    """BLIP (Li et al., ICML 2022); see `TransformersCaptioner`."""

    _MODEL = "BlipForConditionalGeneration"


class Blip2(TransformersCaptioner):
    """BLIP-2 (Li et al., ICML 2023); see `TransformersCaptioner`."""

    _MODEL = "Blip2ForConditionalGeneration"


@functools.cache
def _load(kind: str, folder: Path, device: str, dtype: str) -> tuple[Any, Any]:
    """Returns processor and model.

    Raises:
        InputError: if the files are missing, damaged, or of another kind of model.
    """
    import torch
    import transformers

    needs = "config.json, the weights, preprocessor_config.json and the tokenizer's files"
    with loading(folder, "a captioner", needs=needs, report=False):
        processor: Any = transformers.AutoProcessor.from_pretrained(folder)
        model, report = getattr(transformers, kind).from_pretrained(
            folder, dtype=getattr(torch, dtype), output_loading_info=True
        )
    # transformers fills missing tensors with random values and continues.
    if report["missing_keys"]:
        raise InputError(
            f"{folder} lacks weights of {kind}, such as {min(report['missing_keys'])}",
            "it is another kind of model, or damaged; download it again",
        )
    return processor, model.to(device).eval().requires_grad_(False)


def cleaned(text: str) -> str:
    """Returns a caption with single spaces, and none before a punctuation mark."""
    return _SPACE_BEFORE_MARK.sub(r"\1", " ".join(text.split()))
