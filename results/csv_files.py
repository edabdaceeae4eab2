"""Reads CSV files by the names of their columns, and their cells as numbers."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from ..harness.errors import InputError


def read_text(file: Path) -> str:
    """Returns a text file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 ({error.reason})") from error


def read_csv(file: Path) -> list[dict[str, str]]:
    """Returns the rows of a CSV file by column.

    Raises:
        InputError: if it cannot be read or is not valid CSV.
    """
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True)
    try:
        records = list(reader)
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.line_num}: not valid CSV: {error}") from error
    for number, record in enumerate(records, start=1):
        # DictReader fills missing cells with None and collects surplus ones under the key None.
        if None in record or None in record.values():
            raise InputError(f"{file}, row {number}: not as many cells as the header")
    return records


def number(record: dict[str, str], column: str, where: str) -> float:
    """Returns a cell as a number.

    Raises:
        InputError: if it is not a finite number; names file and column.
    """
    try:
        value = float(record[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}, column {column!r}: {record[column]!r} is not a number")
    return value
