"""The five similarity functions of CLIP-Dissect (Oikarinen and Weng, ICLR 2023, section 3 and A.4).

Each compares the activations A [images, units] of a layer with the image-concept cosines
P [images, concepts] of an image-text model, and returns a score for every unit and concept; the best
concept of a unit is its description. Scores of different functions, probing sets, concept sets or
layers cannot be compared with one another.

Images are ordered by activation, strongest first, equal ones by image index. Units whose activation
never changes (dead) have no score; by default they do not enter the prior over units either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .concept_softmax import Softmax
from .cosines import ArrayCosines, Cosines, blocks

Clip = Cosines | NDArray[np.floating]
LogSums = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LogSumsFor = Callable[[float, float], LogSums]

_INTERPOLATION_ERROR = 1e-5  # of one logarithm
_POWERS = 5  # of one logarithm; more would need large coefficients of opposite signs
_NORM_FLOOR = 1e-3
_PERMUTATIONS = 5


@dataclass(frozen=True)
class Similarities:
    """Scores of units and concepts.

    Attributes:
        scores: float32 [units, concepts]; 0 in the rows of undefined units.
        undefined: bool [units], units without scores: the dead ones, and for `rank_reorder` those
            whose most activating images are all equally active and so have no order.
        population: int64, the units over which the prior was taken; empty if there is no prior.
    """

    scores: NDArray[np.float32]
    undefined: NDArray[np.bool_]
    population: NDArray[np.int64]


def soft_wpmi(
    activations: NDArray[np.floating],
    clip: Clip,
    *,
    top_k: int = 100,
    a: float = 10.0,
    lam: float = 1.0,
    min_prob: float = 1e-7,
    p_start: float = 0.998,
    p_end: float = 0.97,
    population: Sequence[int] | None = None,
) -> Similarities:
    """Soft weighted pointwise mutual information, the default of CLIP-Dissect (section 3.2).

    With p_im the softmax over concepts of a * P_im, and the membership of the image at position r of
    the `top_k` most activating ones q_r = p_start - (r / top_k) (p_start - p_end):

        L_km = sum_r ln(1 + q_r (p_im - 1) + min_prob)
        score_km = L_km - lam (logsumexp_k L_km - ln K), over the K units of the population.

    The logarithm is ln(1 - q_r + min_prob) + ln(1 + w_r p_im) with w_r = q_r / (1 - q_r + min_prob).
    The second term is interpolated by a few functions of p, so that these are computed once per image
    and concept, whatever the number of units, and summed with sparse weights.

    Args:
        activations: [images, units].
        clip: P, an array or `Cosines`.
        top_k: how many of the most activating images count.
        a: inverse temperature of the softmax.
        lam: weight of the prior.
        min_prob: added inside the logarithm.
        p_start: membership of the most activating image.
        p_end: membership that the image after the last one would have.
        population: units over which the prior is taken; None: all that are not dead.

    Raises:
        ValueError: if shapes disagree, values are not finite, or a parameter is out of range.
    """
    if top_k < 1:
        raise ValueError(f"top_k={top_k} must be at least 1")
    if not 0 <= p_end <= p_start < 1:
        raise ValueError(f"0 <= p_end <= p_start < 1 is needed, got p_start={p_start}, p_end={p_end}")
    membership = p_start - np.arange(top_k) / top_k * (p_start - p_end)
    ratios = membership / (1 - membership + min_prob)

    def log_sums(low: float, high: float) -> LogSums:
        nodes, coefficients = _interpolation(ratios, low, high)
        weights = torch.from_numpy(coefficients.astype(np.float32))

        def sums(p: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            total = torch.zeros(len(rows), p.shape[1])
            logarithm = torch.empty_like(p)
            for node, of_powers in zip(nodes.tolist(), weights, strict=True):
                power = torch.mul(p, node, out=logarithm).log1p_()
                for index, weight in enumerate(of_powers):
                    if index:  # of the only logarithm, so p has served and is room for its powers
                        power = torch.mul(power, logarithm, out=p)
                    total += _sum_rows(power, rows, weight)
            return total

        return sums

    constant = float(np.log(1 - membership + min_prob).sum())
    return _mutual_information(activations, clip, top_k, a, lam, population, log_sums, constant)


def wpmi(
    activations: NDArray[np.floating],
    clip: Clip,
    *,
    top_k: int = 28,
    a: float = 2.0,
    lam: float = 0.6,
    min_prob: float = 1e-7,
    population: Sequence[int] | None = None,
) -> Similarities:
    """Weighted pointwise mutual information (section 3.2): every one of the `top_k` images counts fully.

        L_km = sum_i ln(p_im + min_prob), the rest as in `soft_wpmi`.

    Raises:
        ValueError: if shapes disagree, values are not finite, or a parameter is out of range.
    """

    def log_sums(*_range: float) -> LogSums:
        return lambda p, rows: _sum_rows(p.add_(min_prob).log_(), rows, torch.ones(rows.shape[1]))

    return _mutual_information(activations, clip, top_k, a, lam, population, log_sums)


def rank_reorder(
    activations: NDArray[np.floating],
    clip: Clip,
    *,
    p: float = 3.0,
    top_fraction: float = 0.05,
    scale_p: float = 0.5,
    min_mean: float = 1e-3,
    baseline: str = "exact",
    seed: int = 0,
) -> Similarities:
    """How far the concept's order of the most activating images is from the unit's own (section A.4).

    Of the n = floor(top_fraction * N) most activating images, image i with activation t_i is given the
    activation that belongs to its rank by P_im; err_m is the mean of |t_i - given_i|^p, and

        score_m = -(err_m / base) / max(mean_i P_im, min_mean)^scale_p

    where base is the mean of the same distance under a random order.

    Args:
        activations: [images, units].
        clip: P, an array or `Cosines`.
        p: power of the distance.
        top_fraction: fraction of the images that count.
        scale_p: power of the mean cosine.
        min_mean: lower bound of the mean cosine: below it (cosines may be negative) a concept is
            penalised as if it had this one, instead of having no score.
        baseline: "exact", the expectation over all orders (the mean over all ordered pairs); or
            "permutations", its estimate from five random orders, the same for every unit.
        seed: of these orders.

    Raises:
        ValueError: if shapes disagree, values are not finite, or a parameter is out of range.
    """
    clip = _checked(activations, clip)
    top = _top(activations, int(np.floor(top_fraction * len(activations))))
    t = _unit_range(np.take_along_axis(activations.T, top, axis=1))
    base = _baseline(t, p, baseline, seed)
    undefined = _dead(activations) | (base == 0)
    scores = np.zeros((len(top), clip.shape[1]), np.float32)
    images, rows = np.unique(top, return_inverse=True)
    rows = torch.from_numpy(rows.reshape(top.shape))
    active = torch.from_numpy(t.astype(np.float32))
    for concepts in blocks(clip.shape[1]):
        cosines = clip.block(images, concepts).T.contiguous()
        for unit in np.flatnonzero(~undefined).tolist():
            own = cosines[:, rows[unit]]
            order = own.sort(dim=1, stable=True).indices
            error = (active[unit][order] - active[unit].flip(0)).abs().pow(p).mean(dim=1).double()
            mean = own.double().mean(dim=1).clamp(min=min_mean)
            scores[unit, concepts] = (error / -float(base[unit]) / mean**scale_p).numpy()
    return Similarities(scores, undefined, np.empty(0, np.int64))


def cos_similarity(activations: NDArray[np.floating], clip: Clip) -> Similarities:
    """Cosine of a unit's activations and a concept's cosines over all images, not centred.

    Raises:
        ValueError: if shapes disagree or values are not finite.
    """
    return _cosine(activations, clip, lambda columns: columns, floor=1e-30)


def cos_similarity_cubed(activations: NDArray[np.floating], clip: Clip) -> Similarities:
    """Cosine of the two centred columns, each cubed element by element.

    Norms below 0.001 count as 0.001. The bound is absolute, as published: for small probing sets it
    scales some concepts down.

    Raises:
        ValueError: if shapes disagree or values are not finite.
    """
    return _cosine(activations, clip, lambda columns: (columns - columns.mean(dim=0)) ** 3, _NORM_FLOOR)


SIMILARITIES: dict[str, Callable[..., Similarities]] = {
    function.__name__: function
    for function in (soft_wpmi, wpmi, rank_reorder, cos_similarity, cos_similarity_cubed)
}


def strongest(columns: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Returns int64 [columns, k]: the rows with the largest values of each column, ties by row index.

    Raises:
        ValueError: if there are fewer than `k` rows, or `k` is 0.
    """
    if not 1 <= k <= len(columns):
        raise ValueError(f"the {k} largest of {len(columns)} values are asked for")
    by_column = torch.from_numpy(columns).T.contiguous()
    values, top = by_column.topk(k)
    least = values[:, -1:]
    for index in ((by_column >= least).sum(dim=1) > k).nonzero().flatten().tolist():
        # Of those that equal the least, topk takes any.
        above = (by_column[index] > least[index]).nonzero().flatten()
        equal = (by_column[index] == least[index]).nonzero().flatten()
        top[index] = torch.cat([above, equal])[:k]
    top = top.sort(dim=1).values
    order = by_column.gather(1, top).argsort(dim=1, descending=True, stable=True)
    return top.gather(1, order).numpy()


