"""`dissectbench import`: description files of any layout become one file in the project's own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import exit_codes
from .console import show_json, terminal

if TYPE_CHECKING:
    from ...results.importers.description_file import DescriptionFile

# Network Dissection's files have thirty columns that are not read.
_MOST_COLUMNS = 6


def import_command(options: argparse.Namespace) -> int:
    """Imports files and says what was found; see `dissectbench.results.importers.importing`."""
    from ...results.importers.importing import import_descriptions
    from ...results.importers.layout_files import read_layout

    layout = read_layout(options.layout) if options.layout else None
    imported = import_descriptions(
        options.paths, layer=options.layer, method=options.method, layout=layout
    )
    imported.write(options.out)
    methods = sorted({row.method for row in imported.rows})
    if options.json:
        files = [_report(file) for file in imported.files]
        show_json(
            {
                "out": str(options.out),
                "descriptions": len(imported.rows),
                "methods": methods,
                "files": files,
            }
        )
        return exit_codes.OK
    lines = [line for file in imported.files for line in _in_words(file)]
    lines.append(f"{options.out}: {len(imported.rows)} rows, methods: {len(methods)}")
    for line in lines:
        terminal().print(line, highlight=False, markup=False, soft_wrap=True)
    return exit_codes.OK


def _printable(names: Sequence[str]) -> str:
    """Joins names from a file; one with control characters, which could act on a terminal, is quoted."""
    return ", ".join(name if name.isprintable() else repr(name) for name in names)


def _report(file: DescriptionFile) -> dict[str, Any]:
    return {
        "path": str(file.path),
        "layout": file.layout,
        "rows": file.records,
        "descriptions": len(file.rows),
        "layers": list(dict.fromkeys(row.layer for row in file.rows)),
        "layer_from": file.layer_from,
        "methods": sorted({row.method for row in file.rows}),
        "oddities": [
            {"what": what, "count": count, "first_line": file.first_lines.get(what)}
            for what, count in file.oddities.items()
        ],
        "unused_columns": list(file.unused_columns),
    }


def _in_words(file: DescriptionFile) -> list[str]:
    report = _report(file)
    origin = {"column": "", "argument": " (--layer)", "file name": " (from the file name)"}
    layers = f"{_printable(report['layers'])}{origin[file.layer_from]}"
    lines = [
        f"{file.path}: {file.layout}, {file.records} rows, {len(file.rows)} descriptions of {layers}",
        f"  method: {_printable(report['methods'])}",
    ]
    for oddity in report["oddities"]:
        line = f" (first: line {oddity['first_line']})" if oddity["first_line"] else ""
        lines.append(f"  {oddity['what']}: {oddity['count']}{line}")
    if file.unused_columns:
        more = len(file.unused_columns) - _MOST_COLUMNS
        columns = _printable(file.unused_columns[:_MOST_COLUMNS])
        lines.append(f"  columns not imported: {columns}" + (f" and {more} more" if more > 0 else ""))
    return lines
