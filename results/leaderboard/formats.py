"""A leaderboard as tables for the terminal and Markdown, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

from ..tables.render import to_markdown
from ..tables.table import Column, Coverage, Row, Table
from ..tables.value_format import number
from .board import Board, Cell, Entry
from .boards import Leaderboard
from .ranking import Across

_NOTES = (
    "scored: units with a score (where nothing is scored: described units), of those asked for. "
    "distinct: number of different descriptions.",
    "mean ± standard error over units [95 % bootstrap interval].",
    "rank: the ranks that the significant differences leave open, by paired permutation tests with "
    "Holm's correction; two methods with a common letter do not differ significantly.",
)
_CSV_BOARD = (
    *(
        "target",
        "target_fingerprint",
        "layer",
        "probing_set",
        "probing_set_fingerprint",
        "images",
        "skipped",
    ),
    *("references", "references_fingerprint"),
)
_CSV_ENTRY = (
    *("label", "method", "control", "source", "submission", "date", "version"),
    *(field.name for field in fields(Coverage)),
    *("distinct", "seconds", "cost_usd", "duplicate_of"),
)
_CSV_CELL = (
    *("metric", "mean", "standard_error", "low", "high", "n"),
    *("rank_best", "rank_worst", "group", "unranked", "detectable"),
    *("baseline", "difference", "difference_low", "difference_high", "difference_p_holm"),
)


def tables(leaderboard: Leaderboard) -> list[Table]:
    """Returns one table per board, and last the mean ranks over targets."""
    boards = [
        _board_table(number, board, leaderboard.baseline)
        for number, board in enumerate(leaderboard.boards, 1)
    ]
    return [*boards, *(_across_table(across) for across in leaderboard.across)]


def ranks(leaderboard: Leaderboard) -> Iterator[str]:
    """Yields lines for the terminal: each board with the ranks by each metric, and duplicates."""
    for board in leaderboard.boards:
        yield board.title
        for metric in board.metrics:
            places = [(entry.label, entry.cells[metric].rank) for entry in board.entries]
            ranked = [(rank.best, rank.worst, label, rank) for label, rank in places if rank]
            named = [
                f"{label} {rank} {rank.group}"
                for _, _, label, rank in sorted(ranked, key=lambda r: r[:3])
            ]
            yield f"  {metric}: {', '.join(named) or 'no two methods can be ranked'}"
    yield from leaderboard.duplicates


def markdown(leaderboard: Leaderboard) -> str:
    """Returns the leaderboard as Markdown."""
    return "# Leaderboard\n\n" + "\n".join(to_markdown(table) for table in tables(leaderboard))


def to_csv(leaderboard: Leaderboard) -> str:
    """Returns one row per board, entry and metric, or one row where nothing is scored; full numbers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_CSV_BOARD, *_CSV_ENTRY, *_CSV_CELL])
    for board in leaderboard.boards:
        for entry in board.entries:
            cells = entry.cells or {"": None}
            for metric, cell in cells.items():
                row = [
                    *_csv_board(board),
                    *_csv_entry(entry),
                    *_csv_cell(board, metric, cell, leaderboard.baseline),
                ]
                writer.writerow([_inert(value) for value in row])
    return text.getvalue()


def to_json(leaderboard: Leaderboard) -> dict[str, Any]:
    """Returns everything as a JSON-able mapping: boards with entries, mean ranks, submissions."""
    return {
        "format": "dissectbench leaderboard",
        "version": 1,
        "baseline": leaderboard.baseline,
        "seed": leaderboard.seed,
        "resamples": leaderboard.n_resamples,
        "boards": [_json_board(board) for board in leaderboard.boards],
        "across_targets": [asdict(across) for across in leaderboard.across],
        "submissions": {
            identity: provenance(leaderboard, identity) for identity in sorted(leaderboard.submissions)
        },
        "duplicates": leaderboard.duplicates,
    }


def provenance(leaderboard: Leaderboard, submission: str) -> dict[str, Any]:
    """Returns where a submission comes from: target, images, models, environment, settings, times."""
    info = leaderboard.submissions[submission].info
    return {
        "target": asdict(info.target),
        "probing_set": asdict(info.probing_set),
        "layers": info.layers,
        "models": info.models,
        "environment": asdict(info.environment),
        "settings": info.settings,
        "started": info.started,
        "ended": info.ended,
    }


def detectable_notes(board: Board) -> Iterator[str]:
    """Yields for each metric the difference that the units of a board would have shown."""
    for metric, value in board.detectable.items():
        if value is not None:
            percent = board.metrics[metric].percent
            n = max(len(column) for column in board.scores[metric].values())
            difference = f"{number(value, percent)}{' points' * percent}"
            yield (
                f"{metric}: smallest difference that {n} units show between any two ranked methods with "
                f"a probability of 80 %: {difference} (one test at 5 %)."
            )


