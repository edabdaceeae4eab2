"""Repeats simulated correlation studies and compares estimators with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dissectbench.results.studies.correlation import simulation


@dataclass(frozen=True)
class Outcome:
    """Estimates of repeated studies.

    Attributes:
        errors: float64 [studies, truths], estimate minus truth.
        covered: bool [studies, truths], whether the interval contains the truth; None without intervals.
    """

    errors: NDArray[np.float64]
    covered: NDArray[np.bool_] | None = None

    @property
    def bias(self) -> float:
        """Mean error."""
        return float(self.errors.mean())

    @property
    def deviations(self) -> NDArray[np.float64]:
        """Standard deviation over studies, [truths]: the true standard errors."""
        return self.errors.std(axis=0)

    @property
    def rmse(self) -> float:
        """Root mean squared error."""
        return float(np.sqrt((self.errors**2).mean()))

    @property
    def coverage(self) -> float:
        """Share of intervals that contain the truth."""
        assert self.covered is not None
        return float(self.covered.mean())

    def summary(self) -> dict[str, float | None]:
        """Numbers for tables."""
        of_truths = self.errors.mean(axis=0)
        return {
            "bias": self.bias,
            "largest_bias": float(of_truths[np.abs(of_truths).argmax()]),
            "error": float(self.deviations.mean()),
            "rmse": self.rmse,
            "coverage": None if self.covered is None else self.coverage,
        }


def compared(
    truths: Sequence[simulation.Truth], plan: simulation.Plan, studies: int, seed: int = 0
) -> dict[str, Outcome]:
    """Simulates studies of all truths; returns the outcomes of three estimators."""
    true = np.array([truth.correlation for truth in truths])
    errors: dict[str, list] = {"recommended": [], "posterior": [], "majority": []}
    covered = []
    for number in range(studies):
        study = simulation.simulated(truths, plan, np.random.default_rng([seed, number]))
        found = simulation.recommended(study)
        covered.append([c.low <= t <= c.high for c, t in zip(found, true, strict=True)])
        errors["recommended"].append([c.value for c in found])
        # As published: one error rate of 23 %, and the guess as the prior.
        errors["posterior"].append(simulation.plugged_in(study, simulation.posterior(study, 0.23)))
        errors["majority"].append(simulation.plugged_in(study, simulation.majority(study)))
    return {
        name: Outcome(np.array(rows) - true, np.array(covered) if name == "recommended" else None)
        for name, rows in errors.items()
    }
