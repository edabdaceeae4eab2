"""Tables of reproductions, and of the published tables that are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction

from ..tables.table import Column, Row, Table, Value
from .published_files import PublishedFiles
from .published_table import PublishedTable
from .reproduction import ReproducedCell, Reproduction, computable


def reproduction_table(reproduction: Reproduction) -> Table:
    """Returns printed and recomputed numbers side by side, with their provenance in the footer."""
    table = reproduction.table
    columns = [Column("row"), Column("column"), Column("units", "count"), Column("printed")]
    columns += [Column("recomputed", "number"), Column("margin", "number")]
    columns += [Column("difference", "number"), Column("verdict")]
    if reproduction.substitute:
        columns.append(Column(reproduction.substitute, "number"))
    rows = [_cells(cell, other=bool(reproduction.substitute)) for cell in reproduction.cells]
    # A margin is rare: most numbers are computed from files, which are not rounded.
    if all(cell.outcome is None or not cell.outcome.margin for cell in reproduction.cells):
        place = 5
        columns = [*columns[:place], *columns[place + 1 :]]
        rows = [(*row[:place], *row[place + 1 :]) for row in rows]
    return Table(
        name=table.name,
        title=f"{table.title} ({table.source.printed_in})",
        columns=tuple(columns),
        rows=tuple(Row(tuple(row)) for row in rows),
        notes=tuple(_notes(reproduction)),
        footer=dict(_footer(reproduction)),
    )


def listing_table(
    tables: Sequence[PublishedTable], files: PublishedFiles, available: Collection[str]
) -> Table:
    """Returns the known tables: source, required files and models, and what can be recomputed.

    Args:
        tables: the tables.
        files: the published files.
        available: the text metrics whose models are on this machine.
    """
    columns = [Column("table"), Column("printed in"), Column("files", "text"), Column("models")]
    columns += [Column("cells", "count"), Column("computable", "count"), Column("url")]
    rows, notes = [], []
    for table in tables:
        paths = sorted({p for part in table.parts for c, _ in part.printed() for p in part.files(*c)})
        missing = [path for path in paths if files.find(path) is None]
        models = {name: metric in available for metric, name in table.models.items()}
        cells: tuple[Value, ...] = (
            table.name,
            table.source.printed_in,
            f"{len(paths) - len(missing)} of {len(paths)}" if paths else "none needed",
            ", ".join(f"{n}{'' if here else ' (missing)'}" for n, here in models.items())
            or "none needed",
            len(table.cells()),
            computable(table, files, list(available)),
            table.source.url,
        )
        rows.append(Row(cells))
        if missing:
            # The files of a table are similar; a table that is printed names those of each cell.
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            notes.append(f"{table.name} needs {', '.join(missing[:3])}{more}.")
    if not files.folders:
        notes = [
            "--published DIR: a folder of the authors' files; docs/reproduce.md says how to get them."
        ]
    return Table("published_tables", "Published tables", tuple(columns), tuple(rows), tuple(notes))


def _cells(cell: ReproducedCell, *, other: bool) -> tuple[Value, ...]:
    outcome, printed = cell.outcome, cell.printed
    difference = (
        _number(Fraction(outcome.value) - printed.value) if outcome is not None and printed else None
    )
    verdict = cell.verdict if cell.needs is None else f"not computable: needs {cell.needs}"
    shown = outcome or cell.substitute
    return (
        cell.row,
        cell.column,
        shown.units if shown else None,
        printed.text if printed else "–",
        _number(outcome.value) if outcome else None,
        _number(outcome.margin) if outcome and outcome.margin else None,
        difference,
        verdict,
        *([_number(cell.substitute.value) if cell.substitute else None] if other else []),
    )


def _number(value: float | Fraction) -> float | int:
    """Returns an integer where the value is a count or a whole fraction, else a float."""
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, Fraction) and value.denominator == 1 else float(value)


def _notes(reproduction: Reproduction) -> Iterator[str]:
    verdicts = Counter(cell.verdict for cell in reproduction.cells)
    counts = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items())
    yield f"{len(reproduction.cells)} cells: {counts}."
    yield from reproduction.table.notes
    yield from (part.note for part in reproduction.table.parts if part.note)
    outcomes = [cell.outcome for cell in reproduction.cells if cell.outcome]
    yield from dict.fromkeys(outcome.note for outcome in outcomes if outcome.note)
    others = [cell.substitute for cell in reproduction.cells if cell.substitute]
    for note in dict.fromkeys(outcome.note for outcome in others if outcome.note):
        yield f"{reproduction.substitute}: {note}"


def _footer(reproduction: Reproduction) -> Iterator[tuple[str, str]]:
    source = reproduction.table.source
    yield "printed in", f"{source.printed_in}, {source.url}"
    for file in reproduction.files:
        yield file.path, f"{file.rows} rows, SHA-256 {file.sha256}"
    yield from reproduction.models.items()
