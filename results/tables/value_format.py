"""How a value of a table reads."""

from __future__ import annotations

from ..statistics import Summary
from .table import Column, Coverage, Value

UNDEFINED = "n/a"
CONTROLS_LINE = "controls"


def heading(column: Column) -> str:
    """Returns a column's heading with its unit."""
    return f"{column.name} (%)" if column.percent else column.name


def is_number(column: Column) -> bool:
    """Says whether a column is set to the right."""
    return column.kind != "text"


def wording(value: Value, column: Column) -> list[str]:
    """Returns a value in words, in one or two parts that may stand below each other."""
    if value is None:
        return [UNDEFINED]
    if isinstance(value, Coverage):
        return _coverage(value)
    if isinstance(value, Summary):
        return _estimate(value, column.percent)
    if column.kind == "number":
        return [number(float(value), column.percent)]
    return [str(value)]


def number(value: float | None, percent: bool = False) -> str:
    """Returns a number with four decimals, or a share in percent with two; never "-0.0000"."""
    if value is None:
        return UNDEFINED
    value, digits = (100 * value, 2) if percent else (value, 4)
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _estimate(value: Summary, percent: bool) -> list[str]:
    if value.mean is None:
        return [UNDEFINED]
    mean = f"{number(value.mean, percent)} ± {number(value.standard_error, percent)}"
    if value.low is None:
        return [mean]
    return [mean, f"[{number(value.low, percent)}, {number(value.high, percent)}]"]


def _coverage(value: Coverage) -> list[str]:
    left = {
        "below threshold": value.below_threshold,
        "dead": value.dead,
        "failed": value.failed,
        "missing": value.missing,
        "other": value.other,
    }
    said = ", ".join(f"{n} {what}" for what, n in left.items() if n)
    return [f"{value.scored}/{value.units}", *([f"({said})"] if said else [])]
