"""Random images of several sizes."""

from __future__ import annotations

import numpy as np
from PIL import Image

_NOISE_SIZES = [(40, 50), (32, 32), (70, 33), (33, 90), (64, 64), (51, 40), (35, 35)]


def block_images(count: int) -> list[Image.Image]:
    """Returns images of 2 x 2 coloured blocks, 20 to 79 pixels wide and high; always the same."""
    rng = np.random.default_rng(0)
    blocks = [rng.choice(np.array([0, 255], np.uint8), (2, 2, 3)) for _ in range(count)]
    sizes = rng.integers(20, 80, (count, 2)).tolist()
    return [
        Image.fromarray(colours).resize(size, Image.Resampling.NEAREST)
        for colours, size in zip(blocks, sizes, strict=True)
    ]


def noise_images(count: int) -> list[Image.Image]:
    """Returns images of random pixels; the same in every call."""
    rng = np.random.default_rng(0)
    sizes = [_NOISE_SIZES[i % len(_NOISE_SIZES)] for i in range(count)]
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
