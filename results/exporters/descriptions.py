"""Writes descriptions as CSV: in a plain layout with everything, and in the layouts of other tools."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from typing import Literal

from ...harness.errors import InputError
from ...harness.files import atomic_open
from ...harness.records import Description
from ..importers.headers import PLAIN_COLUMNS

OriginalLayout = Literal["clip_dissect", "milan", "dnd"]
_HEADERS: dict[OriginalLayout, tuple[str, ...]] = {
    "clip_dissect": ("layer", "unit", "description", "similarity"),
    "milan": ("layer", "unit", "description"),
    "dnd": ("Neuron ID", "Label 1", "Label 2", "Label 3"),
}


def write_descriptions(descriptions: Iterable[Description], path: str | os.PathLike[str]) -> None:
    """Writes one row per record, with or without a text: layer,unit,method,description,status,score.

    `read_descriptions_csv` reads it back.

    Raises:
        InputError: if the file cannot be written.
    """
    rows = [
        (d.unit.layer, d.unit.index, d.method, d.text, d.status, d.score) for d in _latest(descriptions)
    ]
    _write(path, PLAIN_COLUMNS, rows)


def write_original_csv(
    descriptions: Iterable[Description], path: str | os.PathLike[str], layout: OriginalLayout
) -> int:
    """Writes the descriptions of one method in the layout of another tool.

    These layouts have no way to say that a unit has no description, and their readers would take an
    empty cell for one. So such units are left out.

    Args:
        descriptions: the records of one method.
        path: the file to write.
        layout: "clip_dissect" (`layer,unit,description,similarity`), "milan" (`layer,unit,description`)
            or "dnd" (`Neuron ID,Label 1,Label 2,Label 3` of one layer: the description and the best two
            of the other candidates, a single space where there is none).

    Returns:
        How many units were left out.

    Raises:
        InputError: if the records are of several methods, or of several layers in a layout that names
            none, or if the file cannot be written.
    """
    records = _latest(descriptions)
    _check_one({d.method for d in records}, "method")
    if layout == "dnd":
        _check_one({d.unit.layer for d in records}, "layer")
    described = [d for d in records if d.text is not None]
    _write(path, _HEADERS[layout], [_original_row(d, layout) for d in described])
    return len(records) - len(described)


def _original_row(description: Description, layout: OriginalLayout) -> tuple[object, ...]:
    place = (description.unit.layer, description.unit.index, description.text)
    if layout == "milan":
        return place
    if layout == "clip_dissect":
        return (*place, description.score)
    others = dict.fromkeys(c.text for c in description.candidates if c.text != description.text)
    second, third, *_ = (*others, " ", " ")
    return (description.unit.index, description.text, second, third)


def _latest(descriptions: Iterable[Description]) -> list[Description]:
    """Returns the last record of every unit and method, in the order in which they first appear."""
    return list({(d.unit, d.method): d for d in descriptions}.values())


def _check_one(names: set[str], what: str) -> None:
    if len(names) > 1:
        raise InputError(
            f"this layout holds one {what}, not {len(names)}: {', '.join(sorted(names))}",
            f"export each {what} to a file of its own",
        )


def _write(path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with atomic_open(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
