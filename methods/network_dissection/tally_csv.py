"""The `tally.csv` of the original programs, for tools that read it."""

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
    """Writes one row per unit, the best score first.

    Columns: unit, category, label, score, then for every category its best label with the label's
    truth, activation, intersect (pixels) and iou. Units are counted **from 1** in this file. Labels
    are named as in the data set; scores and IoUs have nine decimals. Where a unit meets no label of a
    category, the label is empty and the numbers are those of label 0, which is how the original
    programs fill the row.

    Args:
        path: the file.
        tally: of the whole layer.
        annotations: the labels that were counted.
        denominator: which IoU.
        count_label_zero: let label 0 compete in the last category, without a name, as it does in the
            files of the original programs.
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
    for unit in np.argsort(-score, kind="stable"):
        overall = best.overall[unit]
        kind = annotations.categories[overall] if overall >= 0 else ""
        label = names[best.number[unit, overall]] if overall >= 0 else ""
        row = [str(unit + 1), kind, label, f"{score[unit]:.9f}"]
        for number, value in zip(best.number[unit], best.iou[unit], strict=True):
            counts = (pixels.truth[number], pixels.activation[unit, number], pixels.shared[unit, number])
            row += [names[number], *map(str, counts), f"{value:.9f}"]
        yield row
