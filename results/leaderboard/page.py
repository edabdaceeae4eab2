"""A leaderboard as one HTML page that needs nothing else: data, style and script are in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...harness import __version__
from ..pages.page import asset, content_security_policy, environment, json_block
from ..tables.table import Column
from ..tables.value_format import UNDEFINED, duration, money, number, wording
from .board import Board, Cell, Entry
from .boards import Leaderboard
from .formats import detectable_notes
from .intervals import Scale, draw, positions, scales
from .ranking import Across

_PACKAGE = "dissectbench.results.leaderboard"
STATIC_ROWS = 100
"""Rows in the page itself, which are shown without JavaScript; with it, all rows come from the data."""


def page(leaderboard: Leaderboard) -> str:
    """Returns the page. Its script and style are admitted by their hashes, and no address is in it.

    Names and descriptions may hold any text: Jinja escapes what is in the markup, the JSON block has no
    "<", and the script adds texts as text.
    """
    from markupsafe import Markup

    script, style = asset("page.js", _PACKAGE), asset("page.css", _PACKAGE)
    data = _data(leaderboard)
    template = environment(_PACKAGE).get_template("page.html")
    return template.render(
        policy=Markup(content_security_policy([script], [style])),
        style=Markup(style),
        script=Markup(script),
        data=Markup(json_block(data)),
        details=Markup(json_block(_details(leaderboard))),
        version=__version__,
        columns=data["columns"],
        choices=_choices(data),
        rows=[_static_row(row, data, Markup) for row in data["rows"][:STATIC_ROWS]],
        left_out=len(data["rows"]) > STATIC_ROWS,
        total=len(data["rows"]),
        boards=[_static_board(board) for board in leaderboard.boards[:STATIC_ROWS]],
        n_boards=len(leaderboard.boards),
        submissions=len(leaderboard.submissions),
        across_targets=[_static_across(across) for across in leaderboard.across],
        seed=leaderboard.seed,
        resamples=leaderboard.n_resamples,
    )


def _data(leaderboard: Leaderboard) -> dict[str, Any]:
    """Returns the JSON block: what rows have in common is stored once, by number."""
    metrics = sorted({metric for board in leaderboard.boards for metric in board.metrics})
    by_metric = scales(leaderboard.boards)
    submissions = {identity: place for place, identity in enumerate(sorted(leaderboard.submissions))}
    entries, rows = [], []
    for number_, board in enumerate(leaderboard.boards):
        for entry in board.entries:
            place = len(entries)
            entries.append(_entry(entry, number_, submissions[entry.submission]))
            rows += [
                [place, metrics.index(metric), *_row(board, metric, cell, by_metric[metric])]
                for metric, cell in entry.cells.items()
            ]
            if not entry.cells:
                rows.append([place, len(metrics), [UNDEFINED, None], ["", None], ["", None], ""])
    return {
        "columns": _columns(leaderboard),
        "metrics": [*metrics, "not scored"],
        "boards": [
            {"target": board.target.name, "layer": board.layer, "title": board.title}
            for board in leaderboard.boards
        ],
        "drawing": draw(),
        "entries": entries,
        "rows": rows,
    }


def _details(leaderboard: Leaderboard) -> dict[str, Any]:
    """Returns what is shown when a row opens, and searched; the script parses it when it is needed."""
    return {
        "notes": [_static_board(board)["notes"] for board in leaderboard.boards],
        "submissions": [
            {
                "id": identity,
                "ended": bundle.info.ended,
                "models": bundle.info.models,
                "environment": asdict(bundle.info.environment),
                "settings": bundle.info.settings,
            }
            for identity, bundle in sorted(leaderboard.submissions.items())
        ],
        "entries": [
            {
                "coverage": " ".join(wording(entry.coverage, Column("scored", "coverage"))),
                "identity": entry.details.identity,
                "settings": entry.details.settings,
                "examples": [
                    [example.unit, example.text, ", ".join(example.references)]
                    for example in entry.examples
                ],
            }
            for board in leaderboard.boards
            for entry in board.entries
        ],
    }


def _columns(leaderboard: Leaderboard) -> list[dict[str, str]]:
    entries = [entry for board in leaderboard.boards for entry in board.entries]
    # "full": on a narrow screen, where each row is a card, the cell takes a line of its own.
    columns = [("target", "Target", "full"), ("layer", "Layer", "full")]
    columns += [("method", "Method", "full"), ("metric", "Metric", "full")]
    columns += [("score", "Score", "number full"), ("rank", "Rank", "number")]
    if leaderboard.baseline is not None:
        columns.append(("difference", f"Minus {leaderboard.baseline}", "number wide full"))
    columns += [
        ("scored", "Scored", "number"),
        ("distinct", "Distinct", "number"),
        ("time", "Time", "number"),
    ]
    if any(entry.cost_usd for entry in entries):
        columns.append(("cost", "Cost", "number"))
    columns.append(("date", "Date", "date"))
    return [{"key": key, "title": title, "css": css} for key, title, css in columns]


def _entry(entry: Entry, board: int, submission: int) -> dict[str, Any]:
    coverage = entry.coverage
    seconds, cost = entry.seconds, entry.cost_usd
    return {
        "board": board,
        "label": entry.label,
        "control": entry.control,
        "source": entry.source,
        "submission": submission,
        "date": entry.date,
        "scored": [f"{coverage.scored}/{coverage.units}", coverage.scored / max(coverage.units, 1)],
        "distinct": [str(entry.distinct), entry.distinct],
        "time": ["" if seconds is None else duration(seconds), seconds],
        "cost": ["" if cost is None else money(cost), cost],
    }


def _row(board: Board, metric: str, cell: Cell, scale: Scale) -> list[Any]:
    percent = board.metrics[metric].percent
    estimate, rank = cell.estimate, cell.rank
    score = [_estimate(estimate.mean, estimate.low, estimate.high, percent), estimate.mean]
    # Sorted by the best possible rank, then by the worst: both in one number.
    place = [f"{rank} {rank.group}", rank.best + rank.worst / 1000] if rank else ["", None]
    difference: list[Any] = ["", None]
    if cell.difference is not None:
        paired = cell.difference.estimate
        p_value = cell.difference.p_value
        text = _estimate(paired.mean, paired.low, paired.high, percent)
        difference = [text if p_value is None else f"{text}, p {number(p_value)}", paired.mean]
    return [[*score, *positions(estimate, scale)], place, difference, cell.unranked or ""]


def _estimate(mean: float | None, low: float | None, high: float | None, percent: bool) -> str:
    if mean is None:
        return UNDEFINED
    interval = "" if low is None else f" [{number(low, percent)}, {number(high, percent)}]"
    return f"{number(mean, percent)}{interval}{' %' * percent}"


def _choices(data: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the values that each filter offers."""
    used = {row[1] for row in data["rows"]}
    return {
        "target": sorted({board["target"] for board in data["boards"]}),
        "layer": sorted({board["layer"] for board in data["boards"]}),
        "method": sorted({entry["label"] for entry in data["entries"]}),
        "metric": [name for place, name in enumerate(data["metrics"]) if place in used],
    }


