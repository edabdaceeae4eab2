"""Renders the images that the networks are trained and measured on."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ....harness.files import atomic_path
from ..canvas import LABELS
from ..image_spec import ImageSpec
from ..rendered_folder import FORMAT
from ..rendering import render_image, spec_of
from ..tinyworld import cache_folder
from ..words import NUMBER, OBJECTS, WORDS

# Not 0, the seed of the probing set, which the networks must not have seen.
TRAINING_SEED, HELD_OUT_SEED = 1, 2


@dataclass(frozen=True)
class ImageSet:
    """Rendered images of one seed, in memory.

    Attributes:
        pixels: uint8 [n, SIZE, SIZE, 3].
        areas: float32 [n, words + 1], the share of each image that each word covers; 1 for its scene.
        specs: contents of the images.
    """

    pixels: NDArray[np.uint8]
    areas: NDArray[np.float32]
    specs: tuple[ImageSpec, ...]

    @property
    def classes(self) -> NDArray[np.int64]:
        """Index of the main object of each image in `OBJECTS`, int64 [n]."""
        names = list(OBJECTS)
        return np.array([names.index(spec.main.kind) for spec in self.specs], np.int64)


def image_set(seed: int, count: int) -> ImageSet:
    """Returns the first `count` images of a seed; renders them in parallel once and caches them."""
    path = cache_folder() / "training" / f"format{FORMAT}-seed{seed}-{count}.npz"
    if not path.is_file():
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            pairs = list(pool.map(partial(pixels_and_areas, seed), range(count), chunksize=50))
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, pixels=np.stack([p for p, _ in pairs]), areas=np.stack([a for _, a in pairs]))
    with np.load(path) as stored:
        # Not stored: sampling them again is exact and needs no rendering.
        specs = tuple(spec_of(seed, index) for index in range(count))
        return ImageSet(stored["pixels"], stored["areas"], specs)


def pixels_and_areas(seed: int, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Returns the pixels of an image and the share of it that each word covers, see `ImageSet`."""
    image = render_image(seed, index)
    planes = np.concatenate([np.stack([image.colour, image.object, image.texture]), image.parts])
    areas = np.bincount(planes.ravel(), minlength=len(WORDS) + 1) / np.float32(LABELS**2)
    areas[0], areas[NUMBER[image.spec.scene]] = 0, 1
    return image.pixels, areas.astype(np.float32)
