"""Published tables as data files: where they were printed, their cells, and how to recompute them."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen
from pydantic import Field

from ...harness.errors import InputError, nearest
from ..yaml_models import Model, Name, read_model
from .count_recipes import ClassMatches, ColumnMeans, DistinctTexts, SynonymMatches, WordCounts
from .printed_recipes import Combination, Denominators, NotAvailable, Ratio
from .rating_recipes import FlagCounts, RaterAgreement, RatingDifferences, RatingStatistics
from .recipe import Cell
from .text_recipes import EqualTexts, TextSimilarity
from .unit_recipes import Detectors, PairedByOrder
from .verdicts import Printed

# The key `recipe` chooses the class.
AnyPart = Annotated[
    Combination
    | Ratio
    | Denominators
    | NotAvailable
    | TextSimilarity
    | EqualTexts
    | WordCounts
    | DistinctTexts
    | SynonymMatches
    | ClassMatches
    | ColumnMeans
    | Detectors
    | PairedByOrder
    | RatingStatistics
    | RatingDifferences
    | RaterAgreement
    | FlagCounts,
    Field(discriminator="recipe"),
]


class Source(Model):
    """Where a table was printed.

    Attributes:
        printed_in: publication and number of the table.
        url: address of the publication or its code.
    """

    printed_in: Name
    url: Name


class PublishedTable(Model):
    """A published table.

    Attributes:
        name: name of its file, without suffix.
        title: what it shows.
        source: where it was printed.
        models: by text metric, the name of the model that the authors used.
        notes: what a reader should know.
        parts: its cells, grouped by the recipe that recomputes them.
    """

    name: Name
    title: Name
    source: Source
    models: dict[Name, Name] = Field(default_factory=dict)
    notes: tuple[Name, ...] = ()
    parts: Annotated[tuple[AnyPart, ...], MinLen(1)]

    def cells(self) -> dict[Cell, Printed | None]:
        """Returns the printed cells, in the order of the file."""
        return dict(cell for part in self.parts for cell in part.printed())

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields (key, problem) for what does not fit together."""
        cells: dict[Cell, Printed | None] = {}
        for number, part in enumerate(self.parts):
            for cell, printed in part.printed():
                if cell in cells:
                    yield f"parts.{number}.cells", f"the cell {cell[0]!r}, {cell[1]!r} appears twice"
                cells[cell] = printed
        for number, part in enumerate(self.parts):
            problems = [*part.check(cells)]
            yield from ((f"parts.{number}.{key}", problem) for key, problem in problems)
            if problems:
                continue  # the names of metrics cannot be read from a part that does not fit its cells
            for (row, column), _ in part.printed():
                for metric in part.metrics(row, column):
                    if metric not in self.models:
                        yield "models", f"the model of the metric {metric!r} is not named"


def folder() -> Path:
    """Returns the folder of the tables that are part of the package."""
    return Path(str(importlib.resources.files("dissectbench.results"))) / "published"


def known_tables() -> list[str]:
    """Returns the names of the tables that are part of the package."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def load_table(name: str) -> PublishedTable:
    """Reads a table.

    Args:
        name: the name of a known table, or the path of a YAML file.

    Raises:
        InputError: if there is no such table, or its file is not valid; names file and key.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder() / f"{name}.yaml"
    if path.parent == folder() and name not in known_tables():
        known = known_tables()
        hint = f"{nearest(name, known)} Known: {', '.join(known)}, or the path of a YAML file.".strip()
        raise InputError(f"no published table is named {name!r}", hint)
    table = read_model(path, PublishedTable, name=path.stem)
    for key, problem in table.problems():
        raise InputError(f"{path}, {key}: {problem}")
    return table
