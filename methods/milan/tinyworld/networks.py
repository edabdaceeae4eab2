"""Networks of the embedded world, none of which it brings along: MILAN learns from their units.

They differ from the embedded classifier, and from each other, in their weights, their architecture or in
what they were trained to tell.
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

Subject = Literal["words", "objects", "colours", "textures", "scenes"]

LAYERS = ("layer1", "layer2", "layer3", "layer4", "fc")
_BATCH, _PEAK_RATE, _WEIGHT_DECAY = 64, 3e-3, 0.02
_VISIBLE = 0.01  # share of a picture that shows a word, for the picture to show it
_MEAN, _STD = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))


@dataclass(frozen=True)
class Course:
    """How a network came to be.

    Attributes:
        name: what the network is called.
        subject: what it learnt to tell: all words that a picture shows, or its main object, the colour
            or the texture of that, or its scene.
        width: units of the first layer of a plain convolutional network; None: a `TinyResNet`.
        seed: of its first weights and of the order of pictures.
        epochs: how often it saw each picture.
    """

    name: str
    subject: Subject
    width: int | None
    seed: int
    epochs: int = 5

    @property
    def told(self) -> str:
        """The network in words."""
        what = {
            "words": "every word that a picture shows",
            "objects": "the main object",
            "colours": "the colour of the main object",
            "textures": "the texture of the main object",
            "scenes": "the scene",
        }[self.subject]
        kind = "a bottleneck ResNet" if self.width is None else f"four convolutions, {self.width} wide"
        return f"{kind}, learnt to tell {what}, {self.epochs} epochs, seed {self.seed}"


class PlainNet(nn.Sequential):
    """Four convolutions and a linear layer, called layer1 ... layer4 and fc.

    Maps of a picture of 96 x 96 are 48 x 48, 24 x 24, 12 x 12 and 6 x 6.

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
            self.append_as(f"layer{number}", convolution, nn.BatchNorm2d(after), nn.ReLU())
            self.append_as(f"pool{number}", nn.MaxPool2d(2) if number < 4 else nn.AdaptiveAvgPool2d(1))
        self.add_module("flat", nn.Flatten())
        self.add_module("fc", nn.Linear(widths[-1], outputs))

    def append_as(self, name: str, *modules: nn.Module) -> None:
        """Puts modules behind those that are there."""
        self.add_module(name, nn.Sequential(*modules))


def trained(course: Course, shown: ImageSet, folder: Path, progress: Progress) -> Target:
    """Returns the network of a course; it is trained once and kept in a folder."""
    answers = _answers(course.subject, shown)
    outputs = answers.shape[1] if answers.ndim == 2 else int(answers.max()) + 1
    with torch.random.fork_rng():  # torch's initialisers know no other generator
        torch.manual_seed(course.seed)
        network = TinyResNet(outputs) if course.width is None else PlainNet(course.width, outputs)
    path = folder / f"{course.name}-{fingerprint([asdict(course), len(shown.pixels)])[:16]}.safetensors"
    if not path.is_file():
        _learn(network.to(memory_format=torch.channels_last), course, shown, answers, progress)
        with atomic_path(path) as temporary:
            save_file(
                {name: value.contiguous() for name, value in network.state_dict().items()}, temporary
            )
    network.load_state_dict(load_file(path))
    preprocess = partial(prepare, size=SIZE, mean=MEAN, std=STD)
    return Target.of(course.name, network, preprocess, device="cpu", example_size=(SIZE, SIZE))


def _answers(subject: Subject, shown: ImageSet) -> NDArray[np.int64] | NDArray[np.float32]:
    """Returns int64 [n], the right one of several answers, or for words float32 [n, words], 0 or 1."""
    if subject == "words":
        return (shown.areas[:, 1 : len(WORDS) + 1] > _VISIBLE).astype(np.float32)
    mains = [spec.main for spec in shown.specs]
    names, right = {
        "objects": (list(OBJECTS), [main.kind for main in mains]),
        "colours": (list(COLOURS), [main.colour for main in mains]),
        "textures": (["", *TEXTURES], [main.texture or "" for main in mains]),
        "scenes": (list(SCENES), [spec.scene for spec in shown.specs]),
    }[subject]
    return np.array([names.index(name) for name in right], np.int64)


def _learn(
    network: nn.Module,
    course: Course,
    shown: ImageSet,
    answers: NDArray[np.int64] | NDArray[np.float32],
    progress: Progress,
) -> None:
    """Trains a network, in place, with AdamW."""
    generator = torch.Generator().manual_seed(course.seed)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=_WEIGHT_DECAY)
    targets = torch.from_numpy(answers)
    loss_of = functional.cross_entropy if targets.ndim == 1 else _every_word
    steps, step = course.epochs * (len(targets) // _BATCH), 0
    with progress.task(f"training the network {course.name}", course.epochs) as done:
        for _ in range(course.epochs):
            for chosen in batches(len(targets), _BATCH, generator):
                optimizer.param_groups[0]["lr"] = learning_rate(step, steps, _PEAK_RATE)
                pixels = (augment(shown.pixels[chosen.numpy()], generator) - _MEAN) / _STD
                optimizer.zero_grad()
                loss_of(network(pixels), targets[chosen]).backward()
                optimizer.step()
                step += 1
            done()


def _every_word(found: Tensor, true: Tensor) -> Tensor:
    """Mean loss over pictures of the sum over words; the mean over words would hardly move a weight."""
    return functional.binary_cross_entropy_with_logits(found, true, reduction="sum") / len(found)
