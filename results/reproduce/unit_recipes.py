"""Recipes about units: detectors of Network Dissection, and files joined by order instead of by unit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Le

from ..csv_files import number
from .recipe import FilePath, Model, Name, Outcome, Part, Sources

CATEGORIES = ("color", "object", "part", "material", "scene", "texture")


class Detectors(Part):
    """Counts detectors, the units whose IoU exceeds a threshold, and the labels that have one.

    Two counting rules exist. Per category, the published one: a unit counts in every category whose best
    label exceeds the threshold; unique labels are counted per category and added up. Best label only: a
    unit counts once, with the label of its highest IoU.

    Attributes:
        paths: by row, a file of Network Dissection.
        threshold: IoU that a detector must exceed.
    """

    recipe: Literal["detectors"]
    paths: dict[Name, FilePath]
    threshold: float = 0.04

    def columns_known(self) -> Sequence[str]:
        """Units, detectors, unique labels under both rules, unique labels of each category, mean IoU."""
        return ("units", "detectors", "unique", "unique, best label only", *CATEGORIES, "mean IoU")

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.paths)

    def files(self, row: str, column: str) -> Sequence[str]:
        """See `Part.files`."""
        return [self.paths[row]]

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns a count, or the mean of the best IoU over units."""
        path = self.paths[row]
        used = [f"{category}-{cell}" for category in CATEGORIES for cell in ("label", "iou")]
        records = sources.files.records(path, ["label", "score", *used])
        if column == "units":
            return Outcome(len(records), units=len(records))
        scores = [number(record, "score", path) for record in records]
        if column == "mean IoU":
            return Outcome(sum(scores) / len(scores), units=len(records))
        above = [r for r, score in zip(records, scores, strict=True) if score > self.threshold]
        unique = {
            category: {
                record[f"{category}-label"]
                for record in records
                if number(record, f"{category}-iou", path) > self.threshold
            }
            for category in CATEGORIES
        }
        counts = {
            "detectors": len(above),
            "unique": sum(map(len, unique.values())),
            "unique, best label only": len({record["label"] for record in above}),
            **{category: len(labels) for category, labels in unique.items()},
        }
        return Outcome(counts[column], units=len(records))


class SampledFile(Model):
    """A file whose rows a program pairs with a sample of units.

    Attributes:
        file: the file.
        unit: its column of units.
        units: number of units of the layer.
    """

    file: FilePath
    unit: Name
    units: Annotated[int, Ge(1), Le(1_000_000_000)]


class PairedByOrder(Part):
    """How many rows of a file are paired with their own unit, if rows are joined to a sample by order.

    The sample is Python's `random.sample` of all units, in its order. The longer of the two is cut.

    Attributes:
        samples: by row.
        seed: seed of the sample.
        sampled: size of the sample.
    """

    recipe: Literal["paired_by_order"]
    samples: dict[Name, SampledFile]
    seed: int
    sampled: Annotated[int, Ge(1)]

    def columns_known(self) -> Sequence[str]:
        """Pairs, and those of a row with its own unit."""
        return "pairs", "right pairs"

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.samples)

    def files(self, row: str, column: str) -> Sequence[str]:
        """See `Part.files`."""
        return [self.samples[row].file]

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns a count."""
        chosen = self.samples[row]
        records = sources.files.records(chosen.file, [chosen.unit])
        # The generator of the published program, so that its sample is drawn.
        size = min(self.sampled, chosen.units)
        sample = random.Random(self.seed).sample(range(chosen.units), size)
        units = [int(number(record, chosen.unit, chosen.file)) for record in records]
        pairs = list(zip(units, sample, strict=False))
        right = sum(unit == drawn for unit, drawn in pairs)
        return Outcome(len(pairs) if column == "pairs" else right, units=len(pairs))
