"""What the training scripts share: many pictures in memory, learning rates, weights and model cards."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ....harness.files import atomic_open, atomic_path
from ..canvas import LABELS, SIZE
from ..disk import FORMAT
from ..rendering import picture, specification
from ..spec import Spec
from ..words import NUMBER, OBJECTS, WORDS
from ..world import home

if TYPE_CHECKING:
    import torch

# Worlds of their own: the probing set is world 0.
TRAINING_SEED, HELD_OUT_SEED = 1, 2


@dataclass(frozen=True)
class Pictures:
    """Rendered pictures of one world, in memory.

    Attributes:
        pixels: uint8 [n, SIZE, SIZE, 3].
        areas: float32 [n, words + 1] share of each picture that shows each word; 1 for its scene.
        specs: what is in them.
    """

    pixels: NDArray[np.uint8]
    areas: NDArray[np.float32]
    specs: tuple[Spec, ...]

    @property
    def classes(self) -> NDArray[np.int64]:
        """Index of each picture's main object in `OBJECTS`, int64 [n]."""
        names = list(OBJECTS)
        return np.array([names.index(spec.main.kind) for spec in self.specs], np.int64)


def pictures(seed: int, count: int) -> Pictures:
    """Returns the first `count` pictures of a world, rendered in parallel once and kept in the cache."""
    path = home() / "training" / f"format{FORMAT}-seed{seed}-{count}.npz"
    if not path.is_file():
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            shown = list(pool.map(partial(rendered, seed), range(count), chunksize=50))
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, pixels=np.stack([p for p, _ in shown]), areas=np.stack([a for _, a in shown]))
    with np.load(path) as stored:
        specs = tuple(specification(seed, index) for index in range(count))
        return Pictures(stored["pixels"], stored["areas"], specs)


def rendered(seed: int, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Returns the pixels of a picture, and the share of it that shows each word; see `Pictures`."""
    shown = picture(seed, index)
    planes = np.concatenate([np.stack([shown.colour, shown.object, shown.texture]), shown.parts])
    areas = np.bincount(planes.ravel(), minlength=len(WORDS) + 1) / np.float32(LABELS**2)
    areas[0], areas[NUMBER[shown.spec.scene]] = 0, 1
    return shown.pixels, areas.astype(np.float32)


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


def save_weights(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Saves weights as safetensors: matrices and kernels as float16, everything else as it is."""
    import torch
    from safetensors.torch import save_file

    small = {
        name: (value.half() if value.is_floating_point() and value.ndim > 1 else value).contiguous()
        for name, value in state.items()
    }
    with atomic_path(path) as temporary, torch.no_grad():
        save_file(small, temporary, metadata={"format": "pt"})


def write_card(folder: Path, title: str, sections: Mapping[str, str]) -> None:
    """Writes the model card of the weights in a folder."""
    size = sum(file.stat().st_size for file in folder.iterdir() if file.name != "README.md")
    with atomic_open(folder / "README.md") as file:
        file.write(f"# {title}\n\n")
        for heading, text in sections.items():
            file.write(f"## {heading}\n{text.strip()}\n\n")
        file.write(f"## Size\n{size / 1e6:.2f} MB\n")
