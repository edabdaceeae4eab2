"""Synthetic images of candidates, and what the target and the encoder make of them (step 3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ...harness.errors import InputError
from ...harness.foundation.image_cache import Format, cached_images
from ...harness.foundation.image_generators import seed_for
from ...harness.foundation.protocols import ImageGenerator, ImageTextEncoder
from ...harness.probe import ProbedLayer

_AT_ONCE = 256
"""So many pictures are held in memory, however many candidates and units there are."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """The synthetic images of one unit's candidates.

    Attributes:
        responses: for each candidate float32 [images], the unit's response to its images.
        embeddings: for each candidate float32 [images, d]; None where no encoder was asked.
    """

    responses: tuple[NDArray[np.float32], ...]
    embeddings: tuple[NDArray[np.float32], ...] | None


class Studio:
    """Has candidates drawn.

    Args:
        generator: draws them; what was drawn before comes from the layer's cache.
        images: per candidate.
        seed: of the run; every picture has a seed made of it, its text and its number.
        format: in which pictures are kept, see `cached_images`.
        size: (width, height) in which they are kept; None: as they are drawn.
    """

    def __init__(
        self,
        generator: ImageGenerator,
        images: int = 10,
        seed: int = 0,
        format: Format = "png",
        size: tuple[int, int] | None = None,
    ) -> None:
        self.generator, self.images, self.seed = generator, images, seed
        self.format: Format = format
        self.size = size

    def seeds(self, text: str) -> list[int]:
        """Returns the seeds of a candidate's pictures."""
        return [seed_for(text, index, self.seed) for index in range(self.images)]

    def draw(
        self,
        layer: ProbedLayer,
        candidates: Mapping[int, Sequence[str]],
        encoder: ImageTextEncoder | None = None,
    ) -> dict[int, Drawn]:
        """Shows the target the pictures of all candidates of some units.

        A text that several units share is drawn, shown and embedded once.

        Args:
            layer: of the units.
            candidates: each unit's texts.
            encoder: embeds the pictures; None: they are not embedded.
        """
        texts = list(dict.fromkeys(text for found in candidates.values() for text in found))
        units = list(candidates)
        responses: dict[str, NDArray[np.float32]] = {}
        embeddings: dict[str, NDArray[np.float32]] = {}
        for some, pictures in self._pictures(texts, layer):
            shown = layer.respond(pictures)[:, units]
            responses |= zip(some, np.split(shown, len(some)), strict=True)
            if encoder is not None:
                embeddings |= zip(some, np.split(encoder.encode_images(pictures), len(some)), strict=True)
        return {
            unit: Drawn(
                tuple(responses[text][:, column] for text in found),
                tuple(embeddings[text] for text in found) if encoder is not None else None,
            )
            for column, (unit, found) in enumerate(candidates.items())
        }

    def _pictures(self, texts: Sequence[str], layer: ProbedLayer) -> Iterator[tuple[Sequence[str], list]]:
        """Yields some texts and all their pictures, drawn as one series."""
        prompts = [text for text in texts for _ in range(self.images)]
        seeds = [seed for text in texts for seed in self.seeds(text)]
        drawn = cached_images(
            self.generator, prompts, seeds, layer.cache, format=self.format, size=self.size
        )
        step = max(1, _AT_ONCE // self.images)
        for start in range(0, len(texts), step):
            some = texts[start : start + step]
            yield some, list(islice(drawn, len(some) * self.images))


def picture_size(given: Iterable[int] | None) -> tuple[int, int] | None:
    """Returns the setting `image_size`.

    Raises:
        InputError: if it is not two positive numbers.
    """
    if given is None:
        return None
    size = tuple(given)
    if len(size) != 2 or min(size) < 1:
        raise InputError(
            f"describe_and_dissect.image_size={list(size)} is no size", "give [width,height], or null"
        )
    return size[0], size[1]
