"""BERTScore: the similarity of two texts by matching the contextual vectors of their tokens."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from ..harness.errors import InputError
from ..harness.foundation.token_vectors import TokenMatrix, TokenVectors
from .pairs import Pair, PairMetric

Part = Literal["precision", "recall", "f1"]


class BERTScore(PairMetric):
    """BERTScore (Zhang et al., ICLR 2020, section 3) of one layer, without idf and without rescaling.

    Each token of the prediction is matched with the reference token of the highest cosine; the mean over
    tokens is the precision. Recall is the same with the roles exchanged, F1 their harmonic mean. The
    start and end tokens can be matched but are not averaged over. This is the definition of the library
    bert_score, with two differences:

    * Padding is never matched. In the library a padding position has similarity 0 and is the best match
      if all true similarities are negative, so that a score depends on the other texts in its batch.
    * A text without tokens is an error. The library prints a warning and scores it 0.

    Metrics with the same model, layer, device and batch size (precision, recall, F1) share their
    computation: each pair is matched once per process.

    Args:
        model: a local folder, a name on the Hugging Face hub, or `minilm` for the packaged
            all-MiniLM-L6-v2 (layers 1 to 6).
        layer: number of the hidden layer; 17 is the library's choice for roberta-large.
        part: "precision", "recall" or "f1".
        device: "auto", "cpu", "cuda" or "cuda:N".
        batch_size: texts per forward pass on a GPU; see `fixed_batches.batch_rows`.
        revision: branch, tag or commit on the Hub; None: main. Only for models on the Hub.
        name: column name; None: bertscore_precision, bertscore_recall or bertscore_f1.

    Example:
        >>> metric = BERTScore("minilm", layer=5, device="cpu")
        >>> metric.score(["a small dog", "a car"], [["dog"], ["dog"]]).round(2)
        array([0.67, 0.4 ])
    """

    def __init__(
        self,
        model: str = "roberta-large",
        layer: Annotated[int, Ge(1)] = 17,
        part: Part = "f1",
        device: str = "auto",
        batch_size: int = 64,
        revision: str | None = None,
        name: str | None = None,
    ) -> None:
        if part not in get_args(Part):
            raise InputError(f"BERTScore has no part {part!r}", f"choose {', '.join(get_args(Part))}")
        self.part = part
        self.name = name or f"bertscore_{part}"
        words = {"f1": "F1", "precision": "precision", "recall": "recall"}[part]
        self.meaning = f"BERTScore {words}: how well the words' vectors of both texts match, at most 1"
        self._matcher = _shared_matcher(model, layer, device, batch_size, revision)

    def score_pairs(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """See `PairMetric.score_pairs`."""
        return self._matcher.scores(pairs)[:, get_args(Part).index(self.part)]

    def models(self) -> Mapping[str, str]:
        """The library's hash of the setting: model, layer and versions."""
        return {"backbone": self._hash()}

    def identity(self) -> Mapping[str, Any]:
        """The fingerprint of the model, its layer, the part, and the library's hash."""
        vectors = self._matcher.vectors
        return {
            "hash": self._hash(),
            "fingerprint": vectors.fingerprint(),
            "layer": vectors.layer,
            "part": self.part,
        }

    def _hash(self) -> str:
        """Returns the string by which bert_score names a setting."""
        vectors = self._matcher.vectors
        versions = _library_version(), importlib.metadata.version("transformers")
        return "{}_L{}_no-idf_version={}(hug_trans={})".format(vectors.name, vectors.layer, *versions)


def _library_version() -> str:
    """Returns the `__version__` of bert_score, which may be older than the version of its package.

    It is read from the source, because importing the library takes seconds.
    """
    spec = importlib.util.find_spec("bert_score")
    source = Path(spec.origin).read_text("utf-8") if spec and spec.origin else ""
    match = re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE)
    return match[1] if match else importlib.metadata.version("bert-score")


class _Matcher:
    """Matches pairs with the vectors of one model, and keeps their scores."""

    def __init__(self, vectors: TokenVectors) -> None:
        self.vectors = vectors
        self.scored: dict[Pair, NDArray[np.float64]] = {}

    def scores(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """Returns float64 [n, 3]: precision, recall, F1."""
        new = [pair for pair in pairs if pair not in self.scored]
        if new:
            tokens = self.vectors.encode([text for pair in new for text in pair])
            _check_tokens(tokens)
            self.scored.update((pair, match(tokens[pair[0]], tokens[pair[1]])) for pair in new)
        return np.stack([self.scored[pair] for pair in pairs])


@functools.cache
def _shared_matcher(
    model: str, layer: int, device: str, batch_size: int, revision: str | None
) -> _Matcher:
    return _Matcher(TokenVectors(model, layer, device, batch_size, revision))


def _check_tokens(tokens: Mapping[str, TokenMatrix]) -> None:
    for text, matrix in tokens.items():
        if not matrix.counts.any():
            raise ValueError(f"{text!r} has no token that the model knows: there is nothing to match")


def match(prediction: TokenMatrix, reference: TokenMatrix) -> NDArray[np.float64]:
    """Matches two texts token by token.

    Computed pair by pair, not in padded blocks: the result of a pair does not depend on other pairs.

    Returns:
        float64 [3]: precision, recall and F1. F1 is 0 if the sum of precision and recall is 0.
    """
    # [tokens of the prediction, tokens of the reference]
    similarity = _unit_norm(prediction.vectors) @ _unit_norm(reference.vectors).T
    precision = similarity.max(axis=1)[prediction.counts].mean()
    recall = similarity.max(axis=0)[reference.counts].mean()
    total = precision + recall
    return np.array([precision, recall, 2 * precision * recall / total if total else 0.0])


def _unit_norm(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = vectors.astype(np.float64)
    return exact / np.linalg.norm(exact, axis=1, keepdims=True)
