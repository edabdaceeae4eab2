"""Peak memory of the pass for 2,000 and for 20,000 images: it must not grow with them.

Everything that is kept of 20,000 images here takes about 180 MB on the disk, ten times that of 2,000.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

BOUND = 1.05
COUNTS = (2_000, 20_000)

SHOW = """
import json, resource, sys, tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dissectbench.datasets.probing_set import ProbingSet
from dissectbench.harness.activations import ActivationSettings, probe_layers
from dissectbench.harness.cache import Cache
from dissectbench.harness.targets import Target


class Noise(ProbingSet):
    name = "noise"

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def image(self, index):
        pixels = np.random.default_rng(index).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    def locate(self, index):
        return f"noise {index}"

    def fingerprint(self):
        return f"noise {self.count}"


class Look:
    def __call__(self, image):
        return torch.from_numpy(np.asarray(image, np.float32).transpose(2, 0, 1) / 255)


torch.set_num_threads(1)
torch.manual_seed(0)
network = torch.nn.Sequential(
    torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(4), torch.nn.Flatten(),
    torch.nn.Linear(800, 1024),
)
target = Target.of(network, Look(), name="small", device="cpu", example_size=(24, 24))
with tempfile.TemporaryDirectory() as folder:
    probe_layers(
        target, Noise(int(sys.argv[1])), ["1", "4"], store=Path(folder), cache=Cache(folder),
        settings=ActivationSettings(tail_budget_gb=0.02),
    )
    size = sum(path.stat().st_size for path in Path(folder).glob("*/*.npy"))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"peak_mb": round(peak / 1e6, 1), "stored_mb": round(size / 1e6, 1)}))
"""


def show(count: int) -> dict[str, float]:
    """Returns the peak memory of a process that shows `count` images, and what it stored."""
    command = [sys.executable, "-c", SHOW, str(count)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def run() -> dict[str, Any]:
    """Measures."""
    few, many = (show(count) for count in COUNTS)
    ratio = many["peak_mb"] / few["peak_mb"]
    return {
        "name": "peak memory of the pass, 20,000 / 2,000 images",
        "ratio": round(ratio, 3),
        "bound": BOUND,
        "ok": ratio <= BOUND,
        "details": {str(count): seen for count, seen in zip(COUNTS, (few, many), strict=True)},
    }


if __name__ == "__main__":
    print(json.dumps(run()))
