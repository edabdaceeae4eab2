"""`dissectbench score`: scores files of descriptions in one table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .. import exit_codes
from ..config import compose
from ..errors import InputError
from ..score_files import score_files
from .console import notices, show, show_json, terminal

if TYPE_CHECKING:
    from ...results.importers.description_file import DescriptionFile


def score_command(options: argparse.Namespace) -> int:
    """Scores description files against references; see `dissectbench.harness.score_files`."""
    from ...results.importers.layout_files import read_layout
    from ...results.tables.json_format import to_json
    from ...results.tables.scores import score_tables

    # The name of a file may contain `=` too.
    files = [Path(word) for word in options.settings if "=" not in word or Path(word).exists()]
    overrides = [word for word in options.settings if "=" in word and not Path(word).exists()]
    if not files:
        raise InputError("no file of descriptions is given", "dissectbench score FILE.csv --layer fc ...")
    settings = compose(
        [*_reference_overrides(options), *overrides], root="score", config_dir=options.config_dir
    )
    layout = read_layout(options.layout) if options.layout else None
    scored = score_files(files, settings, layer=options.layer, reduce=options.reduce, layout=layout)
    console = notices(as_json=options.json)
    for file in scored.files:
        console.print(_in_words(file), highlight=False, markup=False)
    if options.out:
        scored.write(options.out)
    config = settings.config
    sampling = {"seed": config.seed, "n_resamples": config.table.resamples}
    tables = score_tables(scored.scores, scored.metrics, models=scored.models, **sampling)
    if options.json:
        files_read = [
            {
                "path": str(f.path),
                "layout": f.layout,
                "rows": f.records,
                "descriptions": len(f.rows),
                "oddities": dict(f.oddities),
            }
            for f in scored.files
        ]
        show_json({"files": files_read, "tables": [to_json(table) for table in tables]})
    else:
        show(tables, "terminal", terminal())
    return exit_codes.OK


def _in_words(file: DescriptionFile) -> str:
    """Returns the layout, the numbers of rows and descriptions, and what is unusual in a file."""
    oddities = "".join(f"; {what}: {count}" for what, count in file.oddities.items())
    # Several rows of a unit, such as those of MILANNOTATIONS, are one description with alternatives.
    joined = f" of {len(file.rows)} units" if file.records != len(file.rows) else ""
    return f"{file.path}: {file.layout}, {file.records} rows{joined}{oddities}"


def _reference_overrides(options: argparse.Namespace) -> list[str]:
    """Returns the overrides for `--references`: a choice, a file of lines, or MILANNOTATIONS."""
    name = options.references
    kind, _, path = name.partition(":")
    if kind == "milannotations" and path:
        chosen = ["references=milannotations", f"references.path='{path}'"]
        chosen += [f"references.layer='{options.layer}'"]
    elif Path(name).is_file():
        chosen = ["references=file", f"references.path='{name}'"]
    # It looks like a path, so the file is missing, rather than the choice unknown.
    elif Path(name).suffix or "/" in name:
        raise InputError(f"--references {name}: no such file")
    else:
        chosen = [f"references={name}"]
    # `++`, because the node of a choice need not contain the setting.
    return [*chosen, *(["++references.alternatives=true"] if options.alternatives else [])]
