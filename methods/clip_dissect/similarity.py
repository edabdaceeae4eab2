"""The five similarity functions of CLIP-Dissect (Oikarinen and Weng, ICLR 2023, sections 3 and A.4).

Each compares the activations A [images, units] of a layer with the image-concept cosines
P [images, concepts] of an image-text model, and returns a score for every unit and concept; the best
concept of a unit is its description. Scores of different functions, probing sets, concept sets or
layers are not comparable.

Images are ordered by activation, strongest first, ties by image index. Dead units have no score, and by
default they are not part of the prior over units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .activation_order import checked_cosines, dead_units, most_activating
from .cosines import Cosines, blocks
from .mutual_information import LogSums, MutualInformation, interpolated_log_sums, sum_rows

_NORM_FLOOR = 1e-3  # of the published program
# Only avoids 0 / 0: the norm of a column of float32 values is 0 or far larger, computed in float64.
_NO_FLOOR = float(np.finfo(np.float64).tiny)
_PERMUTATIONS = 5  # of the published program


@dataclass(frozen=True)
class Similarities:
    """Scores of units and concepts.

    Attributes:
        scores: float32 [units, concepts]; 0 in the rows of undefined units.
        undefined: bool [units], units without scores: dead ones, and for `rank_reorder` those whose most
            activating images are all equally active and so have no order.
        population: int64, the units over which the prior was computed; empty if there is no prior.
        tolerance: the largest difference of two scores of a unit that rounding may cause.
    """

    scores: NDArray[np.float32]
    undefined: NDArray[np.bool_]
    population: NDArray[np.int64]
    tolerance: float = 0.0

    @property
    def tied(self) -> NDArray[np.bool_]:
        """Which units have scores that are all equal, up to rounding; bool [units]."""
        return ~self.undefined & (np.ptp(self.scores, axis=1) <= self.tolerance)


def soft_wpmi(
    activations: NDArray[np.floating],
    cosines: Cosines | NDArray[np.floating],
    *,
    top_k: int = 100,
    inverse_temperature: float = 10.0,
    prior_weight: float = 1.0,
    min_prob: float = 1e-7,
    first_membership: float = 0.998,
    last_membership: float = 0.97,
    population: Sequence[int] | None = None,
) -> Similarities:
    """Soft weighted pointwise mutual information, the default of CLIP-Dissect (section 3.2).

    With p_im the softmax over concepts of a * P_im, and the membership of the image at position r of the
    `top_k` most activating ones q_r = first - (r / top_k) (first - last):

        L_km = sum_r ln(1 + q_r (p_im - 1) + min_prob)
        score_km = L_km - lambda (logsumexp_k L_km - ln K), over the K units of the population.

    The logarithm is ln(1 - q_r + min_prob) + ln(1 + w_r p_im) with w_r = q_r / (1 - q_r + min_prob). The
    first term is constant, and the second one is interpolated (see `interpolated_log_sums`).

    Args:
        activations: [images, units].
        cosines: P, an array or `Cosines`.
        top_k: number of most activating images.
        inverse_temperature: inverse temperature a of the softmax.
        prior_weight: weight lambda of the prior.
        min_prob: added inside the logarithm.
        first_membership: membership of the most activating image.
        last_membership: membership that the image after the last one would have.
        population: units over which the prior is computed; None: all that are not dead.

    Raises:
        ValueError: if shapes disagree, values are not finite, or a parameter is out of range.
    """
    if top_k < 1:
        raise ValueError(f"top_k={top_k} must be at least 1")
    if not 0 <= last_membership <= first_membership < 1:
        raise ValueError(
            f"first_membership={first_membership} and last_membership={last_membership}: "
            "0 <= last <= first < 1 is required"
        )
    membership = first_membership - np.arange(top_k) / top_k * (first_membership - last_membership)
    odds = membership / (1 - membership + min_prob)
    constant = float(np.log(1 - membership + min_prob).sum())
    information = MutualInformation(top_k, inverse_temperature, prior_weight, population)
    scores = information.scores(
        activations, cosines, lambda low, high: interpolated_log_sums(odds, low, high), constant
    )
    return Similarities(*scores)


def wpmi(
    activations: NDArray[np.floating],
    cosines: Cosines | NDArray[np.floating],
    *,
    top_k: int = 28,
    inverse_temperature: float = 2.0,
    prior_weight: float = 0.6,
    min_prob: float = 1e-7,
    population: Sequence[int] | None = None,
) -> Similarities:
    """Weighted pointwise mutual information (section 3.2): all `top_k` images have the same weight.

        L_km = sum_i ln(p_im + min_prob), the rest as in `soft_wpmi`.

    Raises:
        ValueError: if shapes disagree, values are not finite, or a parameter is out of range.
    """

    def log_sums_for(*_range: float) -> LogSums:
        return lambda p, rows: sum_rows(p.add_(min_prob).log_(), rows, torch.ones(rows.shape[1]))

    information = MutualInformation(top_k, inverse_temperature, prior_weight, population)
    return Similarities(*information.scores(activations, cosines, log_sums_for))


def rank_reorder(
    activations: NDArray[np.floating],
    cosines: Cosines | NDArray[np.floating],
    *,
    power: float = 3.0,
    top_fraction: float = 0.05,
    mean_power: float = 0.5,
    min_mean: float = 1e-3,
    baseline: str = "exact",
    seed: int = 0,
) -> Similarities:
    """Compares the concept's order of the most activating images with the unit's order (section A.4).

    Of the n = floor(top_fraction * N) most activating images, image i with activation t_i is assigned
    the activation t'_im that belongs to its rank by P_im; err_m is the mean of |t_i - t'_im|^power, and

        score_m = -(err_m / base) / max(mean_i P_im, min_mean)^mean_power

    where base is the mean of the same distance for a random order.

    Args:
        activations: [images, units].
        cosines: P, an array or `Cosines`.
        power: power of the distance.
        top_fraction: fraction of the images used.
        mean_power: power of the mean cosine.
        min_mean: lower bound of the mean cosine. Cosines may be negative; without it, a concept with a
            negative mean would have no score.
        baseline: "exact", the expectation over all orders (the mean over all ordered pairs); or
            "permutations", its estimate from five random orders, the same for every unit.
        seed: seed of these orders.

    Raises:
        ValueError: if shapes disagree, values are not finite, or a parameter is out of range.
    """
    cosines = checked_cosines(activations, cosines)
    top = most_activating(activations, int(np.floor(top_fraction * len(activations))))
    t = _unit_range(np.take_along_axis(activations.T, top, axis=1))
    base = _baseline(t, power, baseline, seed)
    undefined = dead_units(activations) | (base == 0)
    scores = np.zeros((len(top), cosines.shape[1]), np.float32)
    images, rows = np.unique(top, return_inverse=True)
    rows = torch.from_numpy(rows.reshape(top.shape))
    active = torch.from_numpy(t.astype(np.float32))
    for concepts in blocks(cosines.shape[1]):
        block = cosines.block(images, concepts).T.contiguous()
        for unit in np.flatnonzero(~undefined).tolist():
            of_unit = block[:, rows[unit]]
            order = of_unit.sort(dim=1, stable=True).indices
            # t is in descending order, so its reverse is what the ascending order of P assigns.
            error = (active[unit][order] - active[unit].flip(0)).abs().pow(power).mean(dim=1).double()
            mean = of_unit.double().mean(dim=1).clamp(min=min_mean)
            scores[unit, concepts] = (error / -float(base[unit]) / mean**mean_power).numpy()
    return Similarities(scores, undefined, np.empty(0, np.int64))


def cos_similarity(
    activations: NDArray[np.floating], cosines: Cosines | NDArray[np.floating]
) -> Similarities:
    """Cosine of a unit's activations and a concept's cosines over all images, not centred.

    A concept whose cosines are all 0 scores 0.

    Raises:
        ValueError: if shapes disagree or values are not finite.
    """
    return _cosine(activations, cosines, lambda columns: columns, _NO_FLOOR)


def cos_similarity_cubed(
    activations: NDArray[np.floating], cosines: Cosines | NDArray[np.floating]
) -> Similarities:
    """Cosine of the two columns, each centred and cubed element by element.

    Norms below 0.001 are replaced by 0.001. The bound is absolute, as published: for small probing sets
    it scales some concepts down.

    Raises:
        ValueError: if shapes disagree or values are not finite.
    """
    return _cosine(
        activations, cosines, lambda columns: (columns - columns.mean(dim=0)) ** 3, _NORM_FLOOR
    )


SIMILARITIES: dict[str, Callable[..., Similarities]] = {
    function.__name__: function
    for function in (soft_wpmi, wpmi, rank_reorder, cos_similarity, cos_similarity_cubed)
}


def _cosine(
    activations: NDArray[np.floating],
    cosines: Cosines | NDArray[np.floating],
    transform: Callable[[torch.Tensor], torch.Tensor],
    floor: float,
) -> Similarities:
    cosines = checked_cosines(activations, cosines)
    dead = dead_units(activations)
    images = np.arange(len(activations))
    of_units = _unit_columns(torch.from_numpy(np.array(activations, np.float32)), transform, floor)
    scores = np.empty((activations.shape[1], cosines.shape[1]), np.float32)
    for concepts in blocks(cosines.shape[1]):
        of_concepts = _unit_columns(cosines.block(images, concepts), transform, floor)
        scores[:, concepts] = (of_units.T @ of_concepts).numpy()
    scores[dead] = 0
    # A score is a product of two unit vectors.
    return Similarities(scores, dead, np.empty(0, np.int64), 4 * float(np.finfo(np.float32).eps))


def _unit_columns(
    columns: torch.Tensor, transform: Callable[[torch.Tensor], torch.Tensor], floor: float
) -> torch.Tensor:
    """Transforms columns in place and divides each by its norm.

    In float64, because cubes and sums over many images lose digits in float32; block by block, so that
    the float64 copy stays small.
    """
    for part in columns.split(64, dim=1):
        values = transform(part.double())
        part.copy_(values / values.norm(dim=0).clamp(min=floor))
    return columns


def _unit_range(t: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scales each row to [0, 1].

    Ratios of distances do not change, and powers of very small or large activations neither under- nor
    overflow.
    """
    t = t.astype(np.float64)
    low, high = t.min(axis=1, keepdims=True), t.max(axis=1, keepdims=True)
    return (t - low) / np.where(high > low, high - low, 1)


def _baseline(t: NDArray[np.float64], power: float, kind: str, seed: int) -> NDArray[np.float64]:
    """Returns float64 [units]: the mean distance of a unit's activations from a random order of them."""
    if kind == "exact":
        return np.array([np.mean(np.abs(row[:, None] - row) ** power) for row in t])
    if kind == "permutations":
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(t.shape[1]) for _ in range(_PERMUTATIONS)]
        return np.mean([np.mean(np.abs(t - t[:, order]) ** power, axis=1) for order in orders], axis=0)
    raise ValueError(f"baseline must be exact or permutations, not {kind!r}")
