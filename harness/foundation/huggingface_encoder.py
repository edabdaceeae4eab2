"""Image-text models of transformers: CLIP, SigLIP and similar models."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..files import fingerprint
from ..weights import settings_digest, snapshot, weights_digest, with_commit, with_revision
from .image_text_encoder import Encoder, Tokens, Towers
from .loading import loading
from .precision import DTYPES, Precision

if TYPE_CHECKING:
    import torch


class HuggingFaceEncoder(Encoder):
    """An image-text model of transformers with `get_image_features` and `get_text_features`.

    Args:
        model: a folder, `package:<package>/<path>` or a hub name (`openai/clip-vit-base-patch16`,
            `google/siglip-base-patch16-224`).
        revision: branch, tag or commit on the Hub; None: main. Only for models on the Hub.
        name: name in records and tables; None: `model`.
        device: see `devices.resolve`.
        batch_size: images, or texts, per forward pass on a GPU; see `fixed_batches.batch_rows`.
        precision: "fp32", "fp16" or "bf16".
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        name: str | None = None,
        device: str = "auto",
        batch_size: int = 64,
        precision: Precision = "fp32",
    ) -> None:
        super().__init__(name or with_revision(model, model, revision), device, batch_size, precision)
        self.model, self.revision = model, revision

    @functools.cached_property
    def _folder(self) -> Path:
        return snapshot(self.model, revision=self.revision)

    @functools.cached_property
    def _fingerprint(self) -> str:
        weights, settings = weights_digest(self._folder), settings_digest(self._folder)
        digest = fingerprint(["transformers", weights, settings, self.precision])
        return with_commit(digest, self._folder)

    def fingerprint(self) -> str:
        """Hash of weights, configuration, preprocessing, tokenizer and precision."""
        return self._fingerprint

    def _load(self, device: torch.device) -> Towers:
        import torch
        from transformers import AutoModel, AutoProcessor

        folder, dtype = self._folder, getattr(torch, DTYPES[self.precision])
        needs = "config.json, the weights, preprocessor_config.json and the tokenizer's files"
        with loading(folder, "an image-text model of transformers", needs=needs):
            model: Any = AutoModel.from_pretrained(folder).eval().requires_grad_(False)
            processor: Any = AutoProcessor.from_pretrained(folder)
        if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
            raise InputError(f"{self.model} ({type(model).__name__}) does not embed images and texts")
        model.to(device=device, dtype=dtype)
        # Some tokenizers name no limit, others one that the text tower does not have.
        context = min(
            processor.tokenizer.model_max_length, model.config.text_config.max_position_embeddings
        )
        return Towers(
            device=device,
            preprocess=lambda image: processor.image_processor(image, return_tensors="pt")[
                "pixel_values"
            ][0],
            tokenize=functools.partial(_transformers_tokens, processor.tokenizer, context),
            embed_images=lambda pixels: _features(
                model.get_image_features(pixel_values=pixels.to(dtype))
            ),
            embed_texts=lambda inputs: _features(model.get_text_features(**inputs)),
        )


def _transformers_tokens(tokenizer: Any, context: int, texts: list[str]) -> Tokens:
    # Tokenised twice: only without truncation does the number of tokens show which texts are cut.
    full = [len(row) for row in tokenizer(texts, verbose=False)["input_ids"]]
    inputs = tokenizer(
        texts, padding="max_length", truncation=True, max_length=context, return_tensors="pt"
    )
    # All positions: SigLIP attends to its padding.
    lengths = np.full(len(texts), context, np.int64)
    return Tokens(dict(inputs), lengths, full)


def _features(output: Any) -> torch.Tensor:
    """Returns the embedding, which newer versions of transformers wrap in an output object."""
    return getattr(output, "pooler_output", output)
