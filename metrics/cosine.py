"""Cosines of text embeddings: of a sentence encoder, or of the text side of an image-text model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.foundation.protocols import ImageTextEncoder, SentenceEncoder
from .pairs import Pair, PairMetric


class _TextCosine(PairMetric):
    """Cosine between the embeddings of two texts.

    Args:
        encoder: the model.
        embed: its function of texts.
        role: what the model is called in tables.
        name: column name.
    """

    def __init__(
        self,
        encoder: ImageTextEncoder | SentenceEncoder,
        embed: Callable[[Sequence[str]], NDArray[np.float32]],
        role: str,
        name: str,
    ) -> None:
        self.encoder, self.name = encoder, name
        self._embed, self._role = embed, role

    def score_pairs(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """See `PairMetric.score_pairs`. Embeds each distinct text once."""
        row = {
            text: number for number, text in enumerate(dict.fromkeys(t for pair in pairs for t in pair))
        }
        vectors = np.asarray(self._embed(list(row)), np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # of unit norm only up to float32
        rows = np.array([[row[text] for text in pair] for pair in pairs])
        # One dot product per pair: the last bits of a matrix product depend on the number of texts.
        return np.einsum("nd,nd->n", vectors[rows[:, 0]], vectors[rows[:, 1]])

    def models(self) -> Mapping[str, str]:
        """The name of the encoder."""
        return {self._role: self.encoder.name}

    def identity(self) -> Mapping[str, Any]:
        """Name and fingerprint of the encoder."""
        return {"encoder": self.encoder.name, "fingerprint": self.encoder.fingerprint()}


class ClipCosine(_TextCosine):
    """Cosine between the text embeddings of an image-text model, from -1 to 1.

    The evaluations of CLIP-Dissect and Describe-and-Dissect use OpenAI's ViT-B/16 on the unchanged texts,
    without a template. They average in half precision, which rounds means to multiples of 0.0005; here
    everything after the encoder is float64.

    Args:
        encoder: the image-text model; only its text side is used.
        name: column name.

    Example:
        >>> from dissectbench.harness.foundation import OpenClipEncoder
        >>> clip = OpenClipEncoder("package:dissectbench.datasets.tinyworld/weights/clip", device="cpu")
        >>> ClipCosine(clip).score(["a red boat"], [["a boat"]]).round(2)
        array([0.64])
    """

    meaning = "cosine of the text embeddings of an image-text model, from -1 to 1"

    def __init__(self, encoder: ImageTextEncoder, name: str = "clip_cosine") -> None:
        super().__init__(encoder, encoder.encode_texts, "image-text model", name)


class SentenceCosine(_TextCosine):
    """Cosine between sentence embeddings, from -1 to 1.

    The evaluations of CLIP-Dissect and Describe-and-Dissect use all-mpnet-base-v2 on the unchanged texts.

    Args:
        encoder: the sentence encoder.
        name: column name.

    Example:
        >>> from dissectbench.harness.foundation import SentenceTransformerEncoder
        >>> minilm = SentenceTransformerEncoder("minilm", device="cpu")
        >>> SentenceCosine(minilm).score(["a small dog", "a car"], [["dog"], ["dog"]]).round(2)
        array([0.58, 0.35])
    """

    meaning = "cosine of sentence embeddings, from -1 to 1"

    def __init__(self, encoder: SentenceEncoder, name: str = "sentence_cosine") -> None:
        super().__init__(encoder, encoder.encode, "sentence encoder", name)
