"""The pass over the images against the bare forward loop over the same loader: five ResNet-50 layers."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

BOUND = 1.10
IMAGES = 96
REPEATS = 3
LAYERS = ["conv1", "layer1", "layer2", "layer3", "layer4"]


def write_pictures(folder: Path, count: int) -> None:
    """Writes JPEGs of about ImageNet's size; no two are alike."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:04}.jpg", quality=90)


def resnet50() -> Any:
    """Returns ResNet-50 with random weights and the preprocessing of ImageNet."""
    import torch
    import torchvision

    from dissectbench.harness.targets.target import Target

    torch.manual_seed(0)
    model = torchvision.models.resnet50()
    look = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    return Target.of(model, look, name="resnet50", device="cpu")


def bare_loop(target: Any, probe: Any) -> None:
    """The whole forward pass of every image, without hooks and without keeping anything."""
    import torch

    from dissectbench.harness.activations.batches import block_size, load

    size = block_size(target, 64)
    batches = [range(start, min(start + size, len(probe))) for start in range(0, len(probe), size)]
    with torch.no_grad():
        for block in load(probe, target, batches, size):
            target.model(block.inputs)


@contextmanager
def no_tail() -> Iterator[None]:
    """Lets the pass keep pooled values alone."""
    from dissectbench.harness.activations import layer_writer

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(layer_writer.Tail, "add"))
        stack.enter_context(mock.patch.object(layer_writer.Tail, "finish"))
        stack.enter_context(mock.patch.object(layer_writer, "array_entry", return_value={}))
        yield


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run() -> dict[str, Any]:
    """Measures; the ratio is that of the fastest repetitions, which the machine disturbed least."""
    import torch

    from dissectbench.datasets.image_folders import FlatFolder
    from dissectbench.harness.activations.forward_pass import probe_layers
    from dissectbench.harness.cache import Cache

    torch.set_num_threads(2)
    target, bare, whole, without = resnet50(), [], [], []
    target.fingerprint()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder, IMAGES)
        probe = FlatFolder(folder)

        def show(store: str) -> None:
            probe_layers(target, probe, LAYERS, store=folder / store, cache=Cache(folder / "cache"))

        for repeat in range(REPEATS):
            bare.append(timed(lambda: bare_loop(target, probe)))
            whole.append(timed(lambda repeat=repeat: show(f"whole{repeat}")))
            with no_tail():
                without.append(timed(lambda repeat=repeat: show(f"without{repeat}")))
    ratio = min(whole) / min(bare)
    details = {
        "images": IMAGES,
        "layers": LAYERS,
        "bare_s": [round(seconds, 2) for seconds in bare],
        "pass_s": [round(seconds, 2) for seconds in whole],
        "median_ratio": round(float(np.median(np.array(whole) / np.array(bare))), 3),
        "share_of_the_tail": round((min(whole) - min(without)) / min(bare), 3),
    }
    return {
        "name": "pass over the images / bare forward loop, five ResNet-50 layers",
        "ratio": round(ratio, 3),
        "bound": BOUND,
        "ok": ratio <= BOUND,
        "details": details,
    }


if __name__ == "__main__":
    print(json.dumps(run()))
