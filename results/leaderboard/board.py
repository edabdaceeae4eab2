"""The parts of a leaderboard as data: boards, entries and cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import NDArray

from ...harness.scores import MetricInfo
from ..ranks import RankInterval
from ..statistics import Summary
from ..tables.table import Coverage
from .bundle import MethodInfo, ProbingSetInfo, TargetInfo


@dataclass(frozen=True)
class Difference:
    """A method minus the baseline, on the units that both have.

    Attributes:
        estimate: the mean difference and its interval.
        p_value: p-value of the paired test, corrected by Holm for all comparisons with the baseline on
            the board; None without a common unit.
    """

    estimate: Summary
    p_value: float | None


@dataclass(frozen=True)
class Cell:
    """A method by a metric.

    Attributes:
        estimate: mean and interval.
        rank: the ranks it can have; None if it is not ranked.
        unranked: why it is not ranked; None if it is, and for controls.
        difference: the difference to the baseline; None without a baseline, and for those not ranked.
    """

    estimate: Summary
    rank: RankInterval | None
    unranked: str | None
    difference: Difference | None


@dataclass(frozen=True)
class Example:
    """A described unit with its references, if it has any."""

    unit: int
    text: str
    references: list[str]


@dataclass(frozen=True)
class Entry:
    """A row of a board: a method or control of one submission.

    Attributes:
        label: its name, unique on the board.
        method: the name under which it was submitted.
        control: whether it is a control.
        source: short name of the bundle or run.
        submission: id of the bundle.
        date: day on which the run ended, ISO 8601.
        version: version of dissectbench.
        coverage: how many units have a score, or a description where nothing is scored.
        distinct: number of different descriptions.
        seconds: wall time; None if it is not known.
        cost_usd: cost of paid services; None if it is not known.
        duplicate_of: the source that submitted the same method with the same settings first.
        cells: by label of the metric.
        details: identity and settings.
        examples: some described units.
    """

    label: str
    method: str
    control: bool
    source: str
    submission: str
    date: str
    version: str
    coverage: Coverage
    distinct: int
    seconds: float | None
    cost_usd: float | None
    duplicate_of: str | None
    cells: Mapping[str, Cell]
    details: MethodInfo
    examples: list[Example]


@dataclass(frozen=True)
class Board:
    """One table of a leaderboard.

    Attributes:
        target: the target.
        layer: the layer.
        probing_set: the probing set.
        references: name of the references; None where nothing is scored.
        references_fingerprint: their hash.
        metrics: properties of the metrics, by label.
        detectable: for each metric, the difference that its units would have shown between any two ranked
            methods, with a power of 80 %; None without two ranked methods.
        scores: float64 [units] of the ranked methods, by metric and label.
        entries: the rows.
        duplicates: sentences about methods that were submitted twice.
    """

    target: TargetInfo
    layer: str
    probing_set: ProbingSetInfo
    references: str | None
    references_fingerprint: str | None
    metrics: Mapping[str, MetricInfo]
    detectable: Mapping[str, float | None]
    scores: Mapping[str, Mapping[str, NDArray]]
    entries: list[Entry]
    duplicates: list[str]

    @property
    def key(self) -> tuple[str, ...]:
        """What distinguishes the board from others; boards are sorted by it."""
        return (
            self.target.name,
            self.layer,
            self.probing_set.name,
            self.references or "",
            self.target.fingerprint,
            self.probing_set.fingerprint,
            str(self.probing_set.skipped),
            self.references_fingerprint or "",
        )

    @property
    def title(self) -> str:
        """The board in words."""
        probing_set, references = self.probing_set, self.references
        images = f"{probing_set.name}, {probing_set.images - probing_set.skipped} images"
        return f"{self.target.name}, layer {self.layer}; {images}; " + (
            f"references {references}" if references else "not scored"
        )
