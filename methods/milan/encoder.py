"""The encoder: turns an exemplar and its mask into a feature vector.

Hernandez et al., "Natural Language Descriptions of Deep Visual Features", ICLR 2022, section 3.

The vector concatenates, for several levels of an image network, the mean of the level's maps under the
mask. The mask is resized to the maps bilinearly and without antialiasing, as in the published program: a
mask smaller than a cell of the last levels may vanish there, and that part of the vector is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...harness.devices import full_precision
from ...harness.errors import InputError, nearest
from ...harness.fixed_batches import CPU_IMAGE_ROWS, fill

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pixels, per channel."""

_RESNET = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
_RESNET_LEVELS = ("conv1", "layer1", "layer2", "layer3", "layer4")
_ALEXNET = tuple(f"features.{i}" for i in range(12))
# The ReLU after each convolution works in place, so the outputs that the published program records for
# the convolutions are those of the ReLUs. A ResNet's conv1 is recorded before normalisation and ReLU.
_ALEXNET_LEVELS = ("features.1", "features.4", "features.7", "features.9", "features.11")
_MASKS = 8  # masks of one image that are pooled at once


class PyramidEncoder(nn.Module):
    """Computes one feature vector from an exemplar image and its mask.

    It shares the weights of the network, without those of its classifier.

    Args:
        network: a ResNet or AlexNet with torchvision's module names.
        name: name of the network in a checkpoint.
        mean: per-channel mean of the pixels in [0, 1] that the network was trained on.
        std: their standard deviation.

    Attributes:
        widths: units of every level, the lowest first; the vector has as many numbers as these together.

    Raises:
        InputError: if it is another network.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, name: str, mean: Sequence[float] = MEAN, std: Sequence[float] = STD
    ) -> None:
        super().__init__()
        self.name = name
        self._trunk, self._levels = _trunk_and_levels(network, name)
        self.widths = _widths(network, self._trunk, self._levels)
        used = dict.fromkeys(path.split(".")[0] for path in self._trunk)
        self.model = nn.ModuleDict({part: network.get_submodule(part) for part in used})
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        # Channels last: convolutions on CPUs are a fifth faster, and masks are applied without a copy.
        self.to(memory_format=torch.channels_last).eval().requires_grad_(False)

    @classmethod
    def named(cls, name: str) -> PyramidEncoder:
        """Returns the encoder over a network of torchvision, without weights (on the meta device).

        Raises:
            InputError: if torchvision has no such ResNet or AlexNet.
        """
        from torchvision import models

        families = ("resnet", "resnext", "wide_resnet", "alexnet")
        known = [n for n in models.list_models(models) if n.startswith(families)]
        if name not in known:
            hint = nearest(name, known) or f"torchvision has {', '.join(known)}"
            raise InputError(f"MILAN's encoder cannot be built over {name!r}", hint)
        with torch.device("meta"):
            return cls(models.get_model(name, weights=None), name)

    @property
    def size(self) -> int:
        """Length of the feature vector."""
        return sum(self.widths)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Returns the maps of every level, [n, width, h, w], for images [n, 3, H, W] in [0, 1]."""
        values = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        levels = []
        for name in self._trunk:  # no module after a level changes the level's maps in place
            values = self.model.get_submodule(name)(values)
            if name in self._levels:
                levels.append(values)
        return levels

    def encode(
        self,
        images: NDArray[np.uint8],
        masks: NDArray[np.uint8] | None = None,
        ids: NDArray[np.int64] | None = None,
        *,
        block: int = CPU_IMAGE_ROWS,
    ) -> NDArray[np.float32]:
        """Encodes the exemplars of units; the network processes each distinct image once.

        A vector depends on its own image and mask only, not on what else is encoded. Arrays may be
        memory-mapped: one block of images and masks is read at a time.

        Args:
            images: uint8 [units, count, 3, H, W], RGB.
            masks: 0 or 1, [units, count, 1, H, W]; None: whole images.
            ids: [units, count]: exemplars with the same id have the same image; None: all differ.
            block: images that the network processes at once.

        Returns:
            float32 [units, count, size].
        """
        units, count = images.shape[:2]
        if masks is None:
            masks = np.ones((1, 1, 1, 1, 1), np.uint8)
        masks = np.broadcast_to(masks, (units, count, *masks.shape[2:]))
        vectors = np.empty((units, count, self.size), np.float32)
        distinct = _positions_by_id(np.arange(units * count) if ids is None else np.asarray(ids).ravel())
        for start in range(0, len(distinct), block):
            chosen = distinct[start : start + block]
            pixels = [images[divmod(int(positions[0]), count)] for positions in chosen]
            of_each = [masks[np.divmod(positions, count)][:, 0] for positions in chosen]
            where = np.divmod(np.concatenate(chosen), count)
            vectors[where] = self.encode_shared(pixels, of_each, block=block)
        return vectors

    @torch.inference_mode()
    def encode_shared(
        self,
        images: Sequence[NDArray[np.uint8]],
        masks: Sequence[NDArray[np.uint8]],
        *,
        block: int = CPU_IMAGE_ROWS,
    ) -> NDArray[np.float32]:
        """Encodes images with several masks each.

        Args:
            images: uint8 [3, H, W] each.
            masks: 0 or 1, [masks, H, W] for each image.
            block: images that the network processes at once.

        Returns:
            float32 [masks of all images, size], in order.
        """
        device = self.mean.device
        vectors = []
        for start in range(0, len(images), block):
            pixels = fill(torch.from_numpy(np.stack(images[start : start + block])), block)
            with full_precision(device):
                levels = self.maps(pixels.to(device).float() / 255)
            for row, of_image in enumerate(masks[start : start + block]):
                for first in range(0, len(of_image), _MASKS):
                    some = torch.from_numpy(np.ascontiguousarray(of_image[first : first + _MASKS]))
                    weights = fill(some[:, None], _MASKS).to(device).float()
                    pooled = torch.cat([_pool(level[row], weights) for level in levels], dim=1)
                    vectors.append(pooled[: len(some)].cpu().numpy())
        return np.concatenate(vectors)


