"""The base of recipes: a part of a published table, with its printed cells and how to recompute them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Annotated, Protocol

import numpy as np
from annotated_types import Gt, MinLen
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, StringConstraints

from ..yaml_models import Model, Name
from .published_files import NotComputable, PublishedFiles
from .verdicts import Printed

Cell = tuple[str, str]
"""The row and the column of a cell."""


class Scorer(Protocol):
    """Scores pairs of texts by the models of one choice of encoders."""

    def available(self, metric: str) -> bool:
        """Returns whether the model of a metric can be used."""
        ...

    def model(self, metric: str) -> str:
        """Returns the name of the model that a metric uses."""
        ...

    def identity(self, metric: str) -> str:
        """Returns the hash of a metric's model and settings; NotComputable if the model is missing."""
        ...

    def scores(self, metric: str, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        """Returns [n], one score per (description, reference); NotComputable if the model is missing."""
        ...


@dataclass(frozen=True)
class Outcome:
    """A recomputed number.

    Attributes:
        value: the number.
        margin: how far the rounding of printed inputs can have moved it.
        units: number of units (or ratings) that it was computed from.
        note: what a reader should know about it.
    """

    value: float | Fraction
    margin: Fraction = Fraction(0)
    units: int | None = None
    note: str | None = None


@dataclass(frozen=True)
class Sources:
    """What recipes compute from.

    Attributes:
        files: the published files.
        scorer: the models of text metrics.
        printed: the printed cells of the whole table.
        substitute: whether the models replace those of the authors.
    """

    files: PublishedFiles
    scorer: Scorer
    printed: Mapping[Cell, Printed | None]
    substitute: bool = False

    def cell(self, row: str, column: str) -> Printed:
        """Returns a printed cell; NotComputable if it was not printed."""
        printed = self.printed.get((row, column))
        if printed is None:
            raise NotComputable(f"the cell {row!r}, {column!r}, which is not printed")
        return printed


def _relative(path: str) -> str:
    # A table can come from anywhere: it must not read files outside the folders of published files.
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
        raise ValueError("must be a path below the folder of published files")
    return path


FilePath = Annotated[Name, AfterValidator(_relative)]
# Strings, because a YAML number loses its trailing zeros and with them the printed precision.
PrintedText = Annotated[str, StringConstraints(strict=True, pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,12})?$")]


class Texts(Model):
    """Descriptions in a published file.

    Attributes:
        file: the file.
        layer: the layer to read; also the name of the layer for a file that does not name it.
    """

    file: FilePath
    layer: Name | None = None


class Part(Model):
    """Cells of a table that one recipe recomputes. Subclasses have the parameters of a recipe.

    Attributes:
        cells: by row and column, the printed number, or null if there is none.
        step: what the numbers were rounded to multiples of before they were printed, if anything.
        note: what a reader should know about these cells.
    """

    cells: Annotated[dict[Name, Annotated[dict[Name, PrintedText | None], MinLen(1)]], MinLen(1)]
    # The bounds keep a hostile exponent from becoming a fraction of a million digits.
    step: Annotated[Decimal, Gt(0), Field(max_digits=24, decimal_places=12)] | None = None
    note: Name | None = None

    def printed(self) -> Iterator[tuple[Cell, Printed | None]]:
        """Yields the cells in the order of the file."""
        for row, columns in self.cells.items():
            for column, text in columns.items():
                yield (row, column), Printed.of(text, self.step) if text is not None else None

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Recomputes a cell.

        Raises:
            NotComputable: if a file, a model or a printed cell is missing.
            InputError: if a file cannot be read.
        """
        raise NotImplementedError

    def files(self, row: str, column: str) -> Sequence[str]:
        """Returns the files that a cell needs."""
        return ()

    def metrics(self, row: str, column: str) -> Sequence[str]:
        """Returns the text metrics that a cell needs."""
        return ()

    def rows_known(self) -> Collection[str] | None:
        """Returns the rows that the parameters describe; None if a row needs no parameters."""
        return None

    def columns_known(self) -> Collection[str] | None:
        """Returns the columns that the recipe can compute; None if it can compute any."""
        return None

    def check(self, cells: Mapping[Cell, Printed | None]) -> Iterator[tuple[str, str]]:
        """Yields (key, problem) for parameters that do not fit the cells of the table."""
        for row, columns in self.cells.items():
            for problem in unnamed(self.rows_known(), [row]):
                yield "cells", f"the row {problem}"
            for problem in unnamed(self.columns_known(), list(columns)):
                yield f"cells.{row}", problem


def unnamed(known: Collection[str] | None, used: Sequence[str]) -> Iterator[str]:
    """Yields a problem for every used name that is not known; None knows all names."""
    for name in dict.fromkeys(used):
        if known is not None and name not in known:
            yield f"{name!r} is none of {', '.join(known)}"
