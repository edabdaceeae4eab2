"""The layouts of published description files, recognised by their header."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...datasets.concepts import readable


@dataclass(frozen=True)
class Layout:
    """The meaning of the columns of a description file. Column names are compared without case.

    Attributes:
        name: name of the layout, for messages.
        columns: the required columns; more may follow.
        unit: column of the unit.
        text: column of the description.
        alternatives: columns of further descriptions, best first.
        layer: column of the layer; None if the file has one layer that it does not name.
        score: column of the method's own score; None if there is none.
        method: short name of the method if only one tool uses the header, else None.
        method_column: column of the method; None if the file has one method.
        status: column of the status; None if a unit without a description is a blank cell.
        first_unit: number of the first unit in the file (units are 0-based everywhere else).
        several: whether a unit has several rows, such as one per annotator.
        clean: turns a cell into a text.
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


def _broden_words(label: str) -> str:
    # Broden labels end in -c (color) or -s (scene) and have underscores; references have plain words.
    return readable(label.strip())


PLAIN = Layout(
    "dissectbench",
    ("layer", "unit", "method", "description", "status", "score"),
    unit="unit",
    text="description",
    layer="layer",
    score="score",
    method_column="method",
    status="status",
)
CLIP_DISSECT = Layout(
    "CLIP-Dissect",
    ("layer", "unit", "description", "similarity"),
    unit="unit",
    text="description",
    layer="layer",
    score="similarity",
    method="clip_dissect",
)
# Without the name and method of MILAN, because it is one of several tools that write this header.
MILAN = Layout(
    "plain table with layers",
    ("layer", "unit", "description"),
    unit="unit",
    text="description",
    layer="layer",
)
MILANNOTATIONS = Layout(
    "MILANNOTATIONS",
    ("layer", "unit", "summary"),
    unit="unit",
    text="summary",
    layer="layer",
    method="milannotations",
    several=True,
)
NETWORK_DISSECTION = Layout(
    "Network Dissection",
    ("unit", "category", "label", "score"),
    unit="unit",
    text="label",
    score="score",
    method="netdissect",
    first_unit=1,
    clean=_broden_words,
    # The paper's limit for a detector: IoU > 0.04.
    threshold=0.04,
)
DESCRIBE_AND_DISSECT = Layout(
    "Describe-and-Dissect",
    ("Neuron ID", "Label 1", "Label 2", "Label 3"),
    unit="Neuron ID",
    text="Label 1",
    alternatives=("Label 2", "Label 3"),
    method="dnd",
)
DESCRIBE_AND_DISSECT_ONE_LABEL = Layout(
    "Describe-and-Dissect, one label",
    ("Neuron ID", "label"),
    unit="Neuron ID",
    text="label",
    method="dnd",
)
LINEAR_EXPLANATIONS = Layout(
    "plain table of one layer", ("unit", "description"), unit="unit", text="description"
)
INVERT = Layout(
    "INVERT",
    ("neuron", "concept", "concept_id", "metric"),
    unit="neuron",
    text="concept",
    score="metric",
    method="invert",
)

# A file has the first layout whose columns it has, so a layout comes before those with fewer columns.
LAYOUTS = (
    PLAIN,
    CLIP_DISSECT,
    MILAN,
    MILANNOTATIONS,
    NETWORK_DISSECTION,
    DESCRIBE_AND_DISSECT,
    DESCRIBE_AND_DISSECT_ONE_LABEL,
    LINEAR_EXPLANATIONS,
    INVERT,
)


def recognise(header: Sequence[str]) -> Layout | None:
    """Returns the layout whose columns the header has, or None."""
    present = {column.strip().lower() for column in header}
    for layout in LAYOUTS:
        if present.issuperset(column.lower() for column in layout.columns):
            return layout
    return None


def known_headers() -> str:
    """Lists the known headers, one per line, for messages."""
    return "\n".join(f"    {','.join(layout.columns)}  ({layout.name})" for layout in LAYOUTS)