def _pool(maps: Tensor, masks: Tensor) -> Tensor:
    """Returns [n, width]: means of `maps` [width, h, w] under each of the masks [n, 1, H, W]."""
    weights = functional.interpolate(masks, maps.shape[1:], mode="bilinear", align_corners=False)
    weights = weights.flatten(1)
    total = weights.sum(dim=1, keepdim=True)
    return weights.div(total.where(total > 0, 1.0)) @ maps.flatten(1).T


def _positions_by_id(ids: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Returns the positions of every distinct id."""
    _, counts = np.unique(ids, return_counts=True)
    return np.split(np.argsort(ids, kind="stable"), np.cumsum(counts)[:-1])


def _trunk_and_levels(network: nn.Module, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the paths of the modules that run in sequence, and those whose outputs are levels."""
    modules = dict(network.named_modules())
    for trunk, levels in ((_RESNET, _RESNET_LEVELS), (_ALEXNET, _ALEXNET_LEVELS)):
        if all(path in modules for path in trunk):
            return trunk, levels
    raise InputError(
        f"MILAN's encoder cannot be built over {name!r}",
        "it needs a ResNet or AlexNet with the module names of torchvision",
    )


def _widths(network: nn.Module, trunk: Sequence[str], levels: Sequence[str]) -> tuple[int, ...]:
    """Returns the number of units of each level: those of the last convolution up to it."""
    widths, width = [], 0
    for path in trunk:
        convolutions = [m for m in network.get_submodule(path).modules() if isinstance(m, nn.Conv2d)]
        width = convolutions[-1].out_channels if convolutions else width
        if path in levels:
            widths.append(width)
    return tuple(widths)
