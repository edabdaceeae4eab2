"""The softmax over concepts that pointwise mutual information starts from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from .cosines import Cosines, blocks

_BLOCK_CELLS = 50_000_000  # of images x concepts computed at once, at most
_KEPT_CELLS = 250_000_000  # of images x concepts kept from one pass to the next, at most


class Softmax:
    """p_im, the softmax of a P_im over all concepts m, handed out in blocks of concepts.

    The first pass over the blocks finds the normaliser; what it computed is kept for the second as far
    as `_KEPT_CELLS` reach, the rest is computed again.

    Args:
        clip: P.
        images: int64 [n], the images wanted.
        a: inverse temperature.

    Attributes:
        log_range: the smallest and the largest ln p_im.
    """

    def __init__(self, clip: Cosines, images: NDArray[np.int64], a: float) -> None:
        self.clip, self.images, self.a = clip, images, a
        self.slices = list(blocks(clip.shape[1], max(1, _BLOCK_CELLS // len(images))))
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        total = torch.full((len(images), 1), -torch.inf, dtype=torch.float64)
        low, high = torch.full_like(total, torch.inf), torch.full_like(total, -torch.inf)
        for index, concepts in enumerate(self.slices):
            exponentials, largest = self._block(concepts)
            low = low.minimum(exponentials.amin(dim=1, keepdim=True).log() + largest)
            high = high.maximum(largest)
            total = total.logaddexp(exponentials.sum(dim=1, keepdim=True).double().log() + largest)
            if concepts.stop * len(images) <= _KEPT_CELLS:
                self.kept[index] = exponentials, largest
        self.log_total = total
        self.log_range = float((low - total).min()), float((high - total).max())

    def blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yields slices of concepts and p, float32 [images, concepts in the slice], once."""
        for index, concepts in enumerate(self.slices):
            exponentials, largest = self.kept.pop(index, None) or self._block(concepts)
            yield concepts, exponentials.mul_((largest - self.log_total).exp_().float())

    def _block(self, concepts: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns exp(a P_im - b_i) [images, concepts] and b_i, the largest a P_im here [images, 1]."""
        block = self.clip.block(self.images, concepts).mul_(self.a)
        largest = block.amax(dim=1, keepdim=True)
        return block.sub_(largest).exp_(), largest
