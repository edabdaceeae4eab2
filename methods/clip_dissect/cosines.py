"""Cosines of images and concepts, computed in blocks so that the matrix need not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

CONCEPTS_PER_BLOCK = 256  # a block with 10,000 images fits into a processor's cache


class Cosines(Protocol):
    """The matrix P of image-concept cosines, [images, concepts]."""

    @property
    def shape(self) -> tuple[int, int]:
        """(images, concepts)."""
        ...

    @property
    def finite(self) -> bool:
        """Whether no cosine is NaN or infinite."""
        ...

    def block(self, images: NDArray[np.int64], concepts: slice) -> torch.Tensor:
        """Returns float32 [len(images), concepts in the slice]; the caller may change it."""
        ...


class ArrayCosines:
    """A matrix P in memory.

    Args:
        values: float32 [images, concepts].
    """

    def __init__(self, values: NDArray[np.floating]) -> None:
        self.values = values

    @property
    def shape(self) -> tuple[int, int]:
        """(images, concepts)."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def finite(self) -> bool:
        """See `Cosines.finite`."""
        return bool(np.isfinite(self.values).all())

    def block(self, images: NDArray[np.int64], concepts: slice) -> torch.Tensor:
        """See `Cosines.block`."""
        block = torch.from_numpy(self.values[:, concepts]).index_select(0, torch.from_numpy(images))
        return block.float()


class EmbeddingCosines:
    """The matrix P of two sets of unit-norm embeddings, computed block by block.

    Args:
        images: float32 [images, d].
        texts: float32 [concepts, d].
    """

    def __init__(self, images: NDArray[np.float32], texts: NDArray[np.float32]) -> None:
        self.images = torch.from_numpy(np.array(images))
        self.texts = torch.from_numpy(np.array(texts))

    @property
    def shape(self) -> tuple[int, int]:
        """(images, concepts)."""
        return len(self.images), len(self.texts)

    @property
    def finite(self) -> bool:
        """See `Cosines.finite`. The embeddings are checked, so that no cosine need be computed for it."""
        return bool(self.images.isfinite().all() and self.texts.isfinite().all())

    def block(self, images: NDArray[np.int64], concepts: slice) -> torch.Tensor:
        """See `Cosines.block`."""
        return self.images[torch.from_numpy(images)] @ self.texts[concepts].T


def blocks(n: int, max_size: int | None = None) -> Iterator[slice]:
    """Yields slices that cover `n` concepts, of at most `max_size` and `CONCEPTS_PER_BLOCK`."""
    size = min(CONCEPTS_PER_BLOCK, max_size or CONCEPTS_PER_BLOCK)
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
