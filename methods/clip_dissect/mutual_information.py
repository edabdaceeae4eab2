"""Mutual information of units and concepts: the computation that soft_wpmi and wpmi share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .activation_order import checked_cosines, dead_units, most_activating
from .concept_softmax import ConceptSoftmax
from .cosines import Cosines

LogSums = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From p [images, concepts] and the rows [units, k] of each unit's images to sums [units, concepts]."""

_INTERPOLATION_ERROR = 1e-5  # maximum error of one logarithm
_ROUNDINGS = 4  # in the computation of a score from L: of logsumexp, ln K, the weight and the difference
_MAX_POWERS = 5  # of one logarithm; more would need large coefficients of opposite signs


@dataclass(frozen=True)
class MutualInformation:
    """Parameters shared by the mutual-information functions.

    Attributes:
        top_k: number of a unit's most activating images.
        inverse_temperature: of the softmax over concepts (the paper's a).
        prior_weight: weight of the prior (the paper's lambda).
        population: units over which the prior is computed; None: all that are not dead.
    """

    top_k: int
    inverse_temperature: float
    prior_weight: float
    population: Sequence[int] | None

    def scores(
        self,
        activations: NDArray[np.floating],
        cosines: Cosines | NDArray[np.floating],
        log_sums_for: Callable[[float, float], LogSums],
        constant: float = 0.0,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64], float]:
        """Returns L - prior_weight * prior, with prior = logsumexp_k L_k - ln K over K units.

        Args:
            activations: [images, units].
            cosines: P, an array or `Cosines`.
            log_sums_for: from the range of ln p to the function that computes L without `constant`.
            constant: added to L of every unit and concept.

        Returns:
            float32 [units, concepts] scores, 0 for dead units; bool [units] which are dead; int64, the
            units of the population; and the largest difference of two scores that rounding may cause.

        Raises:
            ValueError: if shapes disagree, values are not finite, or a parameter is out of range.
        """
        cosines = checked_cosines(activations, cosines)
        top, dead = most_activating(activations, self.top_k), dead_units(activations)
        scores = np.zeros((len(top), cosines.shape[1]), np.float32)
        population = self._population(dead)
        if len(population) == 0:
            if not dead.all():
                raise ValueError("the prior needs a population of at least one unit")
            return scores, dead, population, 0.0
        # p is computed only for images that are among the most activating of any unit.
        images, rows = np.unique(top, return_inverse=True)
        rows = torch.from_numpy(rows.reshape(top.shape))
        softmax = ConceptSoftmax(cosines, images, self.inverse_temperature)
        log_sums = log_sums_for(*softmax.log_range)
        weight, largest = self.prior_weight, 0.0
        for concepts, p in softmax.blocks():
            sums = log_sums(p, rows)
            largest = max(largest, float(sums.abs().max()))
            prior = sums[torch.from_numpy(population)].logsumexp(dim=0) - float(np.log(len(population)))
            # The constant is in L and in the prior, so it remains with the factor 1 - weight.
            scores[:, concepts] = sums.sub_(weight * prior).add_((1 - weight) * constant).numpy()
        scores[dead] = 0
        # The prior of one unit, or of equal units, is L itself up to a few roundings in float32.
        return scores, dead, population, _ROUNDINGS * float(np.finfo(np.float32).eps) * largest

    def _population(self, dead: NDArray[np.bool_]) -> NDArray[np.int64]:
        if self.population is None:
            return np.flatnonzero(~dead)
        return np.unique(np.asarray(self.population, np.int64))


def sum_rows(table: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Returns [units, columns]: for each unit the weighted sum of the rows of `table` listed in `rows`.

    This is a product of a sparse and a dense matrix. An embedding bag is its fastest form on a CPU.
    """
    of_each = weights.expand(rows.shape).contiguous()
    return torch.nn.functional.embedding_bag(rows, table, per_sample_weights=of_each, mode="sum")


def interpolated_log_sums(odds: NDArray[np.float64], low: float, high: float) -> LogSums:
    """Returns the function that computes sum_r ln(1 + odds_r p) over the images r of each unit.

    The logarithms depend on image and position r. They are interpolated by a few functions of p alone,
    which are computed once per image and concept for all units and positions.

    Args:
        odds: float64 [k], one per position.
        low: smallest ln p.
        high: largest ln p.
    """
    nodes, coefficients = _interpolation(odds, low, high)
    weights = torch.from_numpy(coefficients.astype(np.float32))

    def log_sums(p: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(rows), p.shape[1])
        logarithm = torch.empty_like(p)
        for node, of_powers in zip(nodes.tolist(), weights, strict=True):
            power = torch.mul(p, node, out=logarithm).log1p_()
            for index, weight in enumerate(of_powers):
                if index:
                    # There are powers only with a single logarithm. Then p is no longer needed, and its
                    # memory holds the next power.
                    power = torch.mul(power, logarithm, out=p)
                total += sum_rows(power, rows, weight)
        return total

    return log_sums


def _interpolation(
    odds: NDArray[np.float64], low: float, high: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Approximates ln(1 + odds_r p) by sum_cd coefficients[c, d, r] ln(1 + nodes[c] p)^(d + 1).

    Valid for low <= ln p <= high. The basis is either the powers of one logarithm, that of the largest
    odds, or several logarithms at Chebyshev nodes in the logarithm of the odds: the smaller one that
    reaches `_INTERPOLATION_ERROR`. The coefficients are least squares on a grid in ln p. For 20,000
    concepts and the published constants two or three powers suffice, and seven logarithms if p comes
    close to 1.
    """
    # Far below `high` all logarithms are practically linear in p: a wider grid adds nothing.
    p = np.exp(np.linspace(max(low, high - 20), high, 201))
    exact = np.log1p(odds * p[:, None])
    # Below 0.1, ln(1 + odds p) is practically linear in the odds, so the nodes need not go further down.
    ends = np.log(np.maximum(odds[[-1, 0]], 0.1))
    largest = np.exp(ends[1:])
    for n in range(1, min(len(odds), 32)):
        angles = np.cos((2 * np.arange(n) + 1) * np.pi / (2 * n))
        nodes = np.exp(ends.mean() + (ends[1] - ends[0]) / 2 * angles)
        bases = [(nodes, np.log1p(nodes * p[:, None]))]
        if n <= _MAX_POWERS:
            bases.insert(0, (largest, np.log1p(largest * p[:, None]) ** np.arange(1, n + 1)))
        for chosen, basis in bases:
            scale = basis.max(axis=0)
            # The cut-off keeps coefficients small, so that float32 sums do not lose digits.
            coefficients = np.linalg.lstsq(basis / scale, exact, rcond=1e-6)[0]
            coefficients /= scale[:, None]
            if np.abs(basis @ coefficients - exact).max() <= _INTERPOLATION_ERROR:
                return chosen, coefficients.reshape(len(chosen), -1, len(odds))
    return odds, np.eye(len(odds))[:, None]