def _board_table(number: int, board: Board, baseline: str | None) -> Table:
    compared = [
        metric
        for metric in board.metrics
        if any(entry.cells[metric].difference for entry in board.entries)
    ]
    columns = [Column("method"), Column("scored", "coverage"), Column("distinct", "count")]
    for metric, info in board.metrics.items():
        columns += [Column(metric, "estimate", info.percent), Column("rank")]
        if metric in compared:
            columns += [
                Column(f"minus {baseline}", "estimate", info.percent),
                Column("p (Holm)", "number"),
            ]
    paid = any(entry.cost_usd for entry in board.entries)
    columns += [Column("time", "seconds"), *[Column("cost", "usd")] * paid]
    columns += [Column("date"), Column("version")]
    rows = tuple(
        Row(
            (
                *(entry.label, entry.coverage, entry.distinct),
                *(
                    value
                    for metric in board.metrics
                    for value in _cells(entry.cells[metric], metric in compared)
                ),
                *(entry.seconds, *[entry.cost_usd] * paid, entry.date, entry.version),
            ),
            control=entry.control,
        )
        for entry in board.entries
    )
    return Table(
        f"board_{number}", board.title, tuple(columns), rows, tuple(_notes(board, compared, baseline))
    )


def _cells(cell: Cell, compared: bool) -> Iterator[Any]:
    yield cell.estimate
    yield f"{cell.rank} {cell.rank.group}" if cell.rank else None
    if compared:
        yield cell.difference and cell.difference.estimate
        yield cell.difference and cell.difference.p_value


def _notes(board: Board, compared: list[str], baseline: str | None) -> Iterator[str]:
    yield from _NOTES
    for metric, info in board.metrics.items():
        if info.meaning:
            yield f"{metric}: {info.meaning}{', in percent' if info.percent else ''}."
        if not info.higher_is_better:
            yield f"{metric}: lower is better."
    yield from detectable_notes(board)
    if compared:
        yield f"minus {baseline}: paired difference; p corrected by Holm for all of them in this table."
    reasons: dict[str, list[str]] = {}
    for entry in board.entries:
        for metric, cell in entry.cells.items():
            if cell.unranked:
                reasons.setdefault(f"{entry.label}: not ranked: {cell.unranked}", []).append(metric)
    for reason, metrics in reasons.items():
        yield f"{reason} ({', '.join(metrics)})."
    yield from board.duplicates


def _across_table(across: Across) -> Table:
    rows = tuple(Row((row.label, row.rank, row.best, row.worst)) for row in across.rows)
    notes = [
        f"targets: {', '.join(across.targets)} ({across.boards} boards).",
        "mean over targets of the middle of the rank interval, among the methods of this table "
        "[95 % bootstrap interval over targets]; best and worst: mean ends of the rank intervals.",
    ]
    if across.left_out:
        notes.append(f"not ranked on every board: {', '.join(across.left_out)}.")
    columns = (
        Column("method"),
        Column("mean rank", "estimate"),
        Column("best", "number"),
        Column("worst", "number"),
    )
    return Table(
        f"mean_rank_{across.metric}",
        f"Mean rank across targets: {across.metric}",
        columns,
        rows,
        tuple(notes),
    )


def _csv_board(board: Board) -> list[Any]:
    target, probing_set = board.target, board.probing_set
    return [
        *(target.name, target.fingerprint, board.layer),
        *(probing_set.name, probing_set.fingerprint, probing_set.images, probing_set.skipped),
        *(board.references, board.references_fingerprint),
    ]


def _csv_entry(entry: Entry) -> list[Any]:
    values = {**vars(entry), **vars(entry.coverage), "control": str(entry.control).lower()}
    return [values[name] for name in _CSV_ENTRY]


def _csv_cell(board: Board, metric: str, cell: Cell | None, baseline: str | None) -> list[Any]:
    if cell is None:
        return [None] * len(_CSV_CELL)
    values = {**vars(cell.estimate), "metric": metric, "unranked": cell.unranked}
    values["detectable"] = board.detectable.get(metric)
    if cell.rank:
        values |= {"rank_best": cell.rank.best, "rank_worst": cell.rank.worst, "group": cell.rank.group}
    if cell.difference:
        estimate = cell.difference.estimate
        values |= {"baseline": baseline, "difference": estimate.mean}
        values |= {"difference_low": estimate.low, "difference_high": estimate.high}
        values |= {"difference_p_holm": cell.difference.p_value}
    return [values.get(name) for name in _CSV_CELL]


def _inert(value: Any) -> Any:
    """Keeps spreadsheets from reading a text as a formula."""
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def _json_board(board: Board) -> dict[str, Any]:
    return {
        "title": board.title,
        "target": asdict(board.target),
        "layer": board.layer,
        "probing_set": asdict(board.probing_set),
        "references": board.references,
        "references_fingerprint": board.references_fingerprint,
        "metrics": {name: asdict(info) for name, info in board.metrics.items()},
        "detectable": dict(board.detectable),
        "entries": [asdict(entry) for entry in board.entries],
        "duplicates": board.duplicates,
    }
