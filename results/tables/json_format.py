"""Tables as JSON, for machines: every number in full, null for a value that is not defined."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from ..statistics import Summary
from .table import Coverage, Table, Value


def to_json(table: Table) -> dict[str, Any]:
    """Returns a table as a JSON-able mapping.

    Returns:
        {"name", "title", "columns": [{"name", "kind", "percent"}], "rows": [{"cells": {column name:
        value}, "control", "best": [column names]}], "notes", "footer"}. Estimates and coverages are
        mappings of their fields.
    """
    names = [column.name for column in table.columns]
    return {
        "name": table.name,
        "title": table.title,
        "columns": [asdict(column) for column in table.columns],
        "rows": [
            {
                "cells": {name: _plain(cell) for name, cell in zip(names, row.cells, strict=True)},
                "control": row.control,
                "best": [names[number] for number in sorted(row.best)],
            }
            for row in table.rows
        ],
        "notes": list(table.notes),
        "footer": dict(table.footer),
    }


def _plain(value: Value) -> Any:
    if isinstance(value, Summary | Coverage):
        return {name: _plain(field) for name, field in asdict(value).items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN
    return value
