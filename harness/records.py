"""Descriptions of units; one line of `descriptions.jsonl` is one record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

# Version of a line. Lines of another version are refused and not guessed.
SCHEMA = 1
Status = Literal["ok", "below_threshold", "dead", "failed"]


@dataclass(frozen=True, order=True)
class UnitId:
    """One unit: a channel of a layer of a target, 0-based."""

    target: str
    layer: str
    index: int


@dataclass(frozen=True)
class Candidate:
    """A text considered for a unit.

    Attributes:
        text: the text.
        score: the method's own score; None if it was not scored.
        details: further values of the method, JSON-able.
    """

    text: str
    score: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Spent:
    """Wall time, and cost of paid services, of describing one or several units."""

    seconds: float = 0.0
    cost_usd: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, self.cost_usd + other.cost_usd)


@dataclass(frozen=True)
class Description:
    """A method's description of one unit.

    Attributes:
        unit: the unit.
        method: name of the method.
        text: the description; None unless `status` is "ok".
        status: "ok"; "below_threshold" (the best candidate's score does not pass the method's own
            threshold); "dead" (the unit's value is constant over the probing set); "failed".
        score: the method's own score of its best candidate, comparable only within one method and
            setting.
        candidates: the texts considered, best first.
        evidence: values that led to the description, JSON-able; for "below_threshold" and "failed" it
            contains the `reason`.
        seconds: wall time of this unit; not part of the record.
        cost_usd: cost of this unit; not part of the record.
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
        """Returns the record as one line of JSON, without line end, time and cost."""
        record = {"schema": SCHEMA, **asdict(self)}
        # They differ between runs; without them, equal settings give equal records, byte by byte.
        del record["seconds"], record["cost_usd"]
        return json.dumps(record, ensure_ascii=False, allow_nan=False, sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> Description:
        """Parses a line written by `to_json`.

        Raises:
            ValueError: if the line is not such a record, or has another schema.
        """
        record = json.loads(line)
        schema = record.pop("schema", None)
        if schema != SCHEMA:
            raise ValueError(f"record of schema {schema}, this version reads schema {SCHEMA}")
        record["unit"] = UnitId(**record["unit"])
        record["candidates"] = tuple(Candidate(**c) for c in record["candidates"])
        return cls(**record)
