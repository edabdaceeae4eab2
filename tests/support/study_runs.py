"""Runs a few units of tinyworld, for tests that design studies."""

from __future__ import annotations

from pathlib import Path

from dissectbench.harness import FinishedRun, compose, run

METHODS = ("network_dissection", "clip_dissect")


def small_run(runs: Path, name: str = "small", *settings: str) -> FinishedRun:
    """Describes eight units of two layers by two methods, on 120 images."""
    return run(
        compose(
            [
                *(f"name={name}", "probe.images=120", f"method=[{','.join(METHODS)}]", "metric=[]"),
                *("layers=[layer4,fc]", "units=8", "report=false", "activations.quantile_tail=0.05"),
                *settings,
            ]
        ),
        runs=runs,
    )
