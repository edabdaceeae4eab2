"""What people wrote about units: MILANNOTATIONS, for training and as references with several texts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..harness.errors import InputError, nearest
from .references import References
from .text_files import read_table
from .zip_archives import extract_one, is_archive

FILE = "annotations.csv"
COLUMNS = ("layer", "unit", "summary")
PER_UNIT = 3
"""Annotations of a unit in the published data sets."""


@dataclass(frozen=True)
class Annotations:
    """The texts of some units, layer by layer.

    Attributes:
        path: the file they were read from.
        texts: for each layer its units' texts, in the order of the file.
        blank: how many rows of the file say nothing; they are left out.
    """

    path: Path
    texts: Mapping[str, Mapping[int, tuple[str, ...]]]
    blank: int = 0

    def layer(self, name: str) -> Mapping[int, tuple[str, ...]]:
        """Returns the texts of one layer by unit.

        Raises:
            InputError: if there is no such layer.
        """
        if name in self.texts:
            return self.texts[name]
        known = ", ".join(self.texts)
        raise InputError(
            f"{self.path} has no layer {name!r}", nearest(name, self.texts) or f"layers there: {known}"
        )


def read_annotations(path: str | os.PathLike[str]) -> Annotations:
    """Reads annotations: one row per text, with the columns layer, unit (0-based) and summary.

    Args:
        path: a CSV file, a folder or a zip that holds an `annotations.csv`. Names of layers are texts,
            even if they look like numbers.

    Raises:
        InputError: if it cannot be read; names file, line and column.
    """
    path = Path(path).expanduser()
    if is_archive(path):
        with tempfile.TemporaryDirectory() as temporary:
            return _named(extract_one(path, FILE, Path(temporary)), path / FILE)
    file = path / FILE if path.is_dir() else path
    return _named(file, file)


def _named(file: Path, name: Path) -> Annotations:
    """Reads a file that is called `name` in errors."""
    texts: dict[str, dict[int, list[str]]] = {}
    blank = 0
    try:
        for row in read_table(file, COLUMNS):
            text = row["summary"].strip()
            unit = row.integer("unit", at_least=0)
            if text:
                texts.setdefault(row.text("layer"), {}).setdefault(unit, []).append(text)
            else:
                blank += 1
    except InputError as error:
        raise InputError(error.message.replace(str(file), str(name)), error.hint) from error
    if not texts:
        raise InputError(f"{name} holds no annotations")
    frozen = {
        layer: {unit: tuple(found) for unit, found in units.items()} for layer, units in texts.items()
    }
    return Annotations(name, frozen, blank)


def annotation_references(
    path: str | os.PathLike[str],
    layer: str,
    units: int | None = None,
    *,
    per_unit: int | None = PER_UNIT,
    name: str | None = None,
) -> References:
    """Returns the annotations of a layer as the true texts of its units.

    Args:
        path: see `read_annotations`.
        layer: its name in the file.
        units: how many units the layer has; None: as many as the file has numbers for.
        per_unit: the first so many texts of each unit count; None: all.
        name: what the references are called; default: the names of the file and the layer.

    Returns:
        One entry per unit; a unit that nobody annotated has no text.

    Raises:
        InputError: if the file cannot be read, has no such layer, or has a unit beyond `units`.
    """
    found = read_annotations(path)
    texts = found.layer(layer)
    count = max(texts) + 1 if units is None else units
    if max(texts) >= count:
        raise InputError(
            f"{found.path} annotates unit {max(texts)} of {layer}, which has {count} units",
            "check the number of units, and that the layer is the same in both",
        )
    name = name or f"{Path(path).stem} {layer}"
    return References(name, tuple(texts.get(unit, ())[:per_unit] for unit in range(count)))
