"""A tiny encoder, tiny training settings, and exemplars of one colour per unit."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from dissectbench.methods.milan.encoder import PyramidEncoder
from dissectbench.methods.milan.language_model import LanguageModelSizes
from dissectbench.methods.milan.settings import DecodingSettings
from dissectbench.methods.milan.training.dataset import AnnotatedExemplars, open_annotated
from dissectbench.methods.milan.training.fitting import FitSettings, seeded
from dissectbench.methods.milan.training.train import TrainingSettings

COLOURS = {"red": (230, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 230), "white": (240, 240, 240)}
COUNT, SIZE = 3, 16
FIT = FitSettings(batch=16, epochs=4, learning_rate=1e-2)
TINY = TrainingSettings(
    embedding=8,
    hidden=24,
    attention=16,
    dropout=0.2,
    language_model=LanguageModelSizes(8, 16, 2, 0.2),
    decoding=DecodingSettings("rerank", length=6, beam=5),
    fit_decoder=FIT,
    fit_language_model=FIT,
    hold_out=0.2,
)


class TinyNetwork(nn.Module):
    """A small network with the module names of a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 6, 3, 2, 1), nn.Identity(), nn.ReLU()
        self.maxpool = nn.MaxPool2d(2)
        for number in range(1, 5):
            convolution = nn.Conv2d(6 if number == 1 else 4, 4, 3, 1, 1)
            setattr(self, f"layer{number}", nn.Sequential(convolution, nn.ReLU()))


def tiny_encoder(seed: int = 0) -> PyramidEncoder:
    """Returns an encoder with random weights and vectors of 22 numbers."""
    with seeded(torch.device("cpu"), seed, "tiny"):
        return PyramidEncoder(TinyNetwork(), "tiny")


def write_exemplars(folder: Path, images: np.ndarray, masks: np.ndarray, ids: np.ndarray) -> None:
    """Writes the exemplars of a layer in the published layout."""
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", images.astype(np.uint8))
    np.save(folder / "masks.npy", masks.astype(np.uint8))
    np.savetxt(folder / "ids.csv", ids, fmt="%d", delimiter=",")


def colour_exemplars(folder: Path) -> AnnotatedExemplars:
    """Writes exemplars of one colour per unit, in two layers, and opens them."""
    rng = np.random.default_rng(0)
    rows, names = ["layer,unit,summary"], list(COLOURS)
    for layer, n in (("conv1", 21), ("conv2", 18)):
        classes = rng.integers(0, 4, n)
        plain = np.array([COLOURS[names[c]] for c in classes])[:, None, :, None, None]
        noise = rng.integers(-25, 26, (n, COUNT, 3, SIZE, SIZE))
        masks = np.ones((n, COUNT, 1, SIZE, SIZE))
        ids = rng.integers(0, 99, (n, COUNT))
        write_exemplars(folder / layer, np.clip(plain + noise, 0, 255), masks, ids)
        rows += [f"{layer},{u},{names[c]} things" for u, c in enumerate(classes) for _ in range(3)]
    (folder / "annotations.csv").write_text("\n".join(rows) + "\n")
    return open_annotated(folder)
