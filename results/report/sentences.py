"""Holds the sentence embeddings of descriptions, and compares descriptions by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

AGREE = 0.6
"""Descriptions of a unit agree if the mean cosine of their pairs is at least this."""


@dataclass(frozen=True)
class Sentences:
    """The sentence embeddings of the descriptions of one or several runs.

    Attributes:
        encoder: name of the sentence encoder; "" if there are no embeddings.
        missing: why there are none; "" if there are.
        rows: the row in `vectors` by text.
        vectors: float32 [texts, d], unit norm.
    """

    encoder: str = ""
    missing: str = "The run has no sentence encoder."
    rows: Mapping[str, int] = field(default_factory=dict)
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @classmethod
    def of(cls, encoder: str, texts: Sequence[str], vectors: NDArray[np.float32]) -> Sentences:
        """Returns the embeddings [texts, d] of distinct texts."""
        return cls(encoder, "", {text: row for row, text in enumerate(texts)}, vectors)

    def of_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [texts, d]."""
        return self.vectors[[self.rows[text] for text in texts]]

    def agreement(self, texts: Sequence[str]) -> float | None:
        """Returns the mean cosine over all pairs of texts; None without a pair or without embeddings."""
        if not self.encoder or len(texts) < 2:
            return None
        # The squared norm of the sum is the sum over all ordered pairs, also of a text with itself.
        vectors = self.of_texts(texts).astype(np.float64)
        count = len(texts)
        total, own = float(np.square(vectors.sum(axis=0)).sum()), float(np.square(vectors).sum())
        return (total - own) / (count * (count - 1))


def mean_cosines(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> tuple[float | None, float | None]:
    """Compares the descriptions of two methods.

    Args:
        first: float32 [units, d], unit norm, of one method.
        second: those of the other method, for the same units.

    Returns:
        The mean cosine over the units; and as control the mean over all pairs of different units, the
        expectation for shuffled descriptions. None without units, or without two of them.
    """
    count = len(first)
    if count == 0:
        return None, None
    # float64: the control is a small difference of two large sums.
    own = float(np.einsum("nd,nd->", first, second, dtype=np.float64))
    total = float(first.sum(axis=0, dtype=np.float64) @ second.sum(axis=0, dtype=np.float64))
    return own / count, None if count == 1 else (total - own) / (count * (count - 1))
