"""Recipes that need printed cells only: sums, means, ratios, denominators of percentages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Literal

from annotated_types import Ge, Le, MinLen

from .published_files import NotComputable
from .recipe import Cell, Name, Outcome, Part, Sources
from .verdicts import Printed


class NotAvailable(Part):
    """Cells whose inputs were not published, or that need a whole pipeline.

    Attributes:
        needs: what would be needed.
    """

    recipe: Literal["not_available"]
    needs: Name

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Raises NotComputable, always."""
        raise NotComputable(self.needs)


class _OfCells(Part):
    """Recipes of other cells in the same column (over rows) or in the same row (over columns)."""

    over: Literal["rows", "columns"] = "rows"

    def inputs(self) -> Sequence[str]:
        """Returns the rows or columns that a cell is computed from."""
        raise NotImplementedError

    def cell_of(self, name: str, row: str, column: str) -> Cell:
        """Returns the cell that an input names, for the cell that is computed."""
        return (name, column) if self.over == "rows" else (row, name)

    def check(self, cells: Mapping[Cell, Printed | None]) -> Iterator[tuple[str, str]]:
        """See `Part.check`."""
        for (row, column), _ in self.printed():
            for name in self.inputs():
                if cells.get(self.cell_of(name, row, column)) is None:
                    yield "cells", f"{row!r}, {column!r} is computed from {name!r}, which is not printed"


class Combination(_OfCells):
    """A weighted sum of printed cells, divided by a number: sums, differences, weighted means.

    Attributes:
        weights: by row or column, its integer weight.
        divisor: what the sum is divided by.
    """

    recipe: Literal["combination"]
    weights: Annotated[dict[Name, Annotated[int, Ge(-1_000_000), Le(1_000_000)]], MinLen(1)]
    divisor: Annotated[int, Ge(1), Le(1_000_000_000)] = 1

    def inputs(self) -> Sequence[str]:
        """See `_OfCells.inputs`."""
        return list(self.weights)

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns the sum, and how far the rounding of its terms can have moved it."""
        terms = [
            (weight, sources.cell(*self.cell_of(name, row, column)))
            for name, weight in self.weights.items()
        ]
        # Fractions: in binary arithmetic 50.885 would be below or above the half case by chance.
        total = sum((weight * term.value for weight, term in terms), Fraction(0))
        margin = sum((abs(weight) * term.margin for weight, term in terms), Fraction(0))
        # Integers are counts and were not rounded.
        exact = all("." not in term.text for _, term in terms)
        return Outcome(total / self.divisor, Fraction(0) if exact else margin / self.divisor)


class Ratio(_OfCells):
    """A printed cell divided by the largest of others.

    Attributes:
        of: row or column of the numerator.
        to: rows or columns; the largest is the denominator.
        percent: whether the ratio is in percent.
    """

    recipe: Literal["ratio"]
    of: Name
    to: Annotated[tuple[Name, ...], MinLen(1)]
    percent: bool = False

    def inputs(self) -> Sequence[str]:
        """See `_OfCells.inputs`."""
        return [self.of, *self.to]

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns the ratio, and how far the rounding of both cells can have moved it."""
        top = sources.cell(*self.cell_of(self.of, row, column))
        others = [sources.cell(*self.cell_of(name, row, column)) for name in self.to]
        best = max(others, key=lambda printed: printed.value)
        if best.value <= best.margin:
            raise NotComputable("a denominator above zero")
        scale = 100 if self.percent else 1
        ratio = scale * top.value / best.value
        if all("." not in term.text for term in (top, best)):
            return Outcome(ratio)
        largest = scale * (abs(top.value) + top.margin) / (best.value - best.margin)
        return Outcome(ratio, largest - abs(ratio))


class Denominators(Part):
    """How many judgements percentages can be of: the numbers n for which all are k / n, rounded.

    Attributes:
        of: columns with percentages of one total.
        limit: the largest n that is tried.
    """

    recipe: Literal["denominators"]
    of: Annotated[tuple[Name, ...], MinLen(1)]
    limit: Annotated[int, Ge(1), Le(100_000)]

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns the smallest or largest denominator, or how many there are."""
        percentages = [sources.cell(row, name) for name in self.of]
        fits = {n: counts for n in range(1, self.limit + 1) if (counts := _counts(percentages, n))}
        if column == "denominators":
            words = (f"{n} ({', '.join(map(str, counts))})" for n, counts in fits.items())
            return Outcome(len(fits), note=f"{row}: {'; '.join(words) or 'no denominator fits'}")
        if not fits:
            raise NotComputable(f"a denominator up to {self.limit} that fits; there is none")
        return Outcome(min(fits) if column == "smallest denominator" else max(fits))

    def columns_known(self) -> Sequence[str]:
        """The number of denominators, the smallest and the largest."""
        return "denominators", "smallest denominator", "largest denominator"

    def check(self, cells: Mapping[Cell, Printed | None]) -> Iterator[tuple[str, str]]:
        """See `Part.check`."""
        yield from super().check(cells)
        for row in self.cells:
            for name in self.of:
                if cells.get((row, name)) is None:
                    yield "of", f"{row!r} has no printed cell {name!r}"


def _counts(percentages: Sequence[Printed], n: int) -> list[int] | None:
    """Returns the counts of which the percentages are rounded, or None if there are none for n."""
    counts = []
    for printed in percentages:
        count = round(printed.value * n / 100)
        if abs(Fraction(100 * count, n) - printed.value) > printed.margin:
            return None
        counts.append(count)
    return counts
