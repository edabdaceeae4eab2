"""Trains small networks on tinyworld; their units are the training data of tinyworld's MILAN.

They differ from tinyworld's own classifier, and from each other, in weights, architecture or training
task, so that MILAN is never trained on units of the network that it describes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from ....datasets.tinyworld.canvas import SIZE
from ....datasets.tinyworld.networks import MEAN, STD, TinyResNet, prepare
from ....datasets.tinyworld.training.images import ImageSet
from ....datasets.tinyworld.training.loops import augment, batches, learning_rate
from ....datasets.tinyworld.words import COLOURS, OBJECTS, SCENES, TEXTURES, WORDS
from ....harness.files import atomic_path, fingerprint
from ....harness.progress import Progress
from ....harness.targets.target import Target

Task = Literal["words", "objects", "colours", "textures", "scenes"]

LAYERS = ("layer1", "layer2", "layer3", "layer4", "fc")
_BATCH, _PEAK_RATE, _WEIGHT_DECAY = 64, 3e-3, 0.02
_VISIBLE = 0.01  # a word is a label of an image if it covers this share of the pixels
_MEAN, _STD = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))


@dataclass(frozen=True)
class NetworkSpec:
    """Architecture and training of a network.

    Attributes:
        name: of the network.
        task: what it is trained to recognise: all words that an image shows, its main object, the
            colour or the texture of that object, or the scene.
        width: units of the first layer of a `PlainNet`; None: the network is a `TinyResNet`.
        seed: of the initial weights and of the order of the images.
        epochs: passes over the training images.
    """

    name: str
    task: Task
    width: int | None
    seed: int
    epochs: int = 5

    @property
    def summary(self) -> str:
        """The network in words, for the model card."""
        task = {
            "words": "every word that an image shows",
            "objects": "the main object",
            "colours": "the colour of the main object",
            "textures": "the texture of the main object",
            "scenes": "the scene",
        }[self.task]
        kind = "a bottleneck ResNet" if self.width is None else f"four convolutions, {self.width} wide"
        return f"{kind}, trained to recognise {task}, {self.epochs} epochs, seed {self.seed}"


ENCODER = "tinyworld-resnet"
"""Name of tinyworld's classifier, the network of MILAN's encoder."""

TRAINING_NETWORKS = (
    NetworkSpec("objects-plain", "objects", 32, 11, epochs=6),
    NetworkSpec("objects-narrow", "objects", 16, 14, epochs=6),
    NetworkSpec("colours-plain", "colours", 16, 13, epochs=6),
    NetworkSpec("textures-plain", "textures", 16, 15, epochs=6),
    NetworkSpec("words-resnet", "words", None, 12, epochs=4),
)
HELD_OUT = NetworkSpec("objects-resnet", "objects", None, 16, epochs=6)
"""MILAN is trained on none of its units, nor does it use it as its encoder."""


class PlainNet(nn.Sequential):
    """Four convolutional layers and a linear layer, called layer1 ... layer4 and fc.

    Maps of an image of 96 x 96 pixels are 48 x 48, 24 x 24, 12 x 12 and 6 x 6.

    Args:
        width: units of layer1; the others have 2, 4 and 4 times as many.
        outputs: units of fc.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 4 * width)
        for number, (before, after) in enumerate(pairwise(widths), 1):
            kernel, stride = (7, 2) if number == 1 else (3, 1)
            convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
            layer = nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())
            pool = nn.MaxPool2d(2) if number < 4 else nn.AdaptiveAvgPool2d(1)
            self.add_module(f"layer{number}", layer)
            self.add_module(f"pool{number}", nn.Sequential(pool))
        self.add_module("flat", nn.Flatten())
        self.add_module("fc", nn.Linear(widths[-1], outputs))


def trained_network(spec: NetworkSpec, images: ImageSet, folder: Path, progress: Progress) -> Target:
    """Returns the trained network; its weights are kept in `folder` and read from there next time."""
    labels = _labels(spec.task, images)
    outputs = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    with torch.random.fork_rng():  # torch's initialisers draw from the global generator only
        torch.manual_seed(spec.seed)
        network = TinyResNet(outputs) if spec.width is None else PlainNet(spec.width, outputs)
    path = folder / f"{spec.name}-{fingerprint([asdict(spec), len(images.pixels)])[:16]}.safetensors"
    if not path.is_file():
        _train(network.to(memory_format=torch.channels_last), spec, images, labels, progress)
        with atomic_path(path) as temporary:
            save_file(
                {name: value.contiguous() for name, value in network.state_dict().items()}, temporary
            )
    network.load_state_dict(load_file(path))
    preprocess = partial(prepare, size=SIZE, mean=MEAN, std=STD)
    return Target.of(network, preprocess, name=spec.name, device="cpu", example_size=(SIZE, SIZE))


def _labels(task: Task, images: ImageSet) -> NDArray[np.int64] | NDArray[np.float32]:
    """Returns the class of each image, int64 [n]; for words their presence, float32 [n, words]."""
    if task == "words":
        return (images.areas[:, 1 : len(WORDS) + 1] > _VISIBLE).astype(np.float32)
    mains = [spec.main for spec in images.specs]
    classes, labels = {
        "objects": (list(OBJECTS), [main.kind for main in mains]),
        "colours": (list(COLOURS), [main.colour for main in mains]),
        "textures": (["", *TEXTURES], [main.texture or "" for main in mains]),
        "scenes": (list(SCENES), [spec.scene for spec in images.specs]),
    }[task]
    return np.array([classes.index(label) for label in labels], np.int64)


def _train(
    network: nn.Module,
    spec: NetworkSpec,
    images: ImageSet,
    labels: NDArray[np.int64] | NDArray[np.float32],
    progress: Progress,
) -> None:
    """Trains a network in place, with AdamW."""
    generator = torch.Generator().manual_seed(spec.seed)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=_WEIGHT_DECAY)
    targets = torch.from_numpy(labels)
    loss_of = functional.cross_entropy if targets.ndim == 1 else _words_loss
    steps, step = spec.epochs * (len(targets) // _BATCH), 0
    with progress.task(f"training the network {spec.name}", spec.epochs) as advance:
        for _ in range(spec.epochs):
            for chosen in batches(len(targets), _BATCH, generator):
                optimizer.param_groups[0]["lr"] = learning_rate(step, steps, _PEAK_RATE)
                pixels = (augment(images.pixels[chosen.numpy()], generator) - _MEAN) / _STD
                optimizer.zero_grad()
                loss_of(network(pixels), targets[chosen]).backward()
                optimizer.step()
                step += 1
            advance()


def _words_loss(predictions: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy, summed over words: a mean over words makes the gradients very small."""
    loss = functional.binary_cross_entropy_with_logits(predictions, labels, reduction="sum")
    return loss / len(predictions)
