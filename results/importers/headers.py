"""The layouts in which description files are published, told apart by their header."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """What the columns of a description file mean. Column names are compared without case.

    Attributes:
        name: name of the layout, for messages.
        columns: the columns that must be there; others may follow.
        unit: column of the unit.
        text: column of the description.
        alternatives: columns of further descriptions, best first.
        layer: column of the layer; None if the file is about one layer that it does not name.
        score: column of the method's own score; None if there is none.
        method: short name of the method if the header belongs to one tool alone, else None.
        method_column: column of the method; None if the file is about one method.
        status: column of the status; None if a unit without a description is a blank cell.
        first_unit: number of the first unit in the file (everything here is 0-based).
        several: whether a unit has several rows, such as one per annotator.
        clean: what turns a cell into words.
        threshold: scores up to this one are counted as weak; their label is kept.
    """

    name: str
    columns: tuple[str, ...]
    unit: str
    text: str
    alternatives: tuple[str, ...] = ()
    layer: str | None = None
    score: str | None = None
    method: str | None = None
    method_column: str | None = None
    status: str | None = None
    first_unit: int = 0
    several: bool = False
    clean: Callable[[str], str] = str.strip
    threshold: float | None = None


def broden_words(label: str) -> str:
    """Turns a Broden label into words: `red-c` is "red", `art_gallery-s` is "art gallery"."""
    return re.sub(r"-[cs]$", "", label.strip()).replace("_", " ")


PLAIN_COLUMNS = ("layer", "unit", "method", "description", "status", "score")

# The first layout whose columns are all there is the file's: the more specific ones come first.
LAYOUTS = (
    Layout(
        "dissectbench",
        PLAIN_COLUMNS,
        unit="unit",
        text="description",
        layer="layer",
        score="score",
        method_column="method",
        status="status",
    ),
    Layout(
        "CLIP-Dissect",
        ("layer", "unit", "description", "similarity"),
        unit="unit",
        text="description",
        layer="layer",
        score="similarity",
        method="clip_dissect",
    ),
    # MILAN's own, and that of many others: the header does not say whose descriptions they are.
    Layout("MILAN", ("layer", "unit", "description"), unit="unit", text="description", layer="layer"),
    Layout(
        "MILANNOTATIONS",
        ("layer", "unit", "summary"),
        unit="unit",
        text="summary",
        layer="layer",
        method="milannotations",
        several=True,
    ),
    Layout(
        "Network Dissection",
        ("unit", "category", "label", "score"),
        unit="unit",
        text="label",
        score="score",
        method="netdissect",
        first_unit=1,
        clean=broden_words,
        threshold=0.04,
    ),
    Layout(
        "Describe-and-Dissect",
        ("Neuron ID", "Label 1", "Label 2", "Label 3"),
        unit="Neuron ID",
        text="Label 1",
        alternatives=("Label 2", "Label 3"),
        method="dnd",
    ),
    Layout(
        "Describe-and-Dissect, one label",
        ("Neuron ID", "label"),
        unit="Neuron ID",
        text="label",
        method="dnd",
    ),
    Layout("Linear Explanations", ("unit", "description"), unit="unit", text="description"),
    Layout(
        "INVERT",
        ("neuron", "concept", "concept_id", "metric"),
        unit="neuron",
        text="concept",
        score="metric",
        method="invert",
    ),
)


def recognise(header: Sequence[str]) -> Layout | None:
    """Returns the layout whose columns the header has, or None."""
    present = {column.strip().lower() for column in header}
    for layout in LAYOUTS:
        if present.issuperset(column.lower() for column in layout.columns):
            return layout
    return None


def known_headers() -> str:
    """Lists the known headers, one a line, for messages."""
    return "\n".join(f"    {','.join(layout.columns)}  ({layout.name})" for layout in LAYOUTS)
