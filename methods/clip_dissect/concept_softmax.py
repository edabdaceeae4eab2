"""Softmax over concepts, computed in blocks of concepts, for pointwise mutual information."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from .cosines import Cosines, blocks

_BLOCK_ELEMENTS = 50_000_000  # maximum of images x concepts computed at once
_KEPT_ELEMENTS = 250_000_000  # maximum of images x concepts kept between the passes: 1 GB in float32


class ConceptSoftmax:
    """p_im, the softmax of a P_im over all concepts m, in blocks of concepts.

    A first pass over the blocks computes the normaliser. Its exponentials are kept for the second pass
    as far as `_KEPT_ELEMENTS` allows; the others are computed again.

    Args:
        cosines: P.
        images: int64 [n], the images.
        inverse_temperature: a.

    Attributes:
        log_range: the smallest and the largest ln p_im.
    """

    def __init__(self, cosines: Cosines, images: NDArray[np.int64], inverse_temperature: float) -> None:
        self.cosines, self.images, self.inverse_temperature = cosines, images, inverse_temperature
        self._slices = list(blocks(cosines.shape[1], max(1, _BLOCK_ELEMENTS // len(images))))
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        # The sum over concepts is in float64: in float32 it would depend on the size of the blocks.
        total = torch.full((len(images), 1), -torch.inf, dtype=torch.float64)
        low, high = torch.full_like(total, torch.inf), torch.full_like(total, -torch.inf)
        for index, concepts in enumerate(self._slices):
            exponentials, largest = self._block(concepts)
            low = low.minimum(exponentials.amin(dim=1, keepdim=True).log() + largest)
            high = high.maximum(largest)
            total = total.logaddexp(exponentials.sum(dim=1, keepdim=True).double().log() + largest)
            if concepts.stop * len(images) <= _KEPT_ELEMENTS:
                self._kept[index] = exponentials, largest
        self._log_total = total
        self.log_range = float((low - total).min()), float((high - total).max())

    def blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yields slices of concepts and p, float32 [images, concepts in the slice]; only once."""
        for index, concepts in enumerate(self._slices):
            exponentials, largest = self._kept.pop(index, None) or self._block(concepts)
            yield concepts, exponentials.mul_((largest - self._log_total).exp_().float())

    def _block(self, concepts: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns exp(a P_im - b_i) [images, concepts] and b_i, the maximum of a P_im here [images, 1].

        Subtracting the maximum keeps the exponentials within float32's range.
        """
        block = self.cosines.block(self.images, concepts).mul_(self.inverse_temperature)
        largest = block.amax(dim=1, keepdim=True)
        return block.sub_(largest).exp_(), largest
