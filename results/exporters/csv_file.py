"""Writes CSV files that are read back unchanged."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence

from ...harness.files import atomic_open


def write_csv(path: str | os.PathLike[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes rows, atomically, in UTF-8 with Unix line ends; None is an empty cell.

    Raises:
        InputError: if the file cannot be written.
    """
    with atomic_open(path) as file:
        for row in rows:
            line = io.StringIO()
            # With the line end \r\n, the csv module quotes every cell that has one of the two characters.
            # With \n it leaves a lone \r unquoted, which no reader takes back.
            csv.writer(line, lineterminator="\r\n").writerow(row)
            file.write(line.getvalue().removesuffix("\r\n") + "\n")
