"""Writes a tally as the `tally.csv` of the original programs."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator

import numpy as np

from ...datasets.probing_set import Annotations
from ...harness.files import atomic_open
from .detectors import best_labels
from .tally import Denominator, Tally, category_of


def write_tally_csv(
    path: str | os.PathLike[str],
    tally: Tally,
    annotations: Annotations,
    denominator: Denominator = "paper",
    *,
    count_label_zero: bool = False,
) -> None:
    """Writes one row per unit, in descending order of the score.

    Columns: unit, category, label, score, then for each category its best label with the label's
    truth, activation, intersect (pixels) and iou. Units are numbered **from 1** in this file. Labels
    are named as in the data set; scores and IoUs have nine decimals. Where a unit overlaps no label of
    a category, the label is empty and the numbers are those of label 0, as in the original files.

    After a run, `NetworkDissection.tally` returns the tally of a layer from the cache.

    Args:
        path: the file to write.
        tally: tally of all units of a layer.
        annotations: the annotations of the layer's probing set.
        denominator: definition of the IoU, see `Tally.pixels`.
        count_label_zero: include label 0 in the last category, without a name, as in the files of the
            original programs.

    Raises:
        InputError: if the file cannot be written.
    """
    fields = ("label", "truth", "activation", "intersect", "iou")
    header = ["unit", "category", "label", "score"]
    header += [f"{category}-{name}" for category in annotations.categories for name in fields]
    with atomic_open(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(_rows(tally, annotations, denominator, first=0 if count_label_zero else 1))


def _rows(
    tally: Tally, annotations: Annotations, denominator: Denominator, first: int
) -> Iterator[list[str]]:
    category = category_of(annotations)
    iou = tally.iou(denominator, category)
    best = best_labels(iou, category, len(annotations.categories), first=first)
    names = ["", *(label.name for label in annotations.labels)]
    pixels = tally.pixels(denominator, category)
    score = best.iou.max(axis=1)
    for unit in np.argsort(-score, kind="stable"):  # units with equal scores in ascending order
        overall = best.overall[unit]
        primary = annotations.categories[overall] if overall >= 0 else ""
        label = names[best.number[unit, overall]] if overall >= 0 else ""
        row = [str(unit + 1), primary, label, f"{score[unit]:.9f}"]
        for number, value in zip(best.number[unit], best.iou[unit], strict=True):
            counts = (pixels.truth[number], pixels.activation[unit, number], pixels.shared[unit, number])
            row += [names[number], *map(str, counts), f"{value:.9f}"]
        yield row
