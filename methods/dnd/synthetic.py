"""Synthetic images of candidates, the target's responses to them and their embeddings (step 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...harness.cache import Cache
from ...harness.foundation.image_cache import cached_images, stored_images
from ...harness.foundation.image_generators import seed_for
from ...harness.foundation.protocols import ImageGenerator, ImageTextEncoder
from ...harness.probe import ProbedLayer
from .settings import SyntheticImageSettings

if TYPE_CHECKING:
    from PIL.Image import Image

_IMAGES_IN_MEMORY = 256
"""Maximum number of images held in memory, independent of the number of candidates and units."""


@dataclass(frozen=True, eq=False)
class SyntheticResults:
    """Results for the synthetic images of one unit's candidates.

    Attributes:
        responses: for each candidate float32 [images], the unit's response to its images.
        embeddings: for each candidate float32 [images, d]; None without an encoder.
    """

    responses: tuple[NDArray[np.float32], ...]
    embeddings: tuple[NDArray[np.float32], ...] | None


class SyntheticImages:
    """Generates images of candidates and shows them to the target.

    Args:
        generator: generates the images; existing ones are read from the layer's cache.
        settings: number and storage of the images.
        seed: seed of the run; each image has its own seed, computed from it, the text and its index.
    """

    def __init__(self, generator: ImageGenerator, settings: SyntheticImageSettings, seed: int) -> None:
        self.generator, self.settings, self.seed = generator, settings, seed

    def seeds(self, text: str) -> list[int]:
        """Returns the seeds of a candidate's images."""
        return [seed_for(text, index, self.seed) for index in range(self.settings.count)]

    @property
    def _size(self) -> tuple[int, int] | None:
        size = self.settings.size
        return (size[0], size[1]) if size else None

    def stored(self, text: str, seeds: Sequence[int], cache: Cache) -> list[Path | None]:
        """Returns the files of a candidate's images; None for those that are no longer in the cache."""
        form = self.settings.format
        return stored_images(self.generator, text, seeds, cache, format=form, size=self._size)

    def results(
        self,
        layer: ProbedLayer,
        candidates: Mapping[int, Sequence[str]],
        encoder: ImageTextEncoder | None = None,
    ) -> dict[int, SyntheticResults]:
        """Shows the target the images of all candidates of some units.

        A text that several units share is generated, shown and embedded once.

        Args:
            layer: the layer of the units.
            candidates: the texts of each unit.
            encoder: embeds the images; None: they are not embedded.
        """
        texts = list(dict.fromkeys(text for of_unit in candidates.values() for text in of_unit))
        units = list(candidates)
        responses: dict[str, NDArray[np.float32]] = {}
        embeddings: dict[str, NDArray[np.float32]] = {}
        for some, images in self._batches(texts, layer):
            of_images = layer.respond(images)[:, units]  # a copy: the other units' responses are freed
            responses |= zip(some, np.split(of_images, len(some)), strict=True)
            if encoder is not None:
                embeddings |= zip(some, np.split(encoder.encode_images(images), len(some)), strict=True)
        return {
            unit: SyntheticResults(
                tuple(responses[text][:, column] for text in of_unit),
                tuple(embeddings[text] for text in of_unit) if encoder is not None else None,
            )
            for column, (unit, of_unit) in enumerate(candidates.items())
        }

    def _batches(
        self, texts: Sequence[str], layer: ProbedLayer
    ) -> Iterator[tuple[Sequence[str], list[Image]]]:
        """Yields some texts and all their images.

        All texts go to the generator in one call, so that its batches are full although the images are
        consumed in smaller groups.
        """
        count = self.settings.count
        prompts = [text for text in texts for _ in range(count)]
        seeds = [seed for text in texts for seed in self.seeds(text)]
        images = cached_images(
            self.generator, prompts, seeds, layer.cache, format=self.settings.format, size=self._size
        )
        step = max(1, _IMAGES_IN_MEMORY // count)
        for start in range(0, len(texts), step):
            some = texts[start : start + step]
            yield some, list(islice(images, len(some) * count))