def _mutual_information(
    activations: NDArray[np.floating],
    clip: Clip,
    top_k: int,
    a: float,
    lam: float,
    population: Sequence[int] | None,
    log_sums: LogSumsFor,
    constant: float = 0.0,
) -> Similarities:
    """Scores L - lam * prior.

    `log_sums` is told the range of ln p, and returns what makes L, up to `constant`, of a block of p
    and the rows in it of each unit's most activating images.
    """
    clip = _checked(activations, clip)
    top = _top(activations, top_k)
    dead = _dead(activations)
    chosen = np.flatnonzero(~dead) if population is None else np.unique(np.asarray(population, np.int64))
    scores = np.zeros((len(top), clip.shape[1]), np.float32)
    if len(chosen) == 0:
        if not dead.all():
            raise ValueError("the prior needs a population of at least one unit")
        return Similarities(scores, dead, chosen)
    images, rows = np.unique(top, return_inverse=True)
    rows = torch.from_numpy(rows.reshape(top.shape))
    softmax = Softmax(clip, images, a)
    sums_of = log_sums(*softmax.log_range)
    for concepts, p in softmax.blocks():
        sums = sums_of(p, rows)
        prior = sums[torch.from_numpy(chosen)].logsumexp(dim=0) - float(np.log(len(chosen)))
        scores[:, concepts] = sums.sub_(lam * prior).add_((1 - lam) * constant).numpy()
    scores[dead] = 0
    return Similarities(scores, dead, chosen)


