"""Writes the report of a run: one HTML file, or a folder for many units."""

from __future__ import annotations

import base64
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...harness.files import atomic_open, explained
from ...harness.finished_run import FinishedRun
from ..pages.page import asset, content_security_policy, environment, json_block
from ..tables.run_tables import run_tables
from ..tables.table import Table
from ..tables.value_format import CONTROLS_LINE, heading, is_number, wording
from . import overview
from .images import RunImages
from .section import render_unit
from .sentences import AGREE, Sentences
from .units import UnitReport, compared, side_by_side, unit_reports

ONE_FILE = 500
"""Up to this number of units, the page is one file."""

_PACKAGE = "dissectbench.results.report"
_BLOCK = 100  # units of a layer whose sections are in one file
_STATIC_ROWS = 100  # rows that the page has without JavaScript, and that the script shows at a time


def write_report(
    run: FinishedRun,
    images: RunImages,
    folder: Path,
    *,
    others: Sequence[tuple[FinishedRun, RunImages]] = (),
    sentences: Sentences | None = None,
    one_file: int = ONE_FILE,
) -> Path:
    """Writes the page and returns its path, `folder/index.html`.

    Args:
        run: the run.
        images: what the activations show.
        others: further runs with their images, shown next to it unit by unit.
        sentences: sentence embeddings of the descriptions of all runs; None: there are none.
        folder: the folder to write; earlier pages in it are replaced.
        one_file: largest number of units for which everything is in one file. Beyond it, the sections of
            each layer and the thumbnails are files of their own, which are loaded when they are needed.

    Raises:
        InputError: if a file cannot be written.
    """
    runs = {run.name: (run, images)} if not others else _named([(run, images), *others])
    sentences = sentences or Sentences()
    units, thumbnails = _units(runs)
    units = compared(units, sentences)
    split = len(units) > one_file
    blocks = _blocks(units)
    data = _data(units, blocks, split=split)
    sections = _sections(units, blocks, sentences.encoder)
    data["several"] = bool(others)
    with explained(folder):
        for stale in ("data", "thumbs"):
            shutil.rmtree(folder / stale, ignore_errors=True)
    if split:
        for name, block in sections.items():
            # A classic script, because a page opened from the disk may not fetch files.
            text = f"dissectbenchSections({json_block(name)},{json_block(block)});\n"
            _write(folder / "data" / f"{name}.js", text)
        _write_thumbnails(thumbnails, folder / "thumbs")
    else:
        data["sections"] = sections
        data["thumbnails"] = [base64.b64encode(thumbnail).decode() for thumbnail in thumbnails]
    path = folder / "index.html"
    _write(path, _page(runs, units, data, sentences))
    return path


def _named(runs: Sequence[tuple[FinishedRun, RunImages]]) -> dict[str, tuple[FinishedRun, RunImages]]:
    """Returns runs by name; by path, if two have the same name."""
    names = [run.name for run, _ in runs]
    return {
        run.name if names.count(run.name) == 1 else str(run.path): (run, images) for run, images in runs
    }


def _units(runs: Mapping[str, tuple[FinishedRun, RunImages]]) -> tuple[list[UnitReport], list[bytes]]:
    """Returns the units of one or several runs, and the thumbnails of all of them."""
    numbers: dict[bytes, int] = {}  # runs with the same probing set share their thumbnails
    by_run: dict[str, list[UnitReport]] = {}
    for name, (run, images) in runs.items():
        numbered = [numbers.setdefault(file, len(numbers)) for file in images.thumbnails]
        of_units = {key: of_unit.renumbered(numbered) for key, of_unit in images.units.items()}
        by_run[name] = unit_reports(run, of_units)
    thumbnails = list(numbers)
    if len(by_run) == 1:
        return next(iter(by_run.values())), thumbnails
    return side_by_side(by_run), thumbnails


def _blocks(units: Sequence[UnitReport]) -> list[str]:
    """Returns the block of each unit: up to `_BLOCK` units of a layer, named like its file."""
    names = _file_names(dict.fromkeys(unit.layer for unit in units))
    earlier: Counter[str] = Counter()
    blocks = []
    for unit in units:
        blocks.append(f"{names[unit.layer]}.{earlier[unit.layer] // _BLOCK}")
        earlier[unit.layer] += 1
    return blocks


