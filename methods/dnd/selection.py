"""Selection of the best candidate by the unit's response to synthetic images (step 3).

The synthetic images of all candidates of a unit are ranked by the unit's response. A candidate is scored
by the positions of its images in this ranking (0 is the strongest; small is good) and by the similarity
of its images to the unit's own top images (large is good).

`variant="official"` follows the published code where it differs from the paper's formula:

| | paper (default) | official |
|---|---|---|
| images compared | its `top_images` strongest | those among the `top_images` strongest of all |
| candidate without such images | does not occur | -1, which reverses the order among these |
| equal products | smaller index first | larger index first |

In both, candidates with equal scores by position are ordered by index, and images with equal responses
by candidate, then by image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .crops import Variant

_DECIMALS = 6
"""Products are compared after rounding to this: float32 embeddings do not resolve smaller differences."""


@dataclass(frozen=True, eq=False)
class RankedImages:
    """The synthetic images of one unit's candidates, ranked by the unit's response.

    Attributes:
        ranks: for each candidate, int64 [images]: the positions of its images, ascending.
        similarity: for each candidate, float64 [images], in the order of `ranks`: the mean cosine
            between an image and the unit's own top images. None without embeddings.
        top_k: number of a candidate's best positions used by `topk_sq_mean`.
        top_images: number of the strongest images used by `image_products`.
        variant: "paper" or "official", see the module's docstring.
    """

    ranks: tuple[NDArray[np.int64], ...]
    similarity: tuple[NDArray[np.float64], ...] | None = None
    top_k: int = 5
    top_images: int = 10
    variant: Variant = "paper"

    def __post_init__(self) -> None:
        if self.top_k < 1 or self.top_images < 1:
            raise ValueError(f"top_k={self.top_k} and top_images={self.top_images} must be at least 1")
        if self.variant not in ("paper", "official"):
            raise ValueError(f"variant must be paper or official, not {self.variant!r}")

    @classmethod
    def of(
        cls,
        responses: Sequence[NDArray[np.floating]],
        own_embeddings: NDArray[np.floating] | None = None,
        synthetic_embeddings: Sequence[NDArray[np.floating]] | None = None,
        *,
        top_k: int = 5,
        top_images: int = 10,
        variant: Variant = "paper",
    ) -> RankedImages:
        """Ranks the synthetic images and compares them with the unit's own top images.

        Args:
            responses: for each candidate [images], the unit's response to its images.
            own_embeddings: [n, d] embeddings of the unit's top images; only the functions in `PRODUCTS`
                need embeddings.
            synthetic_embeddings: for each candidate [images, d] embeddings of its images.
            top_k: see `RankedImages`.
            top_images: see `RankedImages`.
            variant: see `RankedImages`.

        Raises:
            ValueError: if a candidate has no image, a response or embedding is not finite, shapes do
                not match, or a parameter is out of range.
        """
        ranks = tuple(joint_ranks(responses))
        if own_embeddings is None and synthetic_embeddings is None:
            return cls(ranks, None, top_k, top_images, variant)
        if own_embeddings is None or synthetic_embeddings is None:
            raise ValueError("embeddings of the unit's own and of the synthetic images are both needed")
        return cls(
            ranks,
            tuple(_similarity(responses, own_embeddings, synthetic_embeddings)),
            top_k,
            top_images,
            variant,
        )


@dataclass(frozen=True)
class CandidateScores:
    """The scores of one candidate by every function, stored as evidence.

    Attributes:
        ranks: positions of its images, ascending.
        mean: mean position.
        median: median position.
        sq_mean: mean squared position.
        topk_sq_mean: mean squared position of its best `top_k` images.
        position: its index (from 0) in the order by `topk_sq_mean`.
        image_products: E, see `image_products`; None without embeddings.
        topk_sq_image_products: see `topk_sq_image_products`; None without embeddings.
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

    Position 0 is the strongest response; ties are ordered by candidate, then by image.

    Raises:
        ValueError: if a candidate has no image, or a response is not finite.
    """
    checked = _checked(responses)
    order = np.argsort(-np.concatenate(checked), kind="stable")
    positions = np.empty(len(order), np.int64)
    positions[order] = np.arange(len(order))
    # Sorted, because the scoring functions take a candidate's best positions from the beginning.
    ends = np.cumsum([len(of_candidate) for of_candidate in checked])
    return [np.sort(of_candidate) for of_candidate in np.split(positions, ends[:-1])]


def mean(ranked: RankedImages) -> NDArray[np.float64]:
    """Returns [candidates]: the mean position."""
    return np.array([ranks.mean() for ranks in ranked.ranks])


def median(ranked: RankedImages) -> NDArray[np.float64]:
    """Returns [candidates]: the median position, the mean of the middle two of an even number."""
    return np.array([np.median(ranks) for ranks in ranked.ranks])


def sq_mean(ranked: RankedImages) -> NDArray[np.float64]:
    """Returns [candidates]: the mean squared position."""
    return np.array([(ranks**2).mean() for ranks in ranked.ranks])


def topk_sq_mean(ranked: RankedImages) -> NDArray[np.float64]:
    """Returns [candidates]: the mean squared position of the best `top_k` images ("TopK Squared")."""
    return np.array([(ranks[: ranked.top_k] ** 2).mean() for ranks in ranked.ranks])


def image_products(ranked: RankedImages) -> NDArray[np.float64]:
    """Returns [candidates]: E, the mean cosine between the unit's top images and those compared.

    Raises:
        ValueError: if there are no embeddings.
    """
    if ranked.similarity is None:
        raise ValueError("image products need the embeddings of the images")
    # `similarity` is sorted by response, so its first entries belong to the strongest images.
    compared = [
        similarity[: ranked.top_images]
        if ranked.variant == "paper"
        else similarity[ranks < ranked.top_images]
        for ranks, similarity in zip(ranked.ranks, ranked.similarity, strict=True)
    ]
    return np.array([of_candidate.mean() if len(of_candidate) else -1.0 for of_candidate in compared])


def topk_sq_image_products(ranked: RankedImages) -> NDArray[np.float64]:
    """Returns [candidates]: (N - position by `topk_sq_mean`, from 0) * E, the paper's scoring function.

    Raises:
        ValueError: if there are no embeddings.
    """
    return (len(ranked.ranks) - _positions(topk_sq_mean(ranked))) * image_products(ranked)


ScoringFunction: TypeAlias = Callable[[RankedImages], NDArray[np.float64]]

SCORING_FUNCTIONS: dict[str, ScoringFunction] = {
    function.__name__: function
    for function in (mean, median, sq_mean, topk_sq_mean, image_products, topk_sq_image_products)
}

PRODUCTS: frozenset[str] = frozenset({"image_products", "topk_sq_image_products"})
"""The scoring functions that need embeddings; for them, larger scores are better."""


def best_first(ranked: RankedImages, function: str = "topk_sq_image_products") -> list[int]:
    """Returns the indices of the candidates, the best first; ties as in the module's docstring.

    Args:
        ranked: the images of the candidates.
        function: a name in `SCORING_FUNCTIONS`.

    Raises:
        ValueError: if the function needs embeddings and there are none.
    """
    scores = SCORING_FUNCTIONS[function](ranked)
    if function not in PRODUCTS:  # positions: smaller is better
        return np.argsort(scores, kind="stable").tolist()
    rounded = scores.round(_DECIMALS)
    if ranked.variant == "official":
        return np.argsort(rounded, kind="stable")[::-1].tolist()
    return np.argsort(-rounded, kind="stable").tolist()


def candidate_scores(ranked: RankedImages) -> list[CandidateScores]:
    """Returns the scores of each candidate by every function, in the order of the candidates."""
    by_position = [function(ranked).tolist() for function in (mean, median, sq_mean, topk_sq_mean)]
    positions = _positions(topk_sq_mean(ranked)).tolist()
    without_embeddings = [None] * len(positions)
    embedded = ranked.similarity is not None
    products = image_products(ranked).tolist() if embedded else without_embeddings
    final = topk_sq_image_products(ranked).tolist() if embedded else without_embeddings
    columns = zip(ranked.ranks, *by_position, positions, products, final, strict=True)
    return [CandidateScores(tuple(ranks.tolist()), *values) for ranks, *values in columns]


def keep_distinct(
    labels: Sequence[str], similarity: NDArray[np.floating], max_similarity: float = 0.81
) -> list[str]:
    """Returns the labels that differ from every better one.

    Args:
        labels: in descending order of quality; the first one is always kept.
        similarity: [labels, labels] similarity of their texts.
        max_similarity: a label is kept if its similarity to each label kept before is at most this.

    Raises:
        ValueError: if `similarity` does not have one row and one column per label.
    """
    if similarity.shape != (len(labels), len(labels)):
        raise ValueError(
            f"the similarities of {len(labels)} labels must be a square, not {similarity.shape}"
        )
    kept: list[int] = []
    for index in range(len(labels)):
        if (similarity[index, kept] <= max_similarity).all():
            kept.append(index)
    return [labels[index] for index in kept]


def _positions(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the position of each score in ascending order, from 0; ties by index."""
    positions = np.empty(len(scores), np.int64)
    positions[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return positions


def _checked(responses: Sequence[NDArray[np.floating]]) -> list[NDArray[np.float64]]:
    arrays = [np.asarray(of_candidate, np.float64) for of_candidate in responses]
    if not arrays or any(array.ndim != 1 or not len(array) for array in arrays):
        raise ValueError("every candidate needs responses [images] to at least one image")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("responses are not finite")
    return arrays


def _similarity(
    responses: Sequence[NDArray[np.floating]],
    own_embeddings: NDArray[np.floating],
    synthetic_embeddings: Sequence[NDArray[np.floating]],
) -> list[NDArray[np.float64]]:
    """Returns `RankedImages.similarity`."""
    if [len(of_candidate) for of_candidate in synthetic_embeddings] != [len(r) for r in responses]:
        raise ValueError("there must be one embedding and one response per synthetic image")
    # The mean of cosines with unit vectors is the product with the mean of these vectors.
    centre = _unit_rows(own_embeddings).mean(axis=0)
    orders = (np.argsort(-of_candidate, kind="stable") for of_candidate in _checked(responses))
    return [
        (_unit_rows(embeddings) @ centre)[order]
        for embeddings, order in zip(synthetic_embeddings, orders, strict=True)
    ]


def _unit_rows(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scales the rows of [n, d] to length 1, in float64: the sums over images keep float32's digits."""
    rows = np.asarray(embeddings, np.float64)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"embeddings must be [images, d] with at least one image, not {rows.shape}")
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise ValueError("an embedding is zero or not finite")
    return rows / length
