"""What the report shows of the activations of a run: images with regions, and histograms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .illustrations import ShownIllustration
from .neighbours import Neighbour

SIZE = 96
"""Height and width of a thumbnail, and of the grid that regions are drawn on."""


@dataclass(frozen=True)
class ShownImage:
    """An image as a unit's section shows it.

    Attributes:
        thumbnail: index into `RunImages.thumbnails`.
        name: class or file name.
        value: the unit's value.
        region: SVG path around the pixels where the unit is active, on a grid of SIZE x SIZE over the
            thumbnail; "" if there are none; None for a layer without spatial extent.
    """

    thumbnail: int
    name: str
    value: float
    region: str | None = None


@dataclass(frozen=True)
class Histogram:
    """How often values of a unit occur.

    Attributes:
        counts: number of images by bin, from the lowest values to the highest.
        low: lowest value.
        high: highest value.
    """

    counts: tuple[int, ...]
    low: float
    high: float

    @property
    def heights(self) -> list[float]:
        """Returns the logarithm of 1 + count by bin: most values are 0 after a ReLU."""
        return [math.log1p(count) for count in self.counts]


@dataclass(frozen=True)
class UnitImages:
    """The images of one unit in three bands, see `choose_images`, and what else is known of its values.

    Attributes:
        top: the highest values.
        fifths: one image from each fifth.
        lowest: the lowest values.
        histogram: of the values of all images.
        threshold: above which a region is outlined.
        correlated: units with similar values.
        evidence: what each method illustrates, by its name.
    """

    top: tuple[ShownImage, ...]
    fifths: tuple[ShownImage, ...]
    lowest: tuple[ShownImage, ...]
    histogram: Histogram
    threshold: float | None = None
    correlated: tuple[Neighbour, ...] = ()
    evidence: Mapping[str, tuple[ShownIllustration, ...]] = field(default_factory=dict)

    def renumbered(self, numbers: Sequence[int]) -> UnitImages:
        """Returns the same images with other numbers of thumbnails: `numbers` by the present ones."""
        top, fifths, lowest = (
            tuple(replace(image, thumbnail=numbers[image.thumbnail]) for image in band)
            for band in (self.top, self.fifths, self.lowest)
        )
        evidence = {
            method: tuple(illustration.renumbered(numbers) for illustration in illustrations)
            for method, illustrations in self.evidence.items()
        }
        return replace(self, top=top, fifths=fifths, lowest=lowest, evidence=evidence)


@dataclass(frozen=True)
class RunImages:
    """The images of all units of a run.

    Attributes:
        units: by layer and unit index; dead units have none.
        thumbnails: WebP files, one per image, however many units share it.
        missing: why there are none; "" if there are.
        notes: what a reader should know about the images.
    """

    units: Mapping[tuple[str, int], UnitImages] = field(default_factory=dict)
    thumbnails: Sequence[bytes] = ()
    missing: str = ""
    notes: tuple[str, ...] = ()