def _data(units: Sequence[UnitReport], blocks: Sequence[str], *, split: bool) -> dict[str, Any]:
    """Returns what the list of units needs."""
    layers = list(dict.fromkeys(unit.layer for unit in units))
    data: dict[str, Any] = {
        "layers": layers,
        "methods": list(dict.fromkeys(d.method for unit in units for d in unit.descriptions)),
        "blocks": list(dict.fromkeys(blocks)),
        "categories": sorted({d.category for unit in units for d in unit.descriptions if d.category}),
        "units": [],
        "agree": AGREE,
        "cosines": any(unit.agreement is not None for unit in units),
        "split": split,
        "batch": _STATIC_ROWS,
    }
    numbers = {name: number for number, name in enumerate(data["blocks"])}
    for unit, block in zip(units, blocks, strict=True):
        data["units"].append(_row(unit, layers, data["methods"], numbers[block]))
    return data


def _sections(
    units: Sequence[UnitReport], blocks: Sequence[str], encoder: str
) -> dict[str, dict[int, list[Any]]]:
    """Returns the section of each unit as HTML, and what *Copy as JSON* copies, by block and index."""
    sections: dict[str, dict[int, list[Any]]] = {}
    for unit, block in zip(units, blocks, strict=True):
        sections.setdefault(block, {})[unit.index] = [render_unit(unit, encoder), unit.as_json()]
    return sections


def _page(
    runs: Mapping[str, tuple[FinishedRun, RunImages]],
    units: Sequence[UnitReport],
    data: Mapping[str, Any],
    sentences: Sentences,
) -> str:
    style, script = asset("base.css") + asset("report.css", _PACKAGE), asset("report.js", _PACKAGE)
    return (
        environment(_PACKAGE)
        .get_template("report.html")
        .render(
            title=" and ".join(runs),
            several=data["several"],
            policy=content_security_policy([script], [style], own_files=data["split"]),
            style=style,
            script=script,
            data=json_block(data),
            units=units,
            static_rows=_STATIC_ROWS,
            methods=data["methods"],
            layers=data["layers"],
            categories=data["categories"],
            runs=[
                {
                    "name": name,
                    "summary": overview.summary(run),
                    "provenance": overview.provenance(run),
                    "warnings": overview.warnings(run, images),
                    "tables": [_table(table) for table in _tables(run)],
                    "detectors": overview.detectors(run),
                }
                for name, (run, images) in runs.items()
            ],
            agreements=overview.agreements(units, sentences),
            sentences=sentences,
            agree=AGREE,
            troubled=overview.troubled(units),
            controls_line=CONTROLS_LINE,
        )
    )


def _row(unit: UnitReport, layers: Sequence[str], methods: Sequence[str], block: int) -> list[Any]:
    """Returns a unit's row of the list; `report.js` names its entries."""
    found = {d.method: [d.text, d.status, d.score] for d in unit.descriptions}
    return [
        layers.index(unit.layer),
        unit.index,
        # A unit that only one of several runs selected has no description by the others.
        [found.get(method, [None, "missing", None]) for method in methods],
        " | ".join(unit.references),
        unit.distinct,
        block,
        unit.changes,
        None if unit.agreement is None else round(unit.agreement, 2),
        sorted({d.category for d in unit.descriptions if d.category}),
    ]


def _file_names(layers: Iterable[str]) -> dict[str, str]:
    """Returns a distinct file name for each layer, whose name may have characters that files have not."""
    names: dict[str, str] = {}
    for number, layer in enumerate(layers):
        plain = re.sub(r"[^\w.-]+", "_", layer).strip(".")
        # Case is not enough to tell files apart on every file system.
        taken = {name.lower() for name in names.values()}
        names[layer] = plain if plain and plain.lower() not in taken else f"{plain}-{number}"
    return names


def _tables(run: FinishedRun) -> list[Table]:
    """Returns the tables of a run in the order of the page: differences between methods come last."""
    tables = [table for table in run_tables(run) if not table.name.startswith("examples_")]
    return sorted(tables, key=_is_folded)  # stable


def _is_folded(table: Table) -> bool:
    # The detail behind the other tables.
    return table.name.startswith("comparisons_")


def _table(table: Table) -> dict[str, Any]:
    """Returns a table in the form in which the template prints it."""
    return {
        "title": table.title,
        "folded": _is_folded(table),
        "columns": [(heading(column), is_number(column)) for column in table.columns],
        "rows": [
            {
                "control": row.control,
                "cells": [
                    (" ".join(wording(value, column)), is_number(column), number in row.best)
                    for number, (value, column) in enumerate(zip(row.cells, table.columns, strict=True))
                ],
            }
            for row in table.rows
        ],
        "notes": table.notes,
    }


def _write_thumbnails(thumbnails: Sequence[bytes], folder: Path) -> None:
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for number, thumbnail in enumerate(thumbnails):
        with explained(folder):
            (folder / f"{number}.webp").write_bytes(thumbnail)


def _write(path: Path, text: str) -> None:
    with atomic_open(path) as file:
        file.write(text)
