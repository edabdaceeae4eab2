"""Descriptions: what a method says about a unit. One line of `descriptions.jsonl` is one record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

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
    """A text considered for a unit, with the score the method gave it (None: not scored)."""

    text: str
    score: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Spent:
    """What describing a unit, or several, took: wall time, and money for paid services."""

    seconds: float = 0.0
    cost_usd: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, self.cost_usd + other.cost_usd)


@dataclass(frozen=True)
class Description:
    """A method's answer for one unit.

    Attributes:
        unit: which unit.
        method: name of the method.
        text: the words; None unless `status` is "ok".
        status: "ok"; "below_threshold" (the best candidate's score does not pass the method's own
            threshold); "dead" (the unit's value is constant over the probing set); "failed".
        score: the method's own score of its best candidate, comparable only within one method and
            setting.
        candidates: the texts considered, best first.
        evidence: what led to the description, JSON-able; for "below_threshold" and "failed" it holds
            the `reason`.
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
            raise ValueError(f"record of schema {schema}, this version reads schema {SCHEMA}")
        record["unit"] = UnitId(**record["unit"])
        record["candidates"] = tuple(Candidate(**c) for c in record["candidates"])
        return cls(**record)
