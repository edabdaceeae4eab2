"""Imports description files of any layout into one file in the project's own layout."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...harness.errors import InputError
from ..exporters.csv_file import write_csv
from .description_file import DescriptionFile, DescriptionRow
from .descriptions_csv import read_descriptions_csv
from .layout_files import Layout, built_in_layouts


@dataclass(frozen=True)
class ImportedDescriptions:
    """The descriptions of one or several files.

    Attributes:
        files: the files as read, with what is unusual in them.
        rows: their rows, one per method, layer and unit: methods by name, the layers of each in the order
            of the files, units ascending.
    """

    files: tuple[DescriptionFile, ...]
    rows: tuple[DescriptionRow, ...]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the rows in the project's own layout; importing the file again changes nothing.

        Raises:
            InputError: if the path is that of a file that was read, or cannot be written.
        """
        if any(Path(path).resolve() == file.path.resolve() for file in self.files):
            raise InputError(f"{path} is one of the files to import", "write to another file")
        own = built_in_layouts()["dissectbench"]
        write_csv(path, [[*own.header, own.alternatives_json, own.weights_json], *map(_cells, self.rows)])


def import_descriptions(
    paths: Sequence[str | os.PathLike[str]],
    *,
    layer: str | None = None,
    method: str | None = None,
    layout: Layout | None = None,
) -> ImportedDescriptions:
    """Reads description files of any layouts. Different methods stay apart.

    Methods of the same name from different folders get the folder's name in front, such as
    `MILAN/resnet50_imagenet`, unless `method` names them.

    Args:
        paths: files, and folders, of which all `*.csv` are read; of a run's folder, descriptions.csv.
        layer: see `read_descriptions_csv`.
        method: name of the method of all files; by default see `read_descriptions_csv`.
        layout: the layout of all files; by default that which the header of each file has.

    Raises:
        InputError: if no file is given, a file cannot be imported, or two files have different
            descriptions of a unit by one method; names file, line and column.
    """
    found = list(dict.fromkeys(file for path in paths for file in _files(Path(path))))
    if not found:
        raise InputError("no file to import is given", "name CSV files, or folders that have some")
    files = [read_descriptions_csv(path, layer=layer, method=method, layout=layout) for path in found]
    if method is None:
        files = _distinguished(files)
    rows: dict[tuple[str, str, int], tuple[DescriptionFile, DescriptionRow]] = {}
    files = [_joined(file, rows) for file in files]
    places = {key: place for place, key in enumerate(dict.fromkeys((m, la) for m, la, _ in rows))}
    ordered = sorted(
        (row for _, row in rows.values()), key=lambda r: (r.method, places[r.method, r.layer], r.unit)
    )
    return ImportedDescriptions(tuple(files), tuple(ordered))


def _files(path: Path) -> list[Path]:
    """Returns a file, or the description files in a folder."""
    if not path.is_dir():
        return [path]
    if (path / "descriptions.csv").is_file():
        return [path / "descriptions.csv"]
    return sorted(path.rglob("*.csv"))


def _distinguished(files: list[DescriptionFile]) -> list[DescriptionFile]:
    """Puts the folder's name in front of methods that have the same name in several folders."""
    own = built_in_layouts()["dissectbench"].name  # has a column for the method
    folders: dict[str, set[Path]] = {}
    for file in files:
        for row in file.rows if file.layout != own else ():
            folders.setdefault(row.method, set()).add(_folder(file))
    ambiguous = {method for method, places in folders.items() if len(places) > 1}

    def renamed(file: DescriptionFile) -> DescriptionFile:
        prefix = f"{_folder(file).name}/"
        rows = (
            replace(row, method=prefix + row.method) if row.method in ambiguous else row
            for row in file.rows
        )
        return replace(file, rows=tuple(rows))

    return [file if file.layout == own else renamed(file) for file in files]


def _folder(file: DescriptionFile) -> Path:
    return file.path.absolute().parent


def _joined(
    file: DescriptionFile, rows: dict[tuple[str, str, int], tuple[DescriptionFile, DescriptionRow]]
) -> DescriptionFile:
    """Adds the rows of a file; returns it with the number of rows that an earlier file has too."""
    repeated: Counter[str] = Counter()
    for row in file.rows:
        earlier_file, earlier = rows.setdefault((row.method, row.layer, row.unit), (file, row))
        if earlier_file is file:
            continue
        if replace(row, line=earlier.line) != earlier:
            raise InputError(
                f"{earlier_file.path}, line {earlier.line}, and {file.path}, line {row.line}: "
                f"{row.method} has two different descriptions of {row.layer} unit {row.unit}",
                "import the files separately, with different names: --method NAME",
            )
        repeated["also in an earlier file, read once"] += 1
    return replace(file, oddities={**file.oddities, **repeated})


def _cells(row: DescriptionRow) -> list[object]:
    alternatives = json.dumps(row.alternatives, ensure_ascii=False) if row.alternatives else None
    weights = json.dumps(row.weights) if row.weights else None
    return [row.layer, row.unit, row.method, row.text, row.status, row.score, alternatives, weights]
