"""Best concept selection: which candidate's synthetic images a unit responds to most (step 3).

All synthetic images of all candidates of a unit are sorted by the unit's response; a candidate is
judged by the positions of its images in that order (0 is the strongest; small is good) and by how much
its images look like the unit's own top images (large is good).

Where the published code departs from the paper's formula, `variant="official"` follows the code:

| | paper (default) | official |
|---|---|---|
| images that are compared | the candidate's `t` strongest | those among the `t` strongest of all |
| candidate without such images | does not occur | -1, which reverses the order among these |
| equal products | smaller index first | larger index first |

Equal scores of positions put the smaller index first, and equal responses keep the order in which the
images were generated, in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Variant = Literal["paper", "official"]

_DECIMALS = 6
"""To so many decimals products are compared: float32 embeddings cannot tell closer ones apart."""


@dataclass(frozen=True, eq=False)
class Contest:
    """The synthetic images of one unit's candidates, as the scoring functions see them.

    Attributes:
        ranks: for each candidate, int64 [images]: the positions of its images, ascending.
        likeness: for each candidate, float64 [images], in the order of `ranks`: the mean cosine of an
            image with the unit's own top images. None where no embeddings were given.
        beta: how many of a candidate's best positions `topk_sq_mean` looks at.
        t: how many of the strongest images `image_products` looks at.
        variant: see the head of this file.
    """

    ranks: tuple[NDArray[np.int64], ...]
    likeness: tuple[NDArray[np.float64], ...] | None = None
    beta: int = 5
    t: int = 10
    variant: Variant = "paper"

    def __post_init__(self) -> None:
        if self.beta < 1 or self.t < 1:
            raise ValueError(f"beta={self.beta} and t={self.t} must be at least 1")
        if self.variant not in ("paper", "official"):
            raise ValueError(f"variant must be paper or official, not {self.variant!r}")

    @classmethod
    def of(
        cls,
        responses: Sequence[NDArray[np.floating]],
        own: NDArray[np.floating] | None = None,
        synthetic: Sequence[NDArray[np.floating]] | None = None,
        *,
        beta: int = 5,
        t: int = 10,
        variant: Variant = "paper",
    ) -> Contest:
        """Ranks the synthetic images and compares them with the unit's own.

        Args:
            responses: for each candidate [images], the unit's response to its images.
            own: [n, d] image embeddings of the unit's top images; only `PRODUCTS` need embeddings.
            synthetic: for each candidate [images, d] image embeddings of its images.
            beta: see `Contest`.
            t: see `Contest`.
            variant: see the head of this file.

        Raises:
            ValueError: if a candidate has no image, a response or embedding is not finite, shapes
                disagree, or a parameter is out of range.
        """
        ranks = tuple(joint_ranks(responses))
        if own is None and synthetic is None:
            return cls(ranks, None, beta, t, variant)
        if own is None or synthetic is None:
            raise ValueError("embeddings of the unit's own images and of the synthetic ones go together")
        return cls(ranks, tuple(_likeness(responses, own, synthetic)), beta, t, variant)


@dataclass(frozen=True)
class CandidateScores:
    """What every scoring function says about one candidate; the evidence behind a choice.

    Attributes:
        ranks: positions of its images, ascending.
        mean: mean position.
        median: median position.
        sq_mean: mean squared position.
        topk_sq_mean: mean squared position of the best `beta` images.
        position: its place (from 0) in the order by `topk_sq_mean`.
        image_products: E, see `image_products`; None without embeddings.
        topk_sq_image_products: the final score; None without embeddings.
    """

    ranks: tuple[int, ...]
    mean: float
    median: float
    sq_mean: float
    topk_sq_mean: float
    position: int
    image_products: float | None
    topk_sq_image_products: float | None


def joint_ranks(responses: Sequence[NDArray[np.floating]]) -> list[NDArray[np.int64]]:
    """Returns, for each candidate, the positions of its images among those of all, ascending.

    Position 0 is the strongest response; equal ones keep the order of candidates, then of images.

    Raises:
        ValueError: if a candidate has no image, or a response is not finite.
    """
    checked = _checked(responses)
    order = np.argsort(-np.concatenate(checked), kind="stable")
    positions = np.empty(len(order), np.int64)
    positions[order] = np.arange(len(order))
    return [np.sort(one) for one in np.split(positions, np.cumsum([len(one) for one in checked])[:-1])]


def mean(contest: Contest) -> NDArray[np.float64]:
    """Returns [candidates]: the mean position."""
    return np.array([ranks.mean() for ranks in contest.ranks])


def median(contest: Contest) -> NDArray[np.float64]:
    """Returns [candidates]: the median position, between the two middle ones of an even number."""
    return np.array([np.median(ranks) for ranks in contest.ranks])


def sq_mean(contest: Contest) -> NDArray[np.float64]:
    """Returns [candidates]: the mean squared position."""
    return np.array([(ranks**2).mean() for ranks in contest.ranks])


def topk_sq_mean(contest: Contest) -> NDArray[np.float64]:
    """Returns [candidates]: the mean squared position of the best `beta` images ("TopK Squared")."""
    return np.array([(ranks[: contest.beta] ** 2).mean() for ranks in contest.ranks])


def image_products(contest: Contest) -> NDArray[np.float64]:
    """Returns [candidates]: E, the mean cosine of the unit's top images with the compared ones.

    Raises:
        ValueError: if the contest was made without embeddings.
    """
    if contest.likeness is None:
        raise ValueError("image products need the embeddings of the images")
    compared = [
        likeness[: contest.t] if contest.variant == "paper" else likeness[ranks < contest.t]
        for ranks, likeness in zip(contest.ranks, contest.likeness, strict=True)
    ]
    return np.array([one.mean() if len(one) else -1.0 for one in compared])


def topk_sq_image_products(contest: Contest) -> NDArray[np.float64]:
    """Returns [candidates]: (N - place by `topk_sq_mean`, from 0) * E, the paper's scoring function.

    Raises:
        ValueError: if the contest was made without embeddings.
    """
    return (len(contest.ranks) - _places(topk_sq_mean(contest))) * image_products(contest)


Scoring: TypeAlias = Callable[[Contest], NDArray[np.float64]]

SCORINGS: dict[str, Scoring] = {
    function.__name__: function
    for function in (mean, median, sq_mean, topk_sq_mean, image_products, topk_sq_image_products)
}

PRODUCTS: frozenset[str] = frozenset({"image_products", "topk_sq_image_products"})
"""The scoring functions that need embeddings, and whose large scores are good."""


def best_first(contest: Contest, scoring: str = "topk_sq_image_products") -> list[int]:
    """Returns the candidates' indices, the best one first; ties as the head of this file says.

    Args:
        contest: the candidates.
        scoring: a key of `SCORINGS`.

    Raises:
        ValueError: if the contest was made without the embeddings that `scoring` needs.
    """
    scores = SCORINGS[scoring](contest)
    if scoring not in PRODUCTS:
        return np.argsort(scores, kind="stable").tolist()
    rounded = scores.round(_DECIMALS)
    if contest.variant == "official":
        return np.argsort(rounded, kind="stable")[::-1].tolist()
    return np.argsort(-rounded, kind="stable").tolist()


def candidate_scores(contest: Contest) -> list[CandidateScores]:
    """Returns every score of every candidate, in the order of the candidates."""
    by_rank = [function(contest).tolist() for function in (mean, median, sq_mean, topk_sq_mean)]
    places = _places(topk_sq_mean(contest)).tolist()
    nothing = [None] * len(places)
    known = contest.likeness is not None
    products = image_products(contest).tolist() if known else nothing
    final = topk_sq_image_products(contest).tolist() if known else nothing
    columns = zip(contest.ranks, *by_rank, places, products, final, strict=True)
    return [CandidateScores(tuple(ranks.tolist()), *values) for ranks, *values in columns]


def keep_distinct(
    labels: Sequence[str], similarity: NDArray[np.floating], limit: float = 0.81
) -> list[str]:
    """Keeps the labels that say something new: several labels for one unit.

    Args:
        labels: the best one first; it is always kept.
        similarity: [labels, labels] similarity of their texts.
        limit: a label is kept if it is at most this similar to each one kept before it.

    Raises:
        ValueError: if there is not one row and one column per label.
    """
    if similarity.shape != (len(labels), len(labels)):
        raise ValueError(f"{len(labels)} labels need a square of similarities, not {similarity.shape}")
    kept: list[int] = []
    for index in range(len(labels)):
        if (similarity[index, kept] <= limit).all():
            kept.append(index)
    return [labels[index] for index in kept]


def _places(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns each score's place in ascending order, from 0; the smaller index first on ties."""
    places = np.empty(len(scores), np.int64)
    places[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return places


def _checked(responses: Sequence[NDArray[np.floating]]) -> list[NDArray[np.float64]]:
    arrays = [np.asarray(one, np.float64) for one in responses]
    if not arrays or any(one.ndim != 1 or not len(one) for one in arrays):
        raise ValueError("every candidate needs its responses, [images], and at least one of them")
    if not all(np.isfinite(one).all() for one in arrays):
        raise ValueError("responses are not finite")
    return arrays


def _likeness(
    responses: Sequence[NDArray[np.floating]],
    own: NDArray[np.floating],
    synthetic: Sequence[NDArray[np.floating]],
) -> list[NDArray[np.float64]]:
    """Returns `Contest.likeness`: the mean of cosines is the product with the mean of unit vectors."""
    if [len(one) for one in synthetic] != [len(one) for one in responses]:
        raise ValueError("there must be one embedding and one response per synthetic image")
    centre = _unit_rows(own).mean(axis=0)
    strongest = (np.argsort(-one, kind="stable") for one in _checked(responses))
    return [(_unit_rows(one) @ centre)[order] for one, order in zip(synthetic, strongest, strict=True)]


def _unit_rows(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns [n, d] at unit length, in float64."""
    rows = np.asarray(embeddings, np.float64)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"embeddings must be [images, d], at least one, not {rows.shape}")
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise ValueError("an embedding is not finite, or zero")
    return rows / length
