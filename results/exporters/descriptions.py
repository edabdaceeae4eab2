"""Writes descriptions as CSV, in a plain layout with all columns or in the layouts of other tools."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ...harness.errors import InputError, one_of
from ...harness.records import Description
from ..importers.layout_files import built_in_layouts
from .csv_file import write_csv
from .network_dissection import has_label, network_dissection_rows

OriginalLayout = Literal["clip_dissect", "milan", "dnd", "netdissect"]
Rows = list[list[object]]

# What Describe-and-Dissect joins the labels of one unit with.
_BETWEEN_LABELS = "; "
# The original files have a single space where a unit has fewer than three labels.
_NO_LABEL = " "


def write_descriptions(descriptions: Iterable[Description], path: str | os.PathLike[str]) -> None:
    """Writes one row per record, with or without a text: layer,unit,method,description,status,score.

    `read_descriptions_csv` reads it back.

    Args:
        descriptions: the records of one target; a later record of a unit replaces an earlier one.
        path: the file to write.

    Raises:
        InputError: if the records are of several targets, or the file cannot be written.
    """
    records = _latest(descriptions)
    _check_one({d.unit.target for d in records}, "target")
    rows = [(d.unit.layer, d.unit.index, d.method, d.text, d.status, d.score) for d in records]
    write_csv(path, [_header("dissectbench"), *rows])


def write_original_csv(
    descriptions: Iterable[Description],
    path: str | os.PathLike[str],
    layout: OriginalLayout,
    *,
    leave_out_undescribed: bool = False,
) -> list[Description]:
    """Writes the descriptions of one target and method in the layout of another tool.

    * `clip_dissect`: layer,unit,description,similarity; any number of layers.
    * `milan`: layer,unit,description; any number of layers.
    * `dnd`: Neuron ID,Label 1,Label 2,Label 3, of one layer: the description or its labels, then the next
      best candidates.
    * `netdissect`: unit,category,label,score and the best label of every category, of one layer. Units
      are counted from 1, and those below the threshold have their label too.

    None of them can represent a unit without a description: their readers would take an empty cell for a
    description.

    Args:
        descriptions: the records; a later record of a unit replaces an earlier one.
        path: the file to write.
        layout: the layout.
        leave_out_undescribed: leave out the units that the layout cannot represent, instead of refusing.

    Returns:
        The records that were left out.

    Raises:
        InputError: if the records are of several targets or methods, or of several layers in a layout of
            one layer; if there are units without a description; if the layout is `netdissect` and a
            record has no Broden label; if there is nothing to write, or the file cannot be written.
    """
    one_of("layout", layout, _EXPORTS)
    export = _EXPORTS[layout]
    records = _latest(descriptions)
    _check_one({d.unit.target for d in records}, "target")
    _check_one({d.method for d in records}, "method")
    if export.one_layer:
        _check_one({d.unit.layer for d in records}, "layer")
    described = [d for d in records if export.has_row(d)]
    left_out = [d for d in records if not export.has_row(d)]
    if left_out and not leave_out_undescribed:
        raise InputError(
            f"the layout {layout} cannot represent {_counted(left_out)}",
            "leave them out (leave_out_undescribed), or use the plain layout, which has a status",
        )
    if not described:
        raise InputError("there is no description to export")
    write_csv(path, export.rows(described))
    return left_out


@dataclass(frozen=True)
class _Export:
    """How records become the rows of a layout, header included."""

    rows: Callable[[Sequence[Description]], Rows]
    one_layer: bool = False
    has_row: Callable[[Description], bool] = lambda description: description.text is not None


def _header(layout: str) -> list[object]:
    return list(built_in_layouts()[layout].header)


def _clip_dissect_rows(records: Sequence[Description]) -> Rows:
    rows = [[d.unit.layer, d.unit.index, d.text, d.score] for d in records]
    return [_header("clip_dissect"), *rows]


def _milan_rows(records: Sequence[Description]) -> Rows:
    return [_header("milan"), *([d.unit.layer, d.unit.index, d.text] for d in records)]


def _dnd_rows(records: Sequence[Description]) -> Rows:
    rows = [[d.unit.index, *_three_labels(d)] for d in records]
    return [_header("describe_and_dissect"), *rows]


def _three_labels(description: Description) -> list[str]:
    """Returns the labels of a description, then the next best candidates, then blanks."""
    text = description.text or ""
    candidates = [candidate.text for candidate in description.candidates]
    labels = text.split(_BETWEEN_LABELS)
    if not set(labels) <= set(candidates):
        labels = [text]  # the separator is part of a single label
    if len(labels) > 3:
        raise InputError(
            f"unit {description.unit.index} has {len(labels)} labels; the layout dnd has three",
            "run the method with labels.count=3 or fewer",
        )
    # The labels are candidates, too: `fromkeys` drops their repetition and keeps the order.
    return [*dict.fromkeys([*labels, *candidates]), _NO_LABEL, _NO_LABEL][:3]


_EXPORTS: dict[OriginalLayout, _Export] = {
    "clip_dissect": _Export(_clip_dissect_rows),
    "milan": _Export(_milan_rows),
    "dnd": _Export(_dnd_rows, one_layer=True),
    "netdissect": _Export(network_dissection_rows, one_layer=True, has_row=has_label),
}


def _latest(descriptions: Iterable[Description]) -> list[Description]:
    """Returns the last record of every unit and method, in the order in which they first appear."""
    return list({(d.unit, d.method): d for d in descriptions}.values())


def _check_one(names: set[str], what: str) -> None:
    if len(names) > 1:
        raise InputError(
            f"the file holds one {what}, not {len(names)}: {', '.join(sorted(names))}",
            f"export each {what} to a file of its own",
        )


def _counted(records: Sequence[Description]) -> str:
    """Returns "3 units without a description (2 dead, 1 failed), such as fc 7"."""
    status = Counter(d.status.replace("_", " ") for d in records)
    counts = ", ".join(f"{n} {name}" for name, n in status.items())
    first = records[0].unit
    return f"{len(records)} units without a description ({counts}), such as {first.layer} {first.index}"
