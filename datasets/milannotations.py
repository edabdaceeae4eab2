"""Reads MILANNOTATIONS, descriptions of units written by people, for training MILAN and as references."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from ..harness.errors import InputError, nearest
from .references import References
from .text_files import read_table
from .zip_archives import extract_one, is_archive

FILE = "annotations.csv"
COLUMNS = ("layer", "unit", "summary")
PER_UNIT = 3
"""Number of annotations of each unit in the published data sets."""


@dataclass(frozen=True)
class UnitAnnotations:
    """The annotations of some units of some layers.

    Attributes:
        path: the file they were read from.
        texts: for each layer and unit its texts, in the order of the file.
        blank: number of rows without a text; they are skipped.
    """

    path: Path
    texts: Mapping[str, Mapping[int, tuple[str, ...]]]
    blank: int = 0

    def layer(self, name: str) -> Mapping[int, tuple[str, ...]]:
        """Returns the texts of each annotated unit of one layer.

        Raises:
            InputError: if there is no such layer.
        """
        if name in self.texts:
            return self.texts[name]
        layers = ", ".join(self.texts)
        raise InputError(
            f"{self.path} has no layer {name!r}", nearest(name, self.texts) or f"it has {layers}"
        )


def read_annotations(path: str | os.PathLike[str]) -> UnitAnnotations:
    """Reads annotations: one row per text, with the columns layer, unit (0-based) and summary.

    Args:
        path: a CSV file, or a folder or zip archive that contains an `annotations.csv`. Layer names are
            strings even if they look like numbers.

    Raises:
        InputError: if it cannot be read; names file, line and column.
    """
    path = Path(path).expanduser()
    if is_archive(path):
        with tempfile.TemporaryDirectory() as temporary:
            return _read(extract_one(path, FILE, Path(temporary)), path / FILE)
    file = path / FILE if path.is_dir() else path
    return _read(file, file)


def _read(file: Path, name: Path) -> UnitAnnotations:
    """Reads `file`; error messages call it `name`, because a copy from an archive is temporary."""
    texts: dict[str, dict[int, list[str]]] = {}
    blank = 0
    try:
        for row in read_table(file, COLUMNS):
            text = row["summary"].strip()
            # Checked for rows without a text too: the published files contain some.
            unit = row.integer("unit", at_least=0)
            if text:
                texts.setdefault(row.text("layer"), {}).setdefault(unit, []).append(text)
            else:
                blank += 1
    except InputError as error:
        raise InputError(error.message.replace(str(file), str(name)), error.hint) from error
    if not texts:
        raise InputError(f"{name} contains no annotations")
    by_layer = {
        layer: {unit: tuple(of_unit) for unit, of_unit in units.items()} for layer, units in texts.items()
    }
    return UnitAnnotations(name, by_layer, blank)


def annotation_references(
    path: str | os.PathLike[str],
    layer: str,
    units: int | None = None,
    *,
    per_unit: Annotated[int, Ge(1)] | None = PER_UNIT,
    name: str | None = None,
) -> References:
    """Returns the annotations of a layer as the true texts of its units.

    Args:
        path: see `read_annotations`.
        layer: name of the layer in the file.
        units: number of units of the layer; None: the largest annotated unit is the last one.
        per_unit: maximum number of texts per unit, the first ones; None: all.
        name: name of the references; default: the names of the file and the layer.

    Returns:
        One entry per unit; units without annotations have no text.

    Raises:
        InputError: if the file cannot be read, has no such layer, or has a unit beyond `units`.
    """
    annotations = read_annotations(path)
    texts = annotations.layer(layer)
    count = max(texts) + 1 if units is None else units
    if max(texts) >= count:
        raise InputError(
            f"{annotations.path} annotates unit {max(texts)} of {layer}, which has {count} units",
            "check references.units, and that references.layer is the layer that was annotated",
        )
    name = name or f"{Path(path).stem} {layer}"
    # The first ones, like the published loader.
    return References(name, tuple(texts.get(unit, ())[:per_unit] for unit in range(count)))
