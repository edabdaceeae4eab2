"""From an exemplar and its mask to one vector: what the levels of an image network see under the mask.

Hernandez et al., "Natural Language Descriptions of Deep Visual Features", ICLR 2022, section 3.

The vector holds, for every level of the network, the mean of its maps under the mask, which is resized
to the maps bilinearly and without antialiasing: a mask smaller than a cell of the last levels may vanish
there, and the vector is 0 where it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...harness.devices import full_precision
from ...harness.errors import InputError, nearest
from ...harness.fixed_blocks import CPU_BLOCK

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels, per channel."""

_RESNET = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
_RESNET_LEVELS = ("conv1", "layer1", "layer2", "layer3", "layer4")
_ALEXNET = tuple(f"features.{i}" for i in range(12))
# Behind each convolution's ReLU: it writes into the convolution's output, which is what the published
# features hold. A ResNet's first convolution is read before normalisation and ReLU.
_ALEXNET_LEVELS = ("features.1", "features.4", "features.7", "features.9", "features.11")
_MASKS = 8  # of one image, pooled at once


class Pictures(Protocol):
    """Pictures of exemplars, uint8 [units, k, 3, H, W]: an array, or what reads them when asked."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(units, k, 3, H, W)."""
        ...

    def __getitem__(self, place: tuple[int, int], /) -> Any:
        """Returns the picture of a unit's exemplar, uint8 [3, H, W]."""
        ...


@dataclass(frozen=True)
class Repeated:
    """A picture for each of many masks, [masks, 1, 3, H, W], held once where several masks share it.

    Attributes:
        pictures: the different ones, uint8 [3, H, W].
        which: int64 [masks], the picture of each.
    """

    pictures: Sequence[NDArray[np.uint8]]
    which: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Pictures`."""
        return len(self.which), 1, *self.pictures[0].shape

    def __getitem__(self, place: tuple[int, int]) -> NDArray[np.uint8]:
        """See `Pictures`."""
        return self.pictures[self.which[place[0]]]


class PyramidEncoder(nn.Module):
    """Makes one vector of an exemplar and its mask.

    It shares the weights of the network, without those of its classifier.

    Args:
        network: a ResNet or AlexNet with torchvision's module names.
        name: what the network is called in a checkpoint.
        mean: of the pixels in [0, 1] that the network was trained on, per channel.
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
        self._trunk, self._levels = _parts(network, name)
        self.widths = _widths(network, self._trunk, self._levels)
        used = dict.fromkeys(path.split(".")[0] for path in self._trunk)
        self.model = nn.ModuleDict({part: network.get_submodule(part) for part in used})
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        # Units last: convolutions on CPUs are a fifth faster, and a mask is pooled without a copy.
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
        """Length of the vector."""
        return sum(self.widths)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Returns the maps of every level, [n, width, h, w], for images [n, 3, H, W] in [0, 1]."""
        values = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        found = []
        for name in self._trunk:  # none of these writes into a level's maps
            values = self.model.get_submodule(name)(values)
            if name in self._levels:
                found.append(values)
        return found

    @torch.inference_mode()
    def encode(
        self,
        images: Pictures,
        masks: NDArray[np.uint8] | None = None,
        ids: NDArray[np.int64] | None = None,
        *,
        out: NDArray[np.float32] | None = None,
        block: int = CPU_BLOCK,
    ) -> NDArray[np.float32]:
        """Encodes the exemplars of units, showing the network each distinct picture once.

        A vector depends on its own picture and mask alone, not on what else is encoded. In memory are
        one block of pictures, with their maps, and `out`; arrays may be memory-mapped.

        Args:
            images: uint8 [units, k, 3, H, W], RGB.
            masks: 0 or 1, [units, k, 1, H, W]; None: whole pictures.
            ids: [units, k]: exemplars with the same id have the same picture; None: all differ.
            out: where the vectors go, float32 [units, k, size]; None: a new array.
            block: pictures shown to the network at once.

        Returns:
            float32 [units, k, size].
        """
        units, k = images.shape[:2]
        if masks is None:
            masks = np.ones((1, 1, 1, 1, 1), np.uint8)
        masks = np.broadcast_to(masks, (units, k, *masks.shape[2:]))
        if out is None:
            out = np.empty((units, k, self.size), np.float32)
        slots = _slots_by_picture(np.arange(units * k) if ids is None else np.asarray(ids).ravel())
        for begin in range(0, len(slots), block):
            chosen = slots[begin : begin + block]
            pictures = np.zeros((block, *images.shape[2:]), np.uint8)
            for row, same in enumerate(chosen):
                pictures[row] = images[divmod(int(same[0]), k)]
            self._encode_block(pictures, masks, chosen, out)
        return out

    def encode_shared(
        self, pictures: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]]
    ) -> NDArray[np.float32]:
        """Encodes some pictures with several masks each, [n, H, W]; returns [masks of all, size]."""
        which = np.repeat(np.arange(len(pictures)), [len(several) for several in masks])
        together = np.concatenate(masks)[:, None, None]
        return self.encode(Repeated(pictures, which), together, which[:, None])[:, 0]

    def _encode_block(
        self,
        pictures: NDArray[np.uint8],
        masks: NDArray[np.uint8],
        slots: Sequence[NDArray[np.int64]],
        out: NDArray[np.float32],
    ) -> None:
        k, device = masks.shape[1], self.mean.device
        with full_precision(device):
            levels = self.maps(torch.from_numpy(pictures).to(device).float() / 255)
        for row, same in enumerate(slots):
            for begin in range(0, len(same), _MASKS):
                where = np.divmod(same[begin : begin + _MASKS], k)
                some = np.zeros((_MASKS, *masks.shape[2:]), np.uint8)
                some[: len(where[0])] = masks[where]
                weights = torch.from_numpy(some).to(device).float()
                vectors = torch.cat([_pool(level[row], weights) for level in levels], dim=1)
                out[where] = vectors[: len(where[0])].cpu().numpy()


def _pool(maps: Tensor, masks: Tensor) -> Tensor:
    """Returns [n, width]: means of `maps` [width, h, w] under each of the masks [n, 1, H, W]."""
    weights = functional.interpolate(masks, maps.shape[1:], mode="bilinear", align_corners=False)
    weights = weights.flatten(1)
    total = weights.sum(dim=1, keepdim=True)
    return weights.div(total.where(total > 0, 1.0)) @ maps.flatten(1).T


def _slots_by_picture(ids: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Returns, for every distinct id, the positions where it stands."""
    _, counts = np.unique(ids, return_counts=True)
    return np.split(np.argsort(ids, kind="stable"), np.cumsum(counts)[:-1])


def _parts(network: nn.Module, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the paths of the modules that run one after the other, and which of them are levels."""
    modules = dict(network.named_modules())
    for trunk, levels in ((_RESNET, _RESNET_LEVELS), (_ALEXNET, _ALEXNET_LEVELS)):
        if all(path in modules for path in trunk):
            return trunk, levels
    raise InputError(
        f"MILAN's encoder cannot be built over {name!r}",
        "it takes a ResNet or AlexNet with the module names of torchvision",
    )


def _widths(network: nn.Module, trunk: Sequence[str], levels: Sequence[str]) -> tuple[int, ...]:
    """Returns the units of each level: those of the last convolution up to it."""
    widths, width = [], 0
    for path in trunk:
        convolutions = [m for m in network.get_submodule(path).modules() if isinstance(m, nn.Conv2d)]
        width = convolutions[-1].out_channels if convolutions else width
        if path in levels:
            widths.append(width)
    return tuple(widths)
