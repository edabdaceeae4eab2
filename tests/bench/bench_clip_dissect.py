"""Compares soft-WPMI of 2048 units, 20,000 concepts and 10,000 images with the original procedure.

The original loops over the units: it gathers the 100 rows of the softmax that belong to the unit's most
activating images, takes the logarithm of each entry and sums them. The loop costs the same for every
unit. It is timed on two numbers of units, to show that the time is proportional, and extrapolated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from dissectbench.methods.clip_dissect.similarity import soft_wpmi

IMAGES, UNITS, CONCEPTS = 10_000, 2048, 20_000
FEW, MANY = 16, 64  # units on which the original procedure is timed
REPEATS = 3
BOUND = 5.0
MEMORY_BOUND_GB = 2.0


def inputs() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns activations [images, units] and cosines [images, concepts] in the range of CLIP's."""
    rng = np.random.default_rng(0)
    activations = rng.standard_normal((IMAGES, UNITS), dtype=np.float32)
    cosines = np.empty((IMAGES, CONCEPTS), np.float32)
    for row in cosines:
        rng.standard_normal(out=row, dtype=np.float32)
        row *= 0.03
        row += 0.2
    return activations, cosines


def original(cosines: NDArray[np.float32], activations: NDArray[np.float32]) -> dict[str, Any]:
    """Returns wall and CPU seconds of the two parts of the original procedure, and the scores."""
    start = clock()
    p = torch.softmax(10 * torch.from_numpy(cosines), dim=1)
    softmax = clock() - start
    membership = (0.998 - torch.arange(100) / 100 * (0.998 - 0.97)).unsqueeze(1)
    start = clock()
    sums = torch.empty(activations.shape[1], cosines.shape[1])
    for unit, values in enumerate(activations.T):
        images = torch.from_numpy(values.copy()).topk(100).indices
        sums[unit] = torch.log(1 + membership * (p[images] - 1) + 1e-7).sum(dim=0)
    scores = sums - (torch.logsumexp(sums, dim=0) - np.log(len(sums)))
    return {"softmax": softmax, "loop": clock() - start, "scores": scores.numpy()}


def clock() -> NDArray[np.float64]:
    """Returns wall and CPU seconds; CPU seconds depend little on other processes."""
    return np.array([time.perf_counter(), time.process_time()])


def compare() -> dict[str, Any]:
    """Times both alternately and takes the minima, so that other processes affect both equally."""
    torch.set_num_threads(2)
    activations, cosines = inputs()
    fast, softmax, few, many = [], [], [], []
    scores = np.empty(0)
    for _ in range(REPEATS):
        start = clock()
        soft_wpmi(activations, cosines)
        fast.append(clock() - start)
        few.append(original(cosines, activations[:, :FEW])["loop"] / FEW)
        result = original(cosines, activations[:, :MANY])
        many.append(result["loop"] / MANY)
        softmax.append(result["softmax"])
        scores = result["scores"]
    difference = np.abs(scores - soft_wpmi(activations[:, :MANY], cosines).scores).max()
    (wall, cpu), per_unit = np.min(fast, axis=0), np.min(many, axis=0)
    original_wall, original_cpu = np.min(softmax, axis=0) + per_unit * UNITS
    return {
        "seconds": round(wall, 2),
        "original_seconds": round(original_wall, 2),
        "cpu_seconds": round(cpu, 2),
        "original_cpu_seconds": round(original_cpu, 2),
        "original_timed_on_units": [FEW, MANY],
        "original_seconds_per_unit": [round(np.min(few, axis=0)[0], 4), round(per_unit[0], 4)],
        "largest_difference": float(difference),
    }


def memory() -> dict[str, float]:
    """Returns the increase of resident memory during the call in GB, sampled every 5 ms."""
    torch.set_num_threads(2)
    activations, cosines = inputs()
    soft_wpmi(activations[:200, :2], cosines[:200, :600])  # libraries that torch loads once
    process, peak, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def sample() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss)

    sampler = threading.Thread(target=sample)
    sampler.start()
    soft_wpmi(activations, cosines)
    done.set()
    sampler.join()
    return {"extra_gb": round((peak[0] - before) / 1e9, 3)}


def run() -> dict[str, Any]:
    """Runs both parts in separate processes, so that their memory does not overlap."""
    details = {}
    for part in ("compare", "memory"):
        command = [sys.executable, __file__, part]
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        details |= json.loads(done.stdout)
    ratio = details["original_seconds"] / details["seconds"]
    equal = details["largest_difference"] < 2e-3
    small = details["extra_gb"] < MEMORY_BOUND_GB
    return {
        "name": "soft-WPMI, 2048 units x 20k concepts x 10k images, against the loop over units",
        "ratio": round(ratio, 2),
        "bound": BOUND,
        "ok": bool(ratio >= BOUND and equal and small),
        "details": {**details, "extra_gb_bound": MEMORY_BOUND_GB},
    }


if __name__ == "__main__":
    parts = {"compare": compare, "memory": memory, "run": run}
    print(json.dumps(parts[sys.argv[1] if len(sys.argv) > 1 else "run"](), indent=2))