def _top(activations: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    if not 1 <= k <= len(activations):
        raise ValueError(f"the {k} most activating images are asked for, of {len(activations)}")
    return strongest(activations, k)


def _sum_rows(table: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Returns [units, columns]: for each unit the weighted sum of `table`'s rows that `rows` names.

    A product of a sparse and a dense matrix; torch's embedding bag is its fastest form on a CPU.
    """
    each = weights.expand(rows.shape).contiguous()
    return torch.nn.functional.embedding_bag(rows, table, per_sample_weights=each, mode="sum")


def _interpolation(
    w: NDArray[np.float64], low: float, high: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Writes ln(1 + w_r p) as sum_cd coefficients[c, d, r] ln(1 + nodes[c] p)^(d + 1).

    It holds for low <= ln p <= high. Either the powers of one logarithm, of the largest w, or several
    logarithms with Chebyshev's nodes in ln w, whichever are fewer; the coefficients are least squares
    over a grid in ln p. For 20,000 concepts and the published constants two or three powers are accurate
    enough, and seven logarithms if p comes near 1.
    """
    p = np.exp(np.linspace(max(low, high - 20), high, 201))
    exact = np.log1p(w * p[:, None])
    ends = np.log(np.maximum(w[[-1, 0]], 0.1))  # below, ln(1 + w p) is as good as linear in w
    largest = np.exp(ends[1:])
    for n in range(1, min(len(w), 32)):
        angles = np.cos((2 * np.arange(n) + 1) * np.pi / (2 * n))
        nodes = np.exp(ends.mean() + (ends[1] - ends[0]) / 2 * angles)
        choices = [(nodes, np.log1p(nodes * p[:, None]))]
        if n <= _POWERS:
            choices.insert(0, (largest, np.log1p(largest * p[:, None]) ** np.arange(1, n + 1)))
        for chosen, basis in choices:
            scale = basis.max(axis=0)
            coefficients = np.linalg.lstsq(basis / scale, exact, rcond=1e-6)[0]  # keeps them small
            coefficients /= scale[:, None]
            if np.abs(basis @ coefficients - exact).max() <= _INTERPOLATION_ERROR:
                return chosen, coefficients.reshape(len(chosen), -1, len(w))
    return w, np.eye(len(w))[:, None]


def _cosine(
    activations: NDArray[np.floating],
    clip: Clip,
    transform: Callable[[torch.Tensor], torch.Tensor],
    floor: float,
) -> Similarities:
    clip = _checked(activations, clip)
    dead = _dead(activations)
    everything = np.arange(len(activations))
    columns = _unit_columns(torch.from_numpy(np.array(activations, np.float32)), transform, floor)
    scores = np.empty((activations.shape[1], clip.shape[1]), np.float32)
    for concepts in blocks(clip.shape[1]):
        others = _unit_columns(clip.block(everything, concepts), transform, floor)
        scores[:, concepts] = (columns.T @ others).numpy()
    scores[dead] = 0
    return Similarities(scores, dead, np.empty(0, np.int64))


def _unit_columns(
    columns: torch.Tensor, transform: Callable[[torch.Tensor], torch.Tensor], floor: float
) -> torch.Tensor:
    """Transforms columns and divides each by its norm; block by block, in float64."""
    for part in columns.split(64, dim=1):
        values = transform(part.double())
        part.copy_(values / values.norm(dim=0).clamp(min=floor))
    return columns


def _unit_range(t: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scales each row to [0, 1]: ratios of distances stay, and nothing under- or overflows."""
    t = t.astype(np.float64)
    low, high = t.min(axis=1, keepdims=True), t.max(axis=1, keepdims=True)
    return (t - low) / np.where(high > low, high - low, 1)


def _baseline(t: NDArray[np.float64], p: float, kind: str, seed: int) -> NDArray[np.float64]:
    """Returns float64 [units]: the mean distance of a unit's activations from their random reordering."""
    if kind == "exact":
        return np.array([np.mean(np.abs(row[:, None] - row) ** p) for row in t])
    if kind == "permutations":
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(t.shape[1]) for _ in range(_PERMUTATIONS)]
        return np.mean([np.mean(np.abs(t - t[:, order]) ** p, axis=1) for order in orders], axis=0)
    raise ValueError(f"baseline must be exact or permutations, not {kind!r}")


def _dead(activations: NDArray[np.floating]) -> NDArray[np.bool_]:
    return np.asarray(activations.max(axis=0) == activations.min(axis=0))


def _checked(activations: NDArray[np.floating], clip: Clip) -> Cosines:
    cosines = ArrayCosines(clip) if isinstance(clip, np.ndarray) else clip
    if activations.ndim != 2 or len(activations) != cosines.shape[0]:
        raise ValueError(f"activations {activations.shape} and cosines {cosines.shape}: unequal images")
    if not np.isfinite(activations).all():
        raise ValueError("activations are not finite")
    return cosines
