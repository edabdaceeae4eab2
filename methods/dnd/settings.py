"""Settings of Describe-and-Dissect, grouped by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from ...harness.errors import InputError, one_of
from ...harness.foundation.image_cache import Format
from ...harness.foundation.protocols import SentenceEncoder
from .selection import SCORING_FUNCTIONS
from .top_images import Cropping


@dataclass(frozen=True)
class ExemplarSettings:
    """Step 1: the images that are captioned.

    Attributes:
        count: exemplars per unit; as many of the exemplars and their crops are captioned.
        crops: "attention"; "official", as in the published program; or "off".

    Raises:
        InputError: if a setting is unknown or out of range.
    """

    count: int = 10
    crops: Cropping = "attention"

    def __post_init__(self) -> None:
        _at_least_one("exemplars", count=self.count)
        one_of("describe_and_dissect.exemplars.crops", self.crops, ("attention", "official", "off"))


@dataclass(frozen=True)
class CandidateSettings:
    """Step 2: candidates from captions.

    Attributes:
        summaries: how often the captions are summarised; each summary may give a candidate.
        tries: maximum number of requests for one reply, if replies are unusable.
        max_candidates: maximum number of candidates of a unit; later ones are recorded, but not scored.

    Raises:
        InputError: if a setting is out of range.
    """

    summaries: int = 5
    tries: int = 3
    max_candidates: int = 20

    def __post_init__(self) -> None:
        _at_least_one(
            "candidates",
            summaries=self.summaries,
            tries=self.tries,
            max_candidates=self.max_candidates,
        )


@dataclass(frozen=True)
class SyntheticImageSettings:
    """Step 3: the synthetic images of candidates.

    Attributes:
        count: images per candidate.
        format: format of the stored images: "png", or "webp" (lossy, needs a fraction of the space).
        size: (width, height) of the stored images; None: as generated.

    Raises:
        InputError: if a setting is unknown or out of range.
    """

    count: int = 10
    format: Format = "png"
    size: Sequence[int] | None = None

    def __post_init__(self) -> None:
        _at_least_one("synthetic_images", count=self.count)
        one_of("describe_and_dissect.synthetic_images.format", self.format, ("png", "webp"))
        if self.size is None:
            return
        size = tuple(self.size)
        if len(size) != 2 or min(size) < 1:
            raise InputError(
                f"describe_and_dissect.synthetic_images.size must be [width,height], not {list(size)}",
                "use two positive numbers, or null for images as generated",
            )
        object.__setattr__(self, "size", size)  # a configuration gives a list


@dataclass(frozen=True)
class ScoringSettings:
    """Step 3: how candidates are scored.

    Attributes:
        enabled: False: the first candidate is the description, and no image is generated.
        function: a name in `SCORING_FUNCTIONS`.
        top_k: number of a candidate's best positions used by `topk_sq_mean` (the paper's beta).
        top_images: number of a candidate's strongest images used by image products (the paper's t).

    Raises:
        InputError: if a setting is unknown or out of range.
    """

    enabled: bool = True
    function: str = "topk_sq_image_products"
    top_k: int = 5
    top_images: int = 10

    def __post_init__(self) -> None:
        one_of("describe_and_dissect.scoring.function", self.function, SCORING_FUNCTIONS)
        _at_least_one("scoring", top_k=self.top_k, top_images=self.top_images)


@dataclass(frozen=True)
class LabelSettings:
    """The labels of a description.

    Attributes:
        count: maximum number of labels in a description.
        max_similarity: a further label may be at most this similar to each better one.
        sentence_encoder: encoder that measures this similarity; None: the texts' embeddings by the
            image-text encoder.

    Raises:
        InputError: if a setting is out of range.
    """

    count: int = 1
    max_similarity: Annotated[float, Ge(-1), Le(1)] = 0.81
    sentence_encoder: SentenceEncoder | None = None

    def __post_init__(self) -> None:
        _at_least_one("labels", count=self.count)


def _at_least_one(group: str, **settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise InputError(f"describe_and_dissect.{group}.{name} must be at least 1, not {value}")
