"""Image-text models of open_clip: CLIP, SigLIP and similar models."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import fingerprint
from ..weights import weights_digest, with_commit
from .image_text_encoder import Encoder, Tokens, Towers
from .open_clip_files import HUB_PREFIX, OpenClipFiles
from .precision import Precision

if TYPE_CHECKING:
    import torch

# Texts are cut at multiples of this, so that few different lengths remain and batches are full.
_TEXT_LENGTH_STEP = 8


class OpenClipEncoder(Encoder):
    """An image-text model of open_clip.

    OpenAI's weights need an architecture with QuickGELU (`ViT-B-16-quickgelu`); others are refused.

    Args:
        model: an architecture of open_clip; or a folder in open_clip's own layout
            (`open_clip_config.json`, weights, tokenizer) as `local-dir:<folder>`,
            `package:<package>/<path>` or `hf-hub:<org>/<model>`, which contains its own weights.
        pretrained: open_clip's name of the weights, which determines the preprocessing. None: your own
            weights, with open_clip's default preprocessing.
        checkpoint: a local file with these weights (.safetensors, .bin, .pt; also OpenAI's own
            TorchScript files); None: the Hugging Face cache, then the Hub.
        revision: branch, tag or commit on the Hub; None: main. Only for weights from the Hub.
        name: name in records and tables; None: made of `model` and `pretrained`.
        device: see `devices.resolve`.
        batch_size: images, or texts, per forward pass on a GPU; see `fixed_batches.batch_rows`.
        precision: "fp32", "fp16" or "bf16".
    """

    def __init__(
        self,
        model: str = "ViT-B-16-quickgelu",
        pretrained: str | None = "openai",
        *,
        checkpoint: str | None = None,
        revision: str | None = None,
        name: str | None = None,
        device: str = "auto",
        batch_size: int = 64,
        precision: Precision = "fp32",
    ) -> None:
        has_weights = pretrained is None or ":" in model  # a prefix such as "local-dir:"
        label = model if has_weights else f"{model}/{pretrained}"
        from_hub = model.startswith(HUB_PREFIX) or (not has_weights and checkpoint is None)
        label = f"{label}@{revision}" if revision and from_hub else label
        super().__init__(name or label, device, batch_size, precision)
        self.model, self.pretrained, self.checkpoint = model, pretrained, checkpoint
        self.revision = revision

    @functools.cached_property
    def _files(self) -> OpenClipFiles:
        return OpenClipFiles.find(self.model, self.pretrained, self.checkpoint, self.revision)

    @functools.cached_property
    def _fingerprint(self) -> str:
        weights = weights_digest(self._files.weights)
        digest = fingerprint(["open_clip", weights, dict(self._files.settings), self.precision])
        return with_commit(digest, self._files.folder)

    def fingerprint(self) -> str:
        """Hash of weights, architecture, preprocessing, tokenizer and precision."""
        return self._fingerprint

    def _load(self, device: torch.device) -> Towers:
        import open_clip
        from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

        model: Any = self._files.build(self.precision, device)
        settings: Any = {**self._files.preprocess, "size": model.visual.image_size}
        settings = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), settings))
        preprocess: Any = image_transform_v2(settings, is_train=False)
        dtype = open_clip.get_input_dtype(self.precision)
        return Towers(
            device=device,
            preprocess=preprocess,
            tokenize=functools.partial(
                _open_clip_tokens, open_clip.get_tokenizer(self._files.spec), model
            ),
            embed_images=lambda pixels: model.encode_image(pixels.to(dtype)),
            embed_texts=lambda inputs: _open_clip_texts(model, inputs["text"]),
        )


def _open_clip_tokens(tokenizer: Any, model: Any, texts: list[str]) -> Tokens:
    import torch

    ids = tokenizer(texts)
    n, context = ids.shape
    if getattr(tokenizer, "tokenizer", None) is None:
        full = [len(tokenizer.encode(text)) + 2 for text in texts]  # 2: start and end token
    else:
        cleaned = [tokenizer.clean_fn(text) for text in texts]
        full = [len(row) for row in tokenizer.tokenizer(cleaned, verbose=False)["input_ids"]]
    lengths = np.full(n, context)
    if _reads_only_up_to_the_end_token(model):
        pool, end = model.text_pool_type, model.text_eos_id
        # In CLIP the end token has the largest id; of several equal values, argmax returns the first.
        last = ids.argmax(dim=-1) if pool == "argmax" else (ids == end).to(torch.int32).argmax(dim=-1)
        lengths = np.minimum((last.numpy() // _TEXT_LENGTH_STEP + 1) * _TEXT_LENGTH_STEP, context)
    return Tokens({"text": ids}, lengths.astype(np.int64), full)


def _reads_only_up_to_the_end_token(model: Any) -> bool:
    """Whether the positions after the end of a text have no influence, so that they can be left out.

    True for causal attention with the embedding taken at the end token. Most labels have a few tokens of
    77, so that this saves most of the work.
    """
    import open_clip

    causal = isinstance(model, open_clip.CLIP) and model.attn_mask is not None
    return causal and model.text_pool_type in ("argmax", "eos")


def _open_clip_texts(model: Any, ids: torch.Tensor) -> torch.Tensor:
    import torch

    length = ids.shape[1]
    # open_clip's models accept texts of full length only: shorter ones need shorter position tables.
    if length == getattr(model, "context_length", length):
        return model.encode_text(ids)
    shorter = {
        "positional_embedding": model.positional_embedding[:length],
        "attn_mask": model.attn_mask[:length, :length],
    }
    # functional_call runs `forward`, which returns (image, text, ...) with the text at unit norm already.
    return torch.func.functional_call(model, shorter, (), {"text": ids})[1]
