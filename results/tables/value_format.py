"""Formats the values of a table as text."""

from __future__ import annotations

from dataclasses import asdict

from ..statistics import Summary
from .table import Column, Coverage, Value

UNDEFINED = "n/a"
CONTROLS_LINE = "controls"


def heading(column: Column) -> str:
    """Returns a column's heading with its unit."""
    return f"{column.name} (%)" if column.percent else column.name


def is_number(column: Column) -> bool:
    """Returns whether a column is aligned to the right."""
    return column.kind != "text"


def wording(value: Value, column: Column) -> list[str]:
    """Returns a value as text, in one or two parts that may be printed below each other."""
    if value is None:
        return [UNDEFINED]
    if isinstance(value, Coverage):
        return _coverage(value)
    if isinstance(value, Summary):
        return _estimate(value, column.percent)
    if column.kind == "number" and isinstance(value, int):
        return [str(value)]  # a count among numbers
    if column.kind == "number":
        return [number(float(value), column.percent)]
    if column.kind == "seconds":
        return [duration(float(value))]
    if column.kind == "usd":
        return [money(float(value))]
    return [str(value)]


def number(value: float | None, percent: bool = False) -> str:
    """Returns a number with four decimals, or in percent with two; never "-0.0000"."""
    if value is None:
        return UNDEFINED
    value, digits = (100 * value, 2) if percent else (value, 4)
    return f"{round(value, digits) + 0.0:.{digits}f}"  # adding zero turns -0.0 into 0.0


def duration(seconds: float) -> str:
    """Returns a time in the two units that matter: "0.42 s", "12.3 s", "4 min 05 s", "3 h 20 min"."""
    # Limits below 10 and 60, so that rounding never yields "10.00 s" or "60.0 s".
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def money(usd: float) -> str:
    """Returns an amount in cents, or with two more decimals if it is smaller than ten cents."""
    return f"${usd:.4f}" if 0 < usd < 0.1 else f"${usd:.2f}"


def _estimate(value: Summary, percent: bool) -> list[str]:
    if value.mean is None:
        return [UNDEFINED]
    mean = f"{number(value.mean, percent)} ± {number(value.standard_error, percent)}"
    if value.low is None:
        return [mean]
    return [mean, f"[{number(value.low, percent)}, {number(value.high, percent)}]"]


def _coverage(value: Coverage) -> list[str]:
    counts = asdict(value)
    reasons = ", ".join(
        f"{counts[reason]} {reason.replace('_', ' ')}"
        for reason in counts
        if reason not in ("scored", "units") and counts[reason]
    )
    return [f"{value.scored}/{value.units}", *([f"({reasons})"] if reasons else [])]
