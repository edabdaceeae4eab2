"""A probing set in memory, and a layer with activations in memory."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dissectbench.datasets.probing_set import ProbingSet
from dissectbench.harness.probe import ArrayLayer


class ImageArray(ProbingSet):
    """Images from an array, uint8 [n, 3, H, W]; opening image `interrupt_at` interrupts the program."""

    name = "images"

    def __init__(self, pixels: NDArray[np.uint8], interrupt_at: int | None = None) -> None:
        self.pixels, self.interrupt_at = pixels, interrupt_at
        self.opened: list[int] = []

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> Image.Image:
        if index == self.interrupt_at:
            raise KeyboardInterrupt
        self.opened.append(index)
        return Image.fromarray(self.pixels[index].transpose(1, 2, 0))

    def locate(self, index: int) -> str:
        return f"image-{index}"

    def fingerprint(self) -> str:
        return "images"


class ImageArrayLayer(ArrayLayer):
    """A layer in memory whose probing set is an `ImageArray`."""

    probe: ImageArray  # pyright: ignore[reportIncompatibleVariableOverride]
