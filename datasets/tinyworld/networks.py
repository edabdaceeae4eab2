"""The classifier trained on tinyworld, its preprocessing, and the folder of all trained weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from .canvas import SIZE
from .words import OBJECTS

if TYPE_CHECKING:
    from PIL.Image import Image

WEIGHTS = Path(__file__).parent / "weights"
# Of tinyworld's images, by channel.
MEAN, STD = (0.42, 0.42, 0.40), (0.33, 0.33, 0.36)


class TinyResNet(ResNet):
    """torchvision's bottleneck ResNet with a quarter of the width and two blocks per stage.

    Module names and block structure are torchvision's (conv1, bn1, relu, maxpool, layer1 ... layer4,
    avgpool, fc); channels: conv1 16, layer1 64, layer2 128, layer3 256, layer4 512. The last stage is
    dilated instead of strided, so that its maps are 6 x 6 for an image of 96 x 96.
    """

    def __init__(self, num_classes: int = len(OBJECTS)) -> None:
        # torchvision's constructor has fixed widths: every module with parameters is replaced below, so
        # none needs memory or random numbers here.
        with torch.device("meta"):
            super().__init__(Bottleneck, [1, 1, 1, 1])
        # _make_layer reads and updates both; the constructor left the values of its own last stage.
        self.inplanes, self.dilation = 16, 1
        self.conv1 = nn.Conv2d(3, 16, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._make_layer(Bottleneck, 16, 2)
        self.layer2 = self._make_layer(Bottleneck, 32, 2, stride=2)
        self.layer3 = self._make_layer(Bottleneck, 64, 2, stride=2)
        self.layer4 = self._make_layer(Bottleneck, 128, 2, stride=2, dilate=True)
        self.fc = nn.Linear(512, num_classes)
        # The constructor initialised modules that are replaced now; this is its rule for convolutions.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def prepare(
    image: Image, size: int, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> torch.Tensor:
    """Returns an image, resized if necessary, as a normalised float32 tensor [3, size, size]."""
    image = image.convert("RGB")
    if image.size != (size, size):
        image = image.resize((size, size))
    pixels = np.asarray(image, np.float32) / 255
    normalised = (pixels - np.array(mean, np.float32)) / np.array(std, np.float32)
    return torch.from_numpy(normalised.transpose(2, 0, 1).copy())


def resnet() -> tuple[nn.Module, Callable[[Image], torch.Tensor]]:
    """Returns the trained classifier of the 18 objects, in evaluation mode, and its preprocessing."""
    model = TinyResNet()
    model.load_state_dict(load_file(WEIGHTS / "resnet" / "model.safetensors"))
    return model.eval(), partial(prepare, size=SIZE, mean=MEAN, std=STD)
