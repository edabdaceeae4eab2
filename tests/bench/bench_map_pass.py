"""Measures whether Network Dissection's work is in proportion to the layers and units asked for.

Five layers in one run against five runs of one layer each: the run shows each image to the target twice
and decodes each annotation once, the five runs do so for each layer. And the tally of 2048 units against
that of 32: what remains is mostly finding the label patterns of the images, which any unit needs.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench_network_dissection import IMAGES, Labels, Unopened
from PIL import Image
from scipy.ndimage import gaussian_filter

from dissectbench.datasets.probing_set import ProbingSet
from dissectbench.harness.activations.forward_pass import probe_layers
from dissectbench.harness.activations.map_pass import run_map_pass
from dissectbench.harness.cache import Cache
from dissectbench.harness.probe import ArrayLayer, MapBatch
from dissectbench.harness.targets.target import Target
from dissectbench.methods.network_dissection.network_dissection import NetworkDissection
from dissectbench.methods.network_dissection.tally_pass import tally_layer

LAYERS = ("layer1", "layer2", "layer3", "layer4", "fc")
UNITS, ALL_UNITS = 32, 2048
LAYERS_BOUND, UNITS_BOUND = 2.0, 4.0
LAYERS_REPEATS, UNITS_REPEATS = 2, 10


class Photographs(ProbingSet):
    """JPEGs in memory, decoded whenever they are opened."""

    name = "photographs"

    def __init__(self, annotations: Labels) -> None:
        self.annotations = annotations
        rng, self._files = np.random.default_rng(1), []
        for _ in range(IMAGES):
            buffer = io.BytesIO()
            coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
            coarse.resize((400, 300), Image.Resampling.BICUBIC).save(buffer, "JPEG")
            self._files.append(buffer.getvalue())

    def __len__(self) -> int:
        return IMAGES

    def image(self, index: int) -> Image.Image:
        return Image.open(io.BytesIO(self._files[index])).convert("RGB")

    def locate(self, index: int) -> str:
        return str(index)

    def fingerprint(self) -> str:
        return "photographs"


class Uncopied(ArrayLayer):
    """Yields its maps as they are: copies would be most of the time that is measured."""

    def maps(self, images: Sequence[int] | None = None) -> Iterator[MapBatch]:
        del images
        yield MapBatch(np.arange(IMAGES), self._maps)


def _target() -> Target:
    import torch
    import torchvision
    from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

    torch.manual_seed(0)
    steps: Sequence[Any] = [Resize(128), CenterCrop(112), ToTensor(), Normalize([0.45] * 3, [0.25] * 3)]
    return Target.of(torchvision.models.resnet18(), Compose(steps), device="cpu")


def _describe(target: Target, probe: ProbingSet, names: Sequence[str]) -> None:
    """Does what a run does: the first pass, the second pass, and descriptions of some units."""
    method = NetworkDissection(0.005)
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder) / "cache")
        layers = probe_layers(target, probe, names, store=Path(folder), cache=cache).values()
        units = range(UNITS)
        run_map_pass([c for layer in layers for c in method.map_consumers(layer, units)])
        for layer in layers:
            list(method.describe(layer, units))


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def by_layers(annotations: Labels) -> dict[str, Any]:
    """Times one run of five layers and five runs of one layer, alternately."""
    target, probe = _target(), Photographs(annotations)
    _describe(target, probe, LAYERS)  # compiles the loops
    together = apart = np.inf
    for _ in range(LAYERS_REPEATS):
        together = min(together, _seconds(lambda: _describe(target, probe, LAYERS)))
        single = lambda: [_describe(target, probe, [name]) for name in LAYERS]  # noqa: E731
        apart = min(apart, _seconds(single))
    return _result(
        "network_dissection on five layers in one run against five runs",
        apart / together,
        LAYERS_BOUND,
        {"one_run_s": together, "five_runs_s": apart, "images": IMAGES, "units": UNITS},
    )


def by_units(annotations: Labels) -> dict[str, Any]:
    """Times the tally of all units and of some of them, alternately."""
    rng = np.random.default_rng(0)
    maps = gaussian_filter(rng.standard_normal((IMAGES, ALL_UNITS, 7, 7)), (0, 0, 1, 1))
    with tempfile.TemporaryDirectory() as folder:
        layer = Uncopied(maps.astype(np.float32), Unopened(annotations), Cache(folder))
        thresholds = layer.threshold(0.005)
        tally_layer(layer, thresholds, units=range(UNITS))
        some = every = np.inf
        for _ in range(UNITS_REPEATS):
            every = min(every, _seconds(lambda: tally_layer(layer, thresholds)))
            some = min(some, _seconds(lambda: tally_layer(layer, thresholds, units=range(UNITS))))
    return _result(
        f"network_dissection on {UNITS} of {ALL_UNITS} units against all",
        every / some,
        UNITS_BOUND,
        {f"units_{UNITS}_s": some, f"units_{ALL_UNITS}_s": every, "images": IMAGES},
    )


def _result(name: str, ratio: float, bound: float, details: dict[str, float]) -> dict[str, Any]:
    rounded = {key: round(value, 4) for key, value in details.items()}
    return {
        "name": name,
        "ratio": round(ratio, 2),
        "bound": bound,
        "ok": ratio >= bound,
        "details": rounded,
    }


if __name__ == "__main__":
    labels = Labels(np.random.default_rng(0))
    print(json.dumps([by_layers(labels), by_units(labels)]))
