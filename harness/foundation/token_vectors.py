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
from .loading import loading
from .text_models import NEEDS, display_name, model_fingerprint, model_folder, refuse_string

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)
DEFAULT_LIMIT = 512  # tokens, for models that name no limit
BYTE_LEVEL = {"GPT2Tokenizer", "RobertaTokenizer"}


@dataclass(frozen=True)
class TokenMatrix:
    """The tokens of one text, including the special tokens.

    Attributes:
        vectors: float32 [tokens, d], output of the layer, not normalised.
        counts: bool [tokens], False at the start and end tokens of a text.
    """

    vectors: NDArray[np.float32]
    counts: NDArray[np.bool_]


@dataclass(frozen=True)
class _Backbone:
    model: Any
    tokenizer: Any
    limit: int


class TokenVectors:
    """Computes token vectors with the first blocks of a text encoder.

    The model is loaded at its first use, once per process and device, and only up to the layer.

    Args:
        model: a local folder, a name on the Hub, or `minilm` for the packaged all-MiniLM-L6-v2.
        layer: number of the hidden layer; 1 is the output of the first block.
        device: "auto", "cpu", "cuda" or "cuda:N".
        batch_size: texts per forward pass on a GPU; see `fixed_batches.batch_rows`.
        revision: branch, tag or commit on the Hub; None: main. Only for models on the Hub.

    Attributes:
        name: name in records and tables.
        cut: the texts that were cut because they are longer than the model's limit.
    """

    def __init__(
        self,
        model: str,
        layer: int,
        device: str = "auto",
        batch_size: int = 64,
        revision: str | None = None,
    ) -> None:
        self.model, self.layer, self.revision = model, layer, revision
        self.device, self.batch_size = device, batch_size
        self.name = display_name(model, revision)
        self.cut: set[str] = set()

    def fingerprint(self) -> str:
        """Hash of the weights, the configuration and the tokenizer."""
        return model_fingerprint(self.model, self.revision)

    def encode(self, texts: Sequence[str]) -> dict[str, TokenMatrix]:
        """Returns the token vectors of each distinct text.

        White space around a text is removed, as in the library bert_score.

        Raises:
            TypeError: if `texts` is a plain string.
            InputError: if the model cannot be found, downloaded or read, or has no such layer.
        """
        import torch

        refuse_string(texts)
        device = resolve(self.device)
        backbone = _load(model_folder(self.model, self.revision), self.layer, str(device))
        tokens = self._tokenize(backbone, list(dict.fromkeys(texts)))
        matrices: dict[str, TokenMatrix] = {}
        # A batch contains texts with equal numbers of tokens. Without padding, the shape of a text's
        # computation depends on the text alone.
        rows = batch_rows(device, self.batch_size)
        for batch, count in batches_by_shape(tokens, lambda text: len(tokens[text]), rows):
            ids = torch.tensor([tokens[text] for text in batch])
            vectors, counts = _hidden(backbone, ids.to(device)), _counted(ids, backbone.tokenizer)
            for row, text in enumerate(batch[:count]):
                # A copy: a view would keep its whole batch in memory.
                matrices[text] = TokenMatrix(vectors[row].copy(), counts[row])
        return matrices

    def _tokenize(self, backbone: _Backbone, texts: list[str]) -> dict[str, list[int]]:
        """Returns the token ids of each text, cut at the limit."""
        if not texts:
            return {}
        stripped = [text.strip() for text in texts]
        ids = backbone.tokenizer(stripped, truncation=False, verbose=False)["input_ids"]
        long = {text for text, row in zip(texts, ids, strict=True) if len(row) > backbone.limit}
        if long:
            limit = backbone.limit
            ids = backbone.tokenizer(stripped, truncation=True, max_length=limit)["input_ids"]
            if long - self.cut:  # several metrics score the same texts: warn once
                count = len(long - self.cut)
                logger.warning("%s: %d of %d texts cut at %d tokens", self.name, count, len(texts), limit)
            self.cut |= long
        return dict(zip(texts, ids, strict=True))


def _hidden(backbone: _Backbone, ids: torch.Tensor) -> NDArray[np.float32]:
    """Returns float32 [texts, tokens, d] for token ids without padding."""
    import torch

    with torch.inference_mode():
        output = backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return output.last_hidden_state.cpu().numpy()


def _counted(ids: torch.Tensor, tokenizer: Any) -> NDArray[np.bool_]:
    """Returns bool [texts, tokens], False at the start and end tokens."""
    import torch

    # The same two as in bert_score, which gives them the weight 0.
    special = [tokenizer.cls_token_id, tokenizer.sep_token_id]
    known = torch.tensor([number for number in special if number is not None])
    return (~torch.isin(ids, known)).numpy()


@functools.cache
def _load(folder: Path, layer: int, device: str) -> _Backbone:
    from transformers import AutoConfig, AutoModel

    with loading(folder, "a text model", needs=NEEDS, report=False):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        _refuse_layer(config, layer, folder)
        config.num_hidden_layers = layer  # later blocks are not built
        model, info = AutoModel.from_pretrained(
            folder, config=config, local_files_only=True, output_loading_info=True
        )
        tokenizer = _tokenizer(folder)
    # A pooler is not part of a hidden layer, and many checkpoints have none.
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InputError(
            f"the weights in {folder} lack {len(missing)} tensors, such as {missing[0]}",
            "they belong to another architecture than the one in config.json; download the model again",
        )
    # float: a checkpoint in half precision is computed in float32, too.
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
            "the usual layer of roberta-large is 17",
        )


def _tokenizer(folder: Path) -> Any:
    """Loads the tokenizer; byte-level tokenizers get a space before the first word.

    bert_score calls them in this way, so that its published numbers depend on it. It uses an argument of
    `encode`, which transformers ignores from version 5 on: "dog" would be read as the end of a longer
    word.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if type(tokenizer).__name__.removesuffix("Fast") in BYTE_LEVEL:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, add_prefix_space=True)
    return tokenizer


def _limit(model: Any, tokenizer: Any) -> int:
    """Returns the maximum number of tokens: the tokenizer's limit or the number of positions."""
    limits = [tokenizer.model_max_length]
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if table is not None:
        # RoBERTa numbers its positions from the padding index + 1.
        reserved = 0 if table.padding_idx is None else table.padding_idx + 1
        limits.append(table.num_embeddings - reserved)
    limit = min(limits)
    # Tokenizers without a limit name a huge number instead.
    return limit if limit < 1 << 20 else DEFAULT_LIMIT
