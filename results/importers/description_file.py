"""The content of a description file, and of one row of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...harness.scores import ScoreStatus

LayerSource = Literal["column", "argument", "file name"]


@dataclass(frozen=True)
class DescriptionRow:
    """The description of one unit in a file.

    Attributes:
        layer: name of the layer.
        unit: index of the unit, 0-based, also if the file counts from 1.
        method: name of the method.
        text: the description, without surrounding space; None unless `status` is "ok".
        status: "ok"; "missing" (the file has the unit, but no words); "below_threshold", "dead" or
            "failed" if the file says so.
        score: the method's own score, if the file has one.
        alternatives: further descriptions of the unit, best first; the other annotations of a unit; the
            other concepts of a weighted sum.
        line: line of the file on which the row starts, from 1.
        weights: the weights of the description, if there is one, and of the alternatives, in this order;
            empty if the file has none.
    """

    layer: str
    unit: int
    method: str
    text: str | None
    status: ScoreStatus
    score: float | None
    alternatives: tuple[str, ...]
    line: int
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class DescriptionFile:
    """The content of a description file.

    Attributes:
        path: path of the file.
        layout: name of its layout.
        rows: one per method, layer and unit: by method, its layers in the file's order, units ascending.
        records: number of rows in the file; a unit may have several.
        oddities: what is unusual in the file or was changed, and how often.
        layer_from: where the layer was found: in a "column", given as an "argument", or in the "file
            name".
        unused_columns: the columns that were not read.
        first_lines: the first line with each oddity; of the file as a whole there is none.
    """

    path: Path
    layout: str
    rows: tuple[DescriptionRow, ...]
    records: int
    oddities: Mapping[str, int]
    layer_from: LayerSource = "column"
    unused_columns: tuple[str, ...] = ()
    first_lines: Mapping[str, int] = field(default_factory=dict)
