"""The training loop, with its batches, augmentation and learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ..canvas import SIZE
from ..networks import MEAN, STD

if TYPE_CHECKING:
    import torch

SHIFT = 6
"""Maximum shift of augmented images, pixels."""


@dataclass(frozen=True)
class Schedule:
    """Settings of a training loop.

    Attributes:
        epochs: number of passes over the images.
        batch: images per step.
        peak_rate: highest learning rate, see `learning_rate`.
        max_norm: the norm of the gradient is clipped to this; None: not clipped.
        name: printed before the losses of an epoch.
    """

    epochs: int
    batch: int
    peak_rate: float
    max_norm: float | None = None
    name: str = ""


def fit(
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    images: int,
    generator: torch.Generator,
    losses_of: Callable[[torch.Tensor, int], Mapping[str, torch.Tensor]],
) -> Iterator[int]:
    """Trains, and yields the number of each finished epoch, so that the caller can save.

    Args:
        optimiser: holds the parameters.
        schedule: settings.
        images: number of images.
        generator: chooses the order of the images.
        losses_of: returns named losses of a batch, from the indices of its images and the number of the
            step; their sum is minimised.
    """
    import torch

    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    steps, step = schedule.epochs * (images // schedule.batch), 0
    for epoch in range(schedule.epochs):
        history: dict[str, list[float]] = {}
        for chosen in batches(images, schedule.batch, generator):
            optimiser.param_groups[0]["lr"] = learning_rate(step, steps, schedule.peak_rate)
            losses = losses_of(chosen, step)
            optimiser.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            if schedule.max_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters, schedule.max_norm)
            optimiser.step()
            for name, loss in losses.items():
                history.setdefault(name, []).append(loss.item())
            step += 1
        means = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in history.items())
        Console().print(f"{schedule.name} epoch {epoch + 1}/{schedule.epochs}: {means}".strip())
        yield epoch


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yields the indices of one epoch in random order, in full batches only."""
    import torch

    # The rest of an epoch is dropped: a small batch has a noisy gradient at the same learning rate.
    order = torch.randperm(count, generator=generator)
    yield from order[: count // size * size].split(size)


def to_batch(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Returns images uint8 [n, SIZE, SIZE, 3] as float32 [n, 3, SIZE, SIZE] in [0, 1]."""
    import torch

    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def normalise(batch: torch.Tensor) -> torch.Tensor:
    """Subtracts the mean of tinyworld's images and divides by their standard deviation, by channel."""
    import torch

    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (batch - mean) / std


def augment(pixels: NDArray[np.uint8], generator: torch.Generator) -> torch.Tensor:
    """Returns float32 [n, 3, SIZE, SIZE] in [0, 1], mirrored at random and shifted by up to `SHIFT`."""
    import torch
    from torch.nn import functional

    batch = to_batch(pixels)
    flips = torch.rand(len(batch), generator=generator) < 0.5
    batch = torch.where(flips[:, None, None, None], batch.flip(3), batch)
    # One shift for the whole batch: a slice is much faster than one shift for each image.
    y, x = torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator).tolist()
    padded = functional.pad(batch, (SHIFT,) * 4, mode="replicate")
    return padded[:, :, y : y + SIZE, x : x + SIZE]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Returns the rate of a step: linear warm-up over the first twentieth, then a cosine down to zero."""
    warmup = max(1, steps // 20)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
