"""Helpers of the training loops: batches, augmentation and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..canvas import SIZE

if TYPE_CHECKING:
    import torch


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yields the indices of one epoch in random order, in whole batches."""
    import torch

    order = torch.randperm(count, generator=generator)
    yield from order[: count // size * size].split(size)


def augment(pixels: NDArray[np.uint8], generator: torch.Generator) -> torch.Tensor:
    """Returns float32 [n, 3, SIZE, SIZE] in [0, 1], mirrored by chance, shifted by up to 6 pixels."""
    import torch
    from torch.nn import functional

    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    flips = torch.rand(len(batch), generator=generator) < 0.5
    batch = torch.where(flips[:, None, None, None], batch.flip(3), batch)
    y, x = torch.randint(0, 13, (2,), generator=generator).tolist()
    return functional.pad(batch, (6, 6, 6, 6), mode="replicate")[:, :, y : y + SIZE, x : x + SIZE]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Returns the rate at a step: a linear warm-up over the first twentieth, then a cosine to zero."""
    warm = max(1, steps // 20)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
