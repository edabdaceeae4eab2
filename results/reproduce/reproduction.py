"""Recomputes the cells of a published table, and compares them with the printed ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .published_files import NotComputable, PublishedFiles, ReadFile
from .published_table import PublishedTable
from .recipe import Cell, Outcome, Part, Scorer, Sources
from .verdicts import Printed, Verdict, agrees


@dataclass(frozen=True)
class Substitute:
    """Other models than the authors', whose numbers are shown in a column of their own.

    Attributes:
        name: heading of the column.
        scorer: the models.
    """

    name: str
    scorer: Scorer


@dataclass(frozen=True)
class ReproducedCell:
    """A cell of a published table.

    Attributes:
        row: name of its row.
        column: name of its column.
        printed: the printed number; None if there is none.
        outcome: the recomputed number; None if it cannot be computed.
        needs: what is needed to compute it; None if it is computed.
        substitute: the number that other models give, for cells that depend on a model.
    """

    row: str
    column: str
    printed: Printed | None
    outcome: Outcome | None
    needs: str | None
    substitute: Outcome | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the printed number is confirmed."""
        if self.outcome is None:
            return "not computable"
        if self.printed is None:
            return "not printed"
        return "confirmed" if agrees(self.printed, self.outcome.value, self.outcome.margin) else "differs"


@dataclass(frozen=True)
class Reproduction:
    """A published table with recomputed cells.

    Attributes:
        table: the published table.
        cells: its cells, in the order of its file.
        files: the files that were read.
        models: the models that were used, by text metric.
        substitute: heading of the column for other models; None if there is none.
    """

    table: PublishedTable
    cells: tuple[ReproducedCell, ...]
    files: tuple[ReadFile, ...]
    models: dict[str, str]
    substitute: str | None


def reproduce_table(
    table: PublishedTable, files: PublishedFiles, scorer: Scorer, substitute: Substitute | None = None
) -> Reproduction:
    """Recomputes every cell that can be recomputed.

    Args:
        table: the published table.
        files: the published files.
        scorer: the models of text metrics that the authors used.
        substitute: other models, for a column of their own.

    Raises:
        InputError: if a file cannot be read.
    """
    files.files_read()  # forgets what was read for another table
    printed = table.cells()
    sources = Sources(files, scorer, printed)
    others = Sources(files, substitute.scorer, printed, substitute=True) if substitute else None
    cells = []
    models: dict[str, str] = {}
    for part in table.parts:
        for (row, column), number in part.printed():
            outcome = _outcome(table, part, (row, column), sources)
            metrics = part.metrics(row, column)
            other = _outcome(table, part, (row, column), others) if others and metrics else None
            for used, result in ((scorer, outcome), (substitute and substitute.scorer, other)):
                if used and isinstance(result, Outcome):
                    models |= {f"{used.model(m)} for {m}": used.identity(m) for m in metrics}
            cells.append(_cell(row, column, number, outcome, other))
    return Reproduction(
        table, tuple(cells), files.files_read(), models, substitute.name if substitute else None
    )


def _outcome(table: PublishedTable, part: Part, cell: Cell, sources: Sources) -> Outcome | str:
    """Returns the recomputed number, or what is needed to compute it."""
    metrics = [m for m in part.metrics(*cell) if not sources.scorer.available(m)]
    missing = [table.models[metric] for metric in dict.fromkeys(metrics)]
    # Not only the first file that a recipe would look for.
    files = [path for path in part.files(*cell) if sources.files.find(path) is None]
    missing += list(dict.fromkeys(files)) if sources.files.folders else ["--published DIR"][: len(files)]
    if missing:
        return ", ".join(missing)
    try:
        return part.value(*cell, sources)
    except NotComputable as error:
        return str(error)


def _cell(
    row: str, column: str, printed: Printed | None, outcome: Outcome | str, other: Outcome | str | None
) -> ReproducedCell:
    return ReproducedCell(
        row=row,
        column=column,
        printed=printed,
        outcome=outcome if isinstance(outcome, Outcome) else None,
        needs=outcome if isinstance(outcome, str) else None,
        substitute=other if isinstance(other, Outcome) else None,
    )


def computable(table: PublishedTable, files: PublishedFiles, metrics: Sequence[str]) -> int:
    """Returns how many cells of a table can be recomputed, without reading any file.

    Args:
        table: the published table.
        files: the published files.
        metrics: the text metrics whose models are available.
    """
    from .printed_recipes import NotAvailable

    return sum(
        all(files.find(path) for path in part.files(*cell))
        and all(metric in metrics for metric in part.metrics(*cell))
        for part in table.parts
        if not isinstance(part, NotAvailable)
        for cell, _ in part.printed()
    )
