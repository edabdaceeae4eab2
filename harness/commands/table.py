"""`dissectbench table`: prints the tables of finished runs again. Nothing is computed again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import exit_codes
from ..errors import InputError, nearest
from ..finished_run import FinishedRun
from .console import show

if TYPE_CHECKING:
    from ...results.tables.table import Table


def table_command(options: argparse.Namespace) -> int:
    """Prints the tables that the runs printed at their end, in any format."""
    from ...results.tables.run_tables import run_tables

    tables = [
        table
        for folder in options.folders
        for table in run_tables(FinishedRun(folder).require_finished())
    ]
    show(_only(tables, options.only), "json" if options.json else options.format)
    return exit_codes.OK


def _only(tables: Sequence[Table], names: Sequence[str] | None) -> Sequence[Table]:
    known = list(dict.fromkeys(table.name for table in tables))
    for name in names or ():
        if name not in known:
            hint = f"{nearest(name, known)} Tables of these runs: {', '.join(known)}.".strip()
            raise InputError(f"no table is named {name!r}", hint)
    return [table for table in tables if not names or table.name in names]
