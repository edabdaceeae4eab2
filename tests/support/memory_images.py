"""A probing set in memory, under activations in memory."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dissectbench.datasets.probing_set import ProbingSet
from dissectbench.harness.probe import ArrayLayer


class ImageArray(ProbingSet):
    """Images from an array, uint8 [n, 3, H, W]; one of them may break the work off."""

    name = "images"

    def __init__(self, pixels: NDArray[np.uint8], dies_at: int | None = None) -> None:
        self.pixels, self.dies_at = pixels, dies_at
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> Image.Image:
        if index == self.dies_at:
            raise KeyboardInterrupt
        self.asked.append(index)
        return Image.fromarray(self.pixels[index].transpose(1, 2, 0))

    def locate(self, index: int) -> str:
        return f"image-{index}"

    def fingerprint(self) -> str:
        return "images"


class ImageArrayLayer(ArrayLayer):
    """Says what its images are."""

    probe: ImageArray  # pyright: ignore[reportIncompatibleVariableOverride]
