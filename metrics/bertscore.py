"""BERTScore: how well the tokens of two texts match, by their contextual vectors."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import InputError
from ..harness.foundation.token_vectors import TokenMatrix, TokenVectors
from .pairs import Pair, PairMetric

Part = Literal["precision", "recall", "f1"]


class BERTScore(PairMetric):
    """BERTScore (Zhang et al., ICLR 2020, section 3) of one layer, without idf and without rescaling.

    Every token of the prediction takes its best cosine among the reference's tokens; the average is the
    precision. Recall is the reverse, F1 their harmonic mean. The tokens that open and close every text
    are not averaged over but may be matched. All of this is as in the library bert_score, with two
    differences:

    * Padding never takes part. In the library a padding position has similarity 0 and wins where all
      true similarities are negative, so that a score depends on the texts in its batch.
    * A text without tokens is refused. The library prints a warning and scores it 0.

    Several metrics with the same model, layer, device and batch size (precision, recall, F1) share one
    computation: a pair is matched once per process.

    Args:
        model: a local folder, a name on the Hugging Face hub, or `minilm` for the packaged
            all-MiniLM-L6-v2 (layers 1 to 6).
        layer: which hidden layer; 17 is the library's choice for roberta-large.
        part: "precision", "recall" or "f1".
        device: "auto", "cpu", "cuda" or "cuda:N".
        batch_size: texts per forward pass on a GPU; see `fixed_batches.batch_rows`.
        name: column name; None: bertscore_precision, bertscore_recall or bertscore_f1.
    """

    def __init__(
        self,
        model: str = "roberta-large",
        layer: int = 17,
        part: Part = "f1",
        device: str = "auto",
        batch_size: int = 64,
        name: str | None = None,
    ) -> None:
        if part not in get_args(Part):
            raise InputError(f"BERTScore has no part {part!r}", f"choose {', '.join(get_args(Part))}")
        self.part = part
        self.name = name or f"bertscore_{part}"
        self._matcher = _shared_matcher(model, layer, device, batch_size)

    def score_pairs(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """See `PairMetric.score_pairs`."""
        return self._matcher.scores(pairs)[:, get_args(Part).index(self.part)]

    def models(self) -> Mapping[str, str]:
        """Names the model as the library's hash does, with layer and versions."""
        return {"backbone": self._hash()}

    def identity(self) -> Mapping[str, Any]:
        """The backbone by content, its layer, the part, and the library's hash."""
        vectors = self._matcher.vectors
        return {
            "hash": self._hash(),
            "fingerprint": vectors.fingerprint(),
            "layer": vectors.layer,
            "part": self.part,
        }

    def _hash(self) -> str:
        """The string by which bert_score names a setting; its definition is the one followed here."""
        vectors = self._matcher.vectors
        versions = _library_version(), importlib.metadata.version("transformers")
        return "{}_L{}_no-idf_version={}(hug_trans={})".format(vectors.name, vectors.layer, *versions)


def _library_version() -> str:
    """Returns what bert_score calls its version, which may lag behind the version of its package.

    Read from its source: importing it takes seconds, and it imports a plotting library.
    """
    spec = importlib.util.find_spec("bert_score")
    source = Path(spec.origin).read_text("utf-8") if spec and spec.origin else ""
    found = re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE)
    return found[1] if found else importlib.metadata.version("bert-score")


class _Matcher:
    """Scores of pairs by one backbone; what was scored is remembered."""

    def __init__(self, vectors: TokenVectors) -> None:
        self.vectors = vectors
        self.known: dict[Pair, NDArray[np.float64]] = {}

    def scores(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """Returns float64 [n, 3]: precision, recall, F1."""
        new = [pair for pair in pairs if pair not in self.known]
        if new:
            tokens = self.vectors.encode([text for pair in new for text in pair])
            _refuse_without_tokens(tokens)
            self.known.update((pair, match(tokens[pair[0]], tokens[pair[1]])) for pair in new)
        return np.stack([self.known[pair] for pair in pairs])


@functools.cache
def _shared_matcher(model: str, layer: int, device: str, batch_size: int) -> _Matcher:
    return _Matcher(TokenVectors(model, layer, device, batch_size))


def _refuse_without_tokens(tokens: Mapping[str, TokenMatrix]) -> None:
    for text, matrix in tokens.items():
        if not matrix.counts.any():
            raise ValueError(f"no token of {text!r} is known to the model: there is nothing to match")


def match(prediction: TokenMatrix, reference: TokenMatrix) -> NDArray[np.float64]:
    """Matches two texts token by token.

    Computed pair by pair, not in padded blocks: the result of a pair does not depend on other pairs.

    Returns:
        float64 [3]: precision, recall and F1. F1 is 0 where precision and recall add up to 0.
    """
    similarity = _unit_norm(prediction.vectors) @ _unit_norm(reference.vectors).T
    precision = similarity.max(axis=1)[prediction.counts].mean()
    recall = similarity.max(axis=0)[reference.counts].mean()
    total = precision + recall
    return np.array([precision, recall, 2 * precision * recall / total if total else 0.0])


def _unit_norm(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = vectors.astype(np.float64)
    return exact / np.linalg.norm(exact, axis=1, keepdims=True)
