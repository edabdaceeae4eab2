"""Fixtures for the tests of activations: image files and a small target."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dissectbench.datasets.image_folders import FlatFolder
from dissectbench.datasets.probing_set import ProbingSet
from dissectbench.harness.activations import forward_pass
from dissectbench.harness.activations.forward_pass import probe_layers
from dissectbench.harness.activations.settings import ActivationSettings
from dissectbench.harness.activations.stored_layer import StoredLayer
from dissectbench.harness.cache import Cache


def _image(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    # Upscaled, so that convolutions respond to more than noise and JPEG keeps the content.
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """52 JPEGs of several sizes; 30 to 39 repeat 0 to 9, and 51 repeats 17."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(11)
    for number in range(51):
        path = folder / f"{number:03}.jpg"
        if 30 <= number < 40:
            path.write_bytes((folder / f"{number - 30:03}.jpg").read_bytes())
            continue
        size = [(80, 64), (64, 64), (64, 96)][number % 3]
        _image(rng, size).save(path, quality=92)
    (folder / "051.jpg").write_bytes((folder / "017.jpg").read_bytes())
    return folder


@pytest.fixture(scope="session")
def resnet() -> Callable[[], object]:
    """A function that makes the target: a ResNet-18 with seeded random weights, for 48 x 48 pixels."""
    import torch
    import torchvision
    from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

    from dissectbench.harness.targets.target import Target

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torchvision.models.resnet18()
    preprocess = Compose([Resize(48), CenterCrop(48), ToTensor(), Normalize([0.45] * 3, [0.25] * 3)])
    return lambda: Target.of(model, preprocess, name="resnet18", device="cpu", example_size=(48, 48))


class CountingFolder(FlatFolder):
    """Lists the images in the order in which they are decoded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.decoded: list[int] = []

    def image(self, index: int) -> Image.Image:
        self.decoded.append(index)
        return super().image(index)


@pytest.fixture
def counted(image_folder: Path) -> CountingFolder:
    """The images as a probing set that lists the decoded ones."""
    return CountingFolder(image_folder)


@pytest.fixture(scope="session")
def stored() -> Callable[..., dict[str, StoredLayer]]:
    """A function that computes and stores activations of a probing set."""

    def probe_all(target: Any, probe: ProbingSet, store: Path, layers: Any = None, **settings: Any):
        names = layers or ["conv1", "layer2", "layer4", "fc"]
        cache = Cache(store / "cache")
        options = ActivationSettings(**{"quantile_tail": 0.05, **settings})
        return probe_layers(target, probe, names, store=store, cache=cache, settings=options)

    return probe_all


@pytest.fixture(scope="session")
def content() -> Callable[[Path], dict[str, bytes]]:
    """A function that returns the bytes of every array in a store, by key and name."""

    def read(store: Path) -> dict[str, bytes]:
        files = sorted(store.glob("*/*.npy"))
        return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}

    return read


@pytest.fixture
def copied(image_folder: Path, tmp_path: Path) -> Path:
    """A copy of the images that a test may damage."""
    return Path(shutil.copytree(image_folder, tmp_path / "images"))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves the state of a pass after every block of 16 images."""
    monkeypatch.setattr(forward_pass, "SHARD", 16)
