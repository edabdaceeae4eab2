"""Append-only files of a run: one JSON object per line, synced to the disk as each is written.

A process that is killed while it writes leaves a torn last line. Readers ignore it and the next writer
cuts it off, so a line is either complete or absent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypeVar

from .errors import InputError
from .files import explained
from .records import Description, Spent, UnitId

Parsed = TypeVar("Parsed")


def read_lines(path: Path, parse: Callable[[str], Parsed], hint: str) -> Iterator[tuple[int, Parsed]]:
    """Yields (offset of the line's end in bytes, parsed line) for every complete line.

    Args:
        path: the file.
        parse: turns a line into an object; a ValueError, TypeError or KeyError marks an invalid line.
        hint: what the user can do about an invalid line.

    Raises:
        InputError: if a complete line cannot be parsed; names the file and the line.
    """
    offset = 0
    # Bytes, because the offset is where a writer cuts the file off; text mode has no byte offsets.
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # torn: the process that wrote it was killed
            offset += len(line)
            try:
                yield offset, parse(line.decode("utf-8"))
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"{path}, line {number}: {error}", hint) from error


class LineWriter:
    """Appends lines to a file; each is on the disk when `append` returns.

    Args:
        path: the file; created with its folder if absent.
        end: length of the file up to its last complete line. What follows is cut off.

    Raises:
        InputError: if the file cannot be written.
    """

    def __init__(self, path: Path, end: int) -> None:
        self.path = path
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: after an error a buffer would keep the line, and `close` would write it again.
            self._file: IO[bytes] = path.open("ab", buffering=0)
            # In append mode writes go to the end of the file, also after it was cut off.
            self._file.truncate(end)

    def append(self, line: str) -> None:
        """Writes one line (without its line end) and syncs it.

        Raises:
            InputError: if the file cannot be written.
        """
        rest = memoryview(line.encode("utf-8") + b"\n")
        with explained(self.path):
            while rest:  # on a disk that is almost full, a write may take only a part
                rest = rest[self._file.write(rest) :]
            # The operating system may lose a line in a power cut until it is synced.
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file.

        Raises:
            InputError: if the file cannot be written: network file systems may report it only here.
        """
        with explained(self.path):
            self._file.close()


def read_descriptions(path: str | os.PathLike[str]) -> Iterator[Description]:
    """Yields the records of a `descriptions.jsonl` in order; ignores a torn last line.

    Raises:
        InputError: if a complete line is not a record; names the file and the line.
    """
    for _, description in _read_records(Path(path)):
        yield description


def _read_records(path: Path) -> Iterator[tuple[int, Description]]:
    hint = "remove the line (its unit is then described again), or use another run name"
    yield from read_lines(path, Description.from_json, hint)


def read_spent(path: str | os.PathLike[str]) -> dict[tuple[UnitId, str], Spent]:
    """Returns what each (unit, method) took, summed over all attempts; empty if there is no file.

    Raises:
        InputError: if a complete line is not such an entry; names the file and the line.
    """
    path = Path(path)
    totals: dict[tuple[UnitId, str], Spent] = {}
    if path.exists():
        for _, (key, spent) in _read_spent(path):
            totals[key] = totals.get(key, Spent()) + spent
    return totals


def _read_spent(path: Path) -> Iterator[tuple[int, tuple[tuple[UnitId, str], Spent]]]:
    def parse(line: str) -> tuple[tuple[UnitId, str], Spent]:
        entry: dict[str, Any] = json.loads(line)
        unit = UnitId(entry["target"], entry["layer"], int(entry["index"]))
        return (unit, entry["method"]), Spent(float(entry["seconds"]), float(entry["cost_usd"]))

    yield from read_lines(path, parse, "remove the line: its seconds and cost are then not counted")


class Journal:
    """The descriptions of a run: appends records and knows the latest of every (unit, method).

    Seconds and cost are appended to `spent.jsonl` in the same folder. They are not part of the records,
    so that two runs with the same settings write the same `descriptions.jsonl`, byte for byte.

    Attributes:
        latest: the last record of every (unit, method).

    Raises:
        InputError: if a file cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.latest: dict[tuple[UnitId, str], Description] = {}
        end = 0
        if self.path.exists():
            for offset, description in _read_records(self.path):
                end = offset
                self.latest[description.unit, description.method] = description
        self._records = LineWriter(self.path, end)
        spent = self.path.with_name("spent.jsonl")
        ends = [0, *(end for end, _ in _read_spent(spent))] if spent.exists() else [0]
        self._spent = LineWriter(spent, ends[-1])

    def append(self, description: Description) -> None:
        """Writes one record and syncs it.

        Raises:
            InputError: if a file cannot be written.
        """
        line = description.to_json()  # raises for values that are not JSON, before anything is written
        spent = {"method": description.method, **asdict(description.unit)}
        spent |= {"seconds": round(description.seconds, 6), "cost_usd": description.cost_usd}
        # First what it took: if the process is killed in between, the unit is described again, and
        # the sum then includes the lost attempt, which was paid too.
        self._spent.append(json.dumps(spent, sort_keys=True))
        self._records.append(line)
        self.latest[description.unit, description.method] = description

    def close(self) -> None:
        """Closes both files."""
        try:
            self._records.close()
        finally:
            self._spent.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
