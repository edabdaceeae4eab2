"""`dissectbench reproduce`: recomputes published tables from the files that their authors published."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .. import exit_codes
from .console import show, show_json

if TYPE_CHECKING:
    from ...results.reproduce.published_files import PublishedFiles
    from ...results.reproduce.reproduction import Reproduction
    from ..reproduce import MetricScorer


def reproduce_command(options: argparse.Namespace) -> int:
    """Prints published tables with recomputed cells; without names, the list of known tables.

    A published number that differs is a result, not an error: the exit code is 0.
    """
    from ...results.reproduce.published_files import PublishedFiles
    from ..reproduce import MetricScorer

    files = PublishedFiles(options.published or [])
    scorer = MetricScorer(download=options.download, device=options.device)
    style = "json" if options.json else options.format
    if not options.names:
        _list(files, scorer, style)
        return exit_codes.OK
    reproductions = _reproductions(options, files, scorer)
    if style == "json":
        show_json({"tables": [_json(reproduction) for reproduction in reproductions]})
    else:
        from ...results.reproduce.report import reproduction_table

        for reproduction in reproductions:
            # One at a time: each table has a footer of its own.
            show([reproduction_table(reproduction)], style)
    return exit_codes.OK


def _list(files: PublishedFiles, scorer: MetricScorer, style: str) -> None:
    from ...results.reproduce.published_table import known_tables, load_table
    from ...results.reproduce.report import listing_table

    tables = [load_table(name) for name in known_tables()]
    metrics = sorted({metric for table in tables for metric in table.models})
    available = {metric for metric in metrics if scorer.available(metric)}
    show([listing_table(tables, files, available)], style)


def _reproductions(
    options: argparse.Namespace, files: PublishedFiles, scorer: MetricScorer
) -> list[Reproduction]:
    from ...results.reproduce.published_table import load_table
    from ...results.reproduce.reproduction import Substitute, reproduce_table
    from ..reproduce import OFFLINE, OFFLINE_NAME, MetricScorer

    # All names are checked before the first table, which may take minutes.
    tables = [load_table(name) for name in options.names]
    substitute = None
    if options.encoder == "offline":
        others = MetricScorer(OFFLINE, device=options.device)
        # An empty column would not say that the package of this model is missing.
        for metric in sorted({metric for table in tables for metric in table.models} & OFFLINE.keys()):
            others.check(metric)
        substitute = Substitute(OFFLINE_NAME, others)
    return [reproduce_table(table, files, scorer, substitute) for table in tables]


def _json(reproduction: Reproduction) -> dict[str, Any]:
    from ...results.reproduce.report import reproduction_table
    from ...results.tables.json_format import to_json

    return {
        **to_json(reproduction_table(reproduction)),
        "source": reproduction.table.source.model_dump(),
        "files": [asdict(file) for file in reproduction.files],
        "models": reproduction.models,
    }
