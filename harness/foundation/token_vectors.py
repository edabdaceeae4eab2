"""Contextual token vectors of texts, from a hidden layer of a language model."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..devices import resolve
from ..errors import InputError
from ..fixed_batches import batch_rows, batches_by_shape
from .text_models import display_name, loading, model_fingerprint, model_folder, refuse_string

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)
DEFAULT_LIMIT = 512
BYTE_LEVEL = {"GPT2Tokenizer", "RobertaTokenizer"}


@dataclass(frozen=True)
class TokenMatrix:
    """The tokens of one text, the special ones included.

    Attributes:
        vectors: float32 [tokens, d], as the layer gives them.
        counts: bool [tokens], False at the tokens that open and close every text.
    """

    vectors: NDArray[np.float32]
    counts: NDArray[np.bool_]


@dataclass(frozen=True)
class _Backbone:
    model: Any
    tokenizer: Any
    limit: int


class TokenVectors:
    """Token vectors from hidden layer `layer` (1 is the first block's output) of a text encoder.

    Nothing is read before the first use. Only the blocks up to `layer` are loaded, once per process
    and device.

    Args:
        model: a local folder, a name on the Hugging Face hub, or `minilm` for the packaged
            all-MiniLM-L6-v2.
        layer: which hidden layer, from 1.
        device: "auto", "cpu", "cuda" or "cuda:N".
        batch_size: texts per forward pass on a GPU; see `fixed_batches.batch_rows`.

    Attributes:
        name: what the model is called in tables.
        cut: the texts that were longer than the model reads, and were cut.
    """

    def __init__(self, model: str, layer: int, device: str = "auto", batch_size: int = 64) -> None:
        self.model, self.layer, self.device, self.batch_size = model, layer, device, batch_size
        self.name = display_name(model)
        self.cut: set[str] = set()

    def fingerprint(self) -> str:
        """Hash of the weights, the configuration and the tokenizer."""
        return model_fingerprint(self.model)

    def encode(self, texts: Sequence[str]) -> dict[str, TokenMatrix]:
        """Returns the token vectors of each distinct text.

        White space around a text does not count, as in the library bert_score.

        Raises:
            TypeError: if `texts` is a plain string.
            InputError: if the model cannot be had or read, or has no such layer.
        """
        import torch

        refuse_string(texts)
        where = resolve(self.device)
        device = str(where)
        backbone = _load(model_folder(self.model), self.layer, device)
        tokens = self._tokenize(backbone, list(dict.fromkeys(texts)))
        matrices: dict[str, TokenMatrix] = {}
        # Texts of the same number of tokens go together. No text is padded, so that each is computed
        # in a shape that is its own, without a mask.
        rows = batch_rows(where, self.batch_size)
        for batch, count in batches_by_shape(tokens, lambda text: len(tokens[text]), rows):
            ids = torch.tensor([tokens[text] for text in batch])
            vectors, counts = _hidden(backbone, ids.to(device)), _counted(ids, backbone.tokenizer)
            for row, text in enumerate(batch[:count]):
                # A copy: a view would keep its whole batch in memory.
                matrices[text] = TokenMatrix(vectors[row].copy(), counts[row])
        return matrices

    def _tokenize(self, backbone: _Backbone, texts: list[str]) -> dict[str, list[int]]:
        """Returns the token numbers of each text, cut at the limit."""
        if not texts:
            return {}
        stripped = [text.strip() for text in texts]
        ids = backbone.tokenizer(stripped, truncation=False, verbose=False)["input_ids"]
        long = {text for text, row in zip(texts, ids, strict=True) if len(row) > backbone.limit}
        if long:
            limit = backbone.limit
            ids = backbone.tokenizer(stripped, truncation=True, max_length=limit)["input_ids"]
            if long - self.cut:
                count = len(long - self.cut)
                logger.warning("%s: %d of %d texts cut at %d tokens", self.name, count, len(texts), limit)
            self.cut |= long
        return dict(zip(texts, ids, strict=True))


def _hidden(backbone: _Backbone, ids: torch.Tensor) -> NDArray[np.float32]:
    """Returns float32 [texts, tokens, d] of texts without padding."""
    import torch

    with torch.inference_mode():
        output = backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return output.last_hidden_state.cpu().numpy()


def _counted(ids: torch.Tensor, tokenizer: Any) -> NDArray[np.bool_]:
    """Returns bool [texts, tokens], False at the tokens that open and close a text."""
    import torch

    special = [tokenizer.cls_token_id, tokenizer.sep_token_id]
    known = torch.tensor([number for number in special if number is not None])
    return (~torch.isin(ids, known)).numpy()


@functools.cache
def _load(folder: Path, layer: int, device: str) -> _Backbone:
    from transformers import AutoConfig, AutoModel

    with loading(folder, report=False):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        _refuse_layer(config, layer, folder)
        config.num_hidden_layers = layer  # the blocks above are never built
        model, info = AutoModel.from_pretrained(
            folder, config=config, local_files_only=True, output_loading_info=True
        )
        tokenizer = _tokenizer(folder)
    # A pooler is no part of any hidden layer; checkpoints often come without one.
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InputError(
            f"the weights in {folder} lack {len(missing)} tensors, {missing[0]} among them",
            "they belong to another architecture than config.json says; download the model again",
        )
    model = model.eval().requires_grad_(False).float().to(device)
    return _Backbone(model, tokenizer, _limit(model, tokenizer))


def _refuse_layer(config: Any, layer: int, folder: Path) -> None:
    if config.is_encoder_decoder:
        raise InputError(
            f"{folder} is an encoder with a decoder", "give an encoder such as roberta-large"
        )
    if not 1 <= layer <= config.num_hidden_layers:
        raise InputError(
            f"layer={layer}: {folder} has the hidden layers 1 to {config.num_hidden_layers}",
            "roberta-large is usually read at layer 17",
        )


def _tokenizer(folder: Path) -> Any:
    """Loads the tokenizer; the byte-level ones see a space before the first word.

    That is how bert_score calls them (and how its published numbers came about). Its way to say so,
    an argument of `encode`, is without effect from transformers 5 on: "dog" would be read as the rest
    of a longer word.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if type(tokenizer).__name__.removesuffix("Fast") in BYTE_LEVEL:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, add_prefix_space=True)
    return tokenizer


def _limit(model: Any, tokenizer: Any) -> int:
    """Returns how many tokens the model reads: what the tokenizer says, or what has a position."""
    limits = [tokenizer.model_max_length]
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if table is not None:
        reserved = 0 if table.padding_idx is None else table.padding_idx + 1  # RoBERTa counts from there
        limits.append(table.num_embeddings - reserved)
    limit = min(limits)
    return limit if limit < 1 << 20 else DEFAULT_LIMIT
