"""Sentence encoders from the library sentence-transformers."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..devices import resolve
from ..errors import InputError
from ..fixed_batches import batch_rows, batches_by_shape
from .loading import loading
from .text_models import NEEDS, display_name, model_fingerprint, model_folder, refuse_string

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)


class SentenceTransformerEncoder:
    """Embeds sentences with a sentence-transformers model, in float32, without any prompt.

    A model is loaded at its first use, once per process and device.

    Args:
        model: a local folder, a name on the Hub, or `minilm` for the packaged all-MiniLM-L6-v2.
        device: "auto", "cpu", "cuda" or "cuda:N".
        batch_size: texts per forward pass on a GPU; see `fixed_batches.batch_rows`.
        revision: branch, tag or commit on the Hub; None: main. Only for models on the Hub.

    Attributes:
        name: name in records and tables.
    """

    def __init__(
        self,
        model: str = "sentence-transformers/all-mpnet-base-v2",
        device: str = "auto",
        batch_size: int = 64,
        revision: str | None = None,
    ) -> None:
        self.model, self.device, self.revision = model, device, revision
        self.batch_size = batch_size
        self.name = display_name(model, revision)

    def fingerprint(self) -> str:
        """Hash of the weights, the configuration and the tokenizer."""
        return model_fingerprint(self.model, self.revision)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [n, d], unit norm; each distinct text is embedded once.

        Texts longer than the model's limit are cut, and counted in a warning.

        Raises:
            TypeError: if `texts` is a plain string.
            InputError: if the model cannot be found, downloaded or read.
        """
        refuse_string(texts)
        device = resolve(self.device)
        encoder = _load(model_folder(self.model, self.revision), str(device))
        # Only the model knows the width d of an empty result.
        if len(texts) == 0:
            return encoder.encode([""], convert_to_numpy=True)[:0]
        lengths = _token_counts(encoder, list(dict.fromkeys(texts)), self.name)
        vectors: dict[str, NDArray[np.float32]] = {}
        # A batch contains texts with equal numbers of tokens. Without padding, the shape of a text's
        # computation depends on the text alone.
        rows = batch_rows(device, self.batch_size)
        for batch, count in batches_by_shape(lengths, lengths.__getitem__, rows):
            embedded = encoder.encode(
                batch,
                batch_size=rows,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            vectors.update(zip(batch[:count], embedded, strict=False))
        return np.stack([vectors[text] for text in texts]).astype(np.float32, copy=False)


@functools.cache
def _load(folder: Path, device: str) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    if not (folder / "modules.json").is_file():
        raise InputError(
            f"the model in {folder} is not one of sentence-transformers: modules.json is missing",
            "a plain language model has no defined sentence embedding; give a sentence model",
        )
    # float: some checkpoints are stored in half precision, which would round the embeddings.
    with loading(folder, "a text model", needs=NEEDS):
        return SentenceTransformer(str(folder), device=device, local_files_only=True).float()


def _token_counts(encoder: SentenceTransformer, texts: list[str], name: str) -> dict[str, int]:
    """Returns the number of tokens of each text, cut at the model's limit; warns of texts that are cut.

    All zero for a model without a limit, which is not a transformer and does not pad.
    """
    limit = encoder.max_seq_length
    if limit is None:
        return dict.fromkeys(texts, 0)
    # Not truncated, to count the texts that are cut. verbose=False: transformers would warn, too.
    tokens = encoder.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
    lengths = dict(zip(texts, map(len, tokens), strict=True))
    if cut := sum(length > limit for length in lengths.values()):
        logger.warning("%s: %d of %d texts cut at %d tokens", name, cut, len(texts), limit)
    return {text: min(length, limit) for text, length in lengths.items()}
