"""Recomputes feature maps: shows images to the target again, once for several layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import ProbingSet
from ..devices import full_precision
from .batches import load

if TYPE_CHECKING:
    import torch

    from ..targets.layers import Taps


class Recomputation:
    """Computes the maps of any layers of a pass in one forward pass per batch.

    Args:
        taps: reads all layers of the pass.
        probe: the images of the layers.
        block: rows of every batch, see `batches.block_size`.
        workers: processes that decode images.
    """

    def __init__(self, taps: Taps, probe: ProbingSet, block: int, workers: int) -> None:
        self.taps, self._probe, self._block, self._workers = taps, probe, block, workers
        self._parts: dict[tuple[str, ...], Taps] = {}

    def maps(
        self, batches: Sequence[tuple[NDArray[np.int64], Sequence[str]]]
    ) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Yields the maps of each batch, by layer name, float32 [b, units, h, w].

        Args:
            batches: image indices, at most `block` of them, and names of layers. The target stops after
                the deepest of these layers.

        Raises:
            UnreadableImageError: if an image can no longer be read.
        """
        lists = [images.tolist() for images, _ in batches]
        blocks = load(self._probe, self.taps.target, lists, self._block, self._workers)
        for (_, names), block in zip(batches, blocks, strict=True):
            if block.skipped:
                raise block.skipped[0].error()
            assert block.inputs is not None  # every image of the block was read
            maps = self.forward(block.inputs, names)
            yield {name: block.readable(of_layer).cpu().numpy() for name, of_layer in maps.items()}

    def forward(self, inputs: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Returns the maps of one block; hooks the network for this block only: callers may alternate."""
        key = tuple(names)
        if key not in self._parts:
            self._parts[key] = self.taps.only(names)
        with self._parts[key] as taps, full_precision(taps.target.device):
            return taps.read(inputs)