def _static_row(row: list[Any], data: Mapping[str, Any], markup: type[str]) -> dict[str, Any]:
    """Returns one row of the table without JavaScript."""
    entry = data["entries"][row[0]]
    board = data["boards"][entry["board"]]
    cells = {
        **{name: [board[name]] for name in ("target", "layer")},
        **{"method": [entry["label"]], "metric": [data["metrics"][row[1]]], "date": [entry["date"]]},
        **dict(zip(("score", "rank", "difference"), row[2:5], strict=True)),
        **{name: entry[name] for name in ("scored", "distinct", "time", "cost")},
    }
    return {
        "control": entry["control"],
        "cells": [
            {
                "css": column["css"],
                "title": column["title"],
                "text": cells[column["key"]][0],
                "svg": _drawing(cells[column["key"]][2:], markup),
            }
            for column in data["columns"]
        ],
    }


def _drawing(places: list[str], markup: type[str]) -> str:
    return markup(draw(*places)) if places else ""


def _static_board(board: Board) -> dict[str, Any]:
    return {
        "title": board.title,
        "notes": [*detectable_notes(board), *board.duplicates],
        "target_fingerprint": board.target.fingerprint,
        "probing_set_fingerprint": board.probing_set.fingerprint,
        "references_fingerprint": board.references_fingerprint,
    }


def _static_across(across: Across) -> dict[str, Any]:
    rows = [
        {
            "label": row.label,
            "text": _estimate(row.rank.mean, row.rank.low, row.rank.high, percent=False),
            "range": f"{row.best:.2f} to {row.worst:.2f}",
        }
        for row in across.rows
    ]
    return {**vars(across), "rows": rows}
