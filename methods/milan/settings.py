"""Settings of exemplars and of the search for captions, and what a user overrides of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ...harness.errors import InputError, at_least, one_of

Variant = Literal["paper", "official"]
Strategy = Literal["greedy", "beam", "rerank", "mi-greedy", "mi-beam"]
Counting = Literal["exact", "one_more", "batch"]


@dataclass(frozen=True)
class ExemplarSettings:
    """How exemplars are made.

    `paper`: an exemplar shows the part of the image that the target received, and a feature map is
    extended beyond its outermost cells by their values. `official`, as in the published program: it shows
    the central part after a resize, regardless of the target's preprocessing; beyond the outermost cells
    values fall off to 0, which removes the borders of masks and adds borders to the masks of units with
    negative values; a unit without spatial extent marks the whole image only if its value is in the
    upper fraction `quantile` (rare in a small probing set), and nothing otherwise.

    Attributes:
        count: exemplars per unit.
        quantile: upper fraction of all positions of all images that is above a mask's threshold.
        image_size: height and width of exemplar images and masks, in pixels.
        variant: "paper" or "official".

    Raises:
        InputError: if a setting is unknown or out of range.
    """

    count: int = 15
    quantile: float = 0.01
    image_size: int = 224
    variant: Variant = "paper"

    def __post_init__(self) -> None:
        one_of("variant", self.variant, get_args(Variant))
        if self.count < 1 or self.image_size < 1:
            raise InputError(
                "the number of exemplars and their image size must be positive, "
                f"got count={self.count}, image_size={self.image_size}"
            )
        if not 0 < self.quantile <= 1:
            raise InputError(f"quantile={self.quantile} is not in (0, 1]")

    def identity(self) -> dict[str, Any]:
        """Returns the settings, JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class DecodingSettings:
    """How captions are searched for.

    Attributes:
        strategy: `greedy` and `beam` maximise log p(d|E); `rerank` takes the beam of log p(d|E) and
            ranks it by log p(d|E) - temperature * log p(d); `mi-greedy` and `mi-beam` maximise the sum
            of that difference word by word.
        length: maximum number of words, stop included.
        beam: hypotheses per unit.
        temperature: weight of the language model, lambda in the paper.

    Raises:
        InputError: if a value is unknown or out of range.
    """

    strategy: Strategy = "rerank"
    length: int = 15
    beam: int = 50
    temperature: float = 0.2

    def __post_init__(self) -> None:
        one_of("decoding.strategy", self.strategy, get_args(Strategy))
        for name in ("length", "beam"):
            at_least(f"decoding.{name}", getattr(self, name), 1)
        if not math.isfinite(self.temperature):
            raise InputError(f"decoding.temperature={self.temperature} is not a finite number")


@dataclass(frozen=True)
class ExemplarOverrides:
    """Settings of exemplars that replace those of the checkpoint; None keeps the checkpoint's.

    Attributes: see `ExemplarSettings`.

    Raises:
        InputError: if a setting is out of range.
    """

    count: int | None = None
    quantile: float | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        ExemplarSettings(**self.values())

    def values(self) -> dict[str, Any]:
        """Returns the settings that are not None."""
        return _without_none(asdict(self))


@dataclass(frozen=True)
class DecodingOverrides:
    """Settings of the search that replace those of the checkpoint; None keeps the checkpoint's.

    Attributes: see `DecodingSettings`, and
        counting: "exact" or "one_more", see `Decoder`; None: "one_more" for a published checkpoint and
            for the variant `official`, else "exact".

    Raises:
        InputError: if a value is unknown or out of range.
    """

    strategy: Strategy | None = None
    beam: int | None = None
    length: int | None = None
    temperature: float | None = None
    counting: Counting | None = None

    def __post_init__(self) -> None:
        if self.counting is not None:
            # Not `batch`: a description must not depend on the other units of its batch.
            one_of("decoding.counting", self.counting, ("exact", "one_more"))
        DecodingSettings(**self.values())

    def values(self) -> dict[str, Any]:
        """Returns the settings of `DecodingSettings` that are not None."""
        settings = asdict(self)
        del settings["counting"]
        return _without_none(settings)


def _without_none(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
