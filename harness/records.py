"""Descriptions: what a method says of a unit, kept as append-only records.

One line of `descriptions.jsonl` is one description. Lines are flushed and synced as they are written;
a torn last line (the run was killed while writing it) is dropped when the file is opened again. What a
description took (seconds, money) goes to `spent.jsonl` beside it, so that two runs of the same
configuration write the same `descriptions.jsonl`, byte for byte, however often they were interrupted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from .errors import InputError
from .files import explained

SCHEMA = 1
Status = Literal["ok", "dead", "failed"]


@dataclass(frozen=True, order=True)
class UnitId:
    """One unit: a channel of a layer of a target, 0-based."""

    target: str
    layer: str
    index: int


@dataclass(frozen=True)
class Candidate:
    """A text considered for a unit, with the score the method gave it (None: not scored)."""

    text: str
    score: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """A method's answer for one unit.

    Attributes:
        unit: which unit.
        method: name of the method.
        text: the words; None unless `status` is "ok".
        status: "ok"; "dead" (the unit's value never changes over the probing set); "failed".
        score: the method's own score of `text`, comparable only within one method and setting.
        candidates: the texts considered, best first.
        evidence: what led to the description, JSON-able; for "failed" it holds the `reason`.
        seconds: wall time spent on this unit.
        cost_usd: money spent on this unit.
    """

    unit: UnitId
    method: str
    text: str | None
    status: Status = "ok"
    score: float | None = None
    candidates: tuple[Candidate, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    cost_usd: float = 0.0

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.text is not None):
            raise ValueError(f"a description has a text exactly if its status is ok: {self}")

    def to_json(self) -> str:
        """Returns the record as one line of JSON, without its line end and without what it took."""
        record = {"schema": SCHEMA, **asdict(self)}
        del record["seconds"], record["cost_usd"]
        return json.dumps(record, ensure_ascii=False, allow_nan=False, sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> Description:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: if the line is not such a record, or of a newer schema.
        """
        record = json.loads(line)
        schema = record.pop("schema", None)
        if schema != SCHEMA:
            raise ValueError(f"record of schema {schema}; this version reads schema {SCHEMA}")
        record["unit"] = UnitId(**record["unit"])
        record["candidates"] = tuple(Candidate(**c) for c in record["candidates"])
        return cls(**record)


def read_descriptions(path: str | os.PathLike[str]) -> Iterator[Description]:
    """Yields the records of a file in order; a torn last line is passed over.

    Raises:
        InputError: if a line that is not the last cannot be read, naming file and line.
    """
    for _, description in _scan(Path(path)):
        yield description


def _scan(path: Path) -> Iterator[tuple[int, Description]]:
    """Yields (offset behind the line, description) for every whole line."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # torn: its writer was killed
            offset += len(line)
            try:
                yield offset, Description.from_json(line.decode("utf-8"))
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(
                    f"{path}, line {number}: not a description record: {error}",
                    "remove the line (its unit is then described again), or use another run name",
                ) from error


class Journal:
    """Appends descriptions to a file, one whole line each, and knows which are there already.

    Opening it cuts off a torn last line. Seconds and money go to `spent.jsonl` in the same folder.
    Later records of the same (unit, method) replace earlier ones for every reader of `latest`.

    Raises:
        InputError: if the file cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.latest: dict[tuple[UnitId, str], Description] = {}
        end = 0
        if self.path.exists():
            for offset, description in _scan(self.path):
                end = offset
                self.latest[description.unit, description.method] = description
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = self.path.open("ab")
            self._file.truncate(end)

    def append(self, description: Description) -> None:
        """Writes one record and forces it to the disk."""
        spent = {"method": description.method, **asdict(description.unit)}
        spent |= {"seconds": round(description.seconds, 6), "cost_usd": description.cost_usd}
        with explained(self.path):
            with self.path.with_name("spent.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(spent, sort_keys=True) + "\n")
            self._file.write(description.to_json().encode("utf-8") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self.latest[description.unit, description.method] = description

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
