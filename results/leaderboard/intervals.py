"""Draws intervals as SVG."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...harness.scores import MetricInfo
from ..statistics import Summary
from .board import Board

_WIDTH, _HEIGHT, _MARGIN = 144, 14, 5


@dataclass(frozen=True)
class Scale:
    """The values at the left and right end of a drawing."""

    low: float
    high: float

    def x(self, value: float) -> str:
        """Returns the position of a value, with one decimal and no more characters than needed."""
        share = (value - self.low) / (self.high - self.low)
        return f"{_MARGIN + share * (_WIDTH - 2 * _MARGIN):.1f}".removesuffix(".0")


def scales(boards: Iterable[Board]) -> dict[str, Scale]:
    """Returns one scale per metric, so that drawings of one metric can be compared on the whole page."""
    values: dict[str, list[float]] = {}
    metrics: dict[str, MetricInfo] = {}
    for board in boards:
        for entry in board.entries:
            for metric, cell in entry.cells.items():
                ends = (cell.estimate.low, cell.estimate.mean, cell.estimate.high)
                values.setdefault(metric, []).extend(end for end in ends if end is not None)
                metrics[metric] = board.metrics[metric]
    return {metric: _scale(content, metrics[metric]) for metric, content in values.items()}


def _scale(values: list[float], metric: MetricInfo) -> Scale:
    # Fractions are drawn from 0 to 1; other metrics from the lowest to the highest end.
    low, high = (min([0.0, *values]), max([1.0, *values])) if metric.percent else _ends(values)
    return Scale(low, high)


def _ends(values: list[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def positions(estimate: Summary, scale: Scale) -> list[str]:
    """Returns where low end, mean and high end are drawn; without an interval all are at the mean."""
    if estimate.mean is None:
        return []
    ends = (estimate.low, estimate.mean, estimate.high)
    return [scale.x(estimate.mean if end is None else end) for end in ends]


def draw(low: str = "{low}", mean: str = "{mean}", high: str = "{high}") -> str:
    """Returns a mean with its interval as an SVG element, or the template that a script completes."""
    middle = _HEIGHT // 2
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">'
        f'<path class="axis" d="M{_MARGIN} {middle}H{_WIDTH - _MARGIN}"/>'
        f'<path class="interval" d="M{low} {middle}H{high}"/>'
        f'<circle class="mean" cx="{mean}" cy="{middle}" r="3.5"/></svg>'
    )
