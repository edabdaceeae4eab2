"""Prints one unit in the terminal: descriptions, scores, evidence, exemplars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..harness.records import Description
from .printable import one_line
from .tables.value_format import number
from .unit_view import UnitView

if TYPE_CHECKING:
    from rich.console import Console

    from ..harness.scores import MetricInfo, ScoreRow

CANDIDATES = 5
"""Candidates printed per method; `--json` has all."""

_ITEMS = 5  # items of a list that are printed


def print_unit(view: UnitView, console: Console, metrics: Mapping[str, MetricInfo]) -> None:
    """Prints a unit. Texts are printed as they are: markup in them is not interpreted.

    Args:
        view: the unit.
        console: where to print.
        metrics: properties of the metrics of the scores, by name.
    """
    from rich.rule import Rule
    from rich.text import Text

    unit = view.unit
    console.print(Rule(Text(f"{unit.layer}:{unit.index} of {unit.target}", style="bold"), align="left"))
    if view.references:
        console.print(Text.assemble(("reference  ", "bold"), one_line(" | ".join(view.references))))
    for description in view.descriptions:
        _print_description(description, view, console, metrics)
    if view.exemplars:
        console.print(Text("exemplars", style="bold"))
        for exemplar in view.exemplars:
            line = f"  {format_value(exemplar.value):>10}  image {exemplar.image}  {exemplar.path or ''}"
            # Not wrapped: a path is copied as a whole.
            console.print(Text(line.rstrip()), soft_wrap=True)
    for note in view.notes:
        console.print(Text(note, style="yellow"))
    console.print()


def _print_description(
    description: Description, view: UnitView, console: Console, metrics: Mapping[str, MetricInfo]
) -> None:
    from rich.text import Text

    ok = description.status == "ok"
    text = one_line(description.text or "") if ok else f"({description.status.replace('_', ' ')})"
    score = "" if description.score is None else f"  score {format_value(description.score)}"
    style = "green" if ok else "yellow"
    console.print(
        Text.assemble((description.method, "bold"), "  ", (text or '""', style), (score, "dim"))
    )
    rows = [row for row in view.scores if row.method == description.method]
    if rows:
        _print_line("metrics", ", ".join(_score(row, metrics) for row in rows), console)
    if description.candidates:
        candidates = [
            candidate.text
            if candidate.score is None
            else f"{candidate.text} {format_value(candidate.score)}"
            for candidate in description.candidates[:CANDIDATES]
        ]
        _print_line("candidates", _shortened(candidates, len(description.candidates)), console)
    for key, value in evidence_lines(description.evidence):
        _print_line(key, value, console, style="dim")


def _score(row: ScoreRow, metrics: Mapping[str, MetricInfo]) -> str:
    if row.reason:
        return f"{row.metric} ({row.reason.replace('_', ' ')})"
    percent = row.metric in metrics and metrics[row.metric].percent
    return f"{row.metric} {number(row.score, percent)}{' %' if percent else ''}"


def _print_line(key: str, value: str, console: Console, style: str = "") -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(
        Padding(Text.assemble((f"{key}: ", "cyan"), (one_line(value), style)), (0, 0, 0, 2), expand=False)
    )


def evidence_lines(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns evidence as pairs of a key and a short text, nested mappings with dotted keys.

    Numbers have four digits, and a list shows its first items and its length.
    """
    lines: list[tuple[str, str]] = []
    for key, value in evidence.items():
        if isinstance(value, Mapping) and any(_is_nested(item) for item in value.values()):
            lines += [(f"{key}.{inner}", text) for inner, text in evidence_lines(value)]
        elif _is_list(value) and any(isinstance(item, Mapping) for item in value):
            lines += [(f"{key}.{number}", _inline(item)) for number, item in enumerate(value[:_ITEMS])]
            if len(value) > _ITEMS:
                lines.append((key, f"… ({len(value)} in all)"))
        else:
            lines.append((str(key), _inline(value)))
    return lines


def format_value(value: float) -> str:
    """Returns a number with four significant digits; large whole numbers in full."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping) or (_is_list(value) and len(value) > 4)  # type: ignore[arg-type]


def _inline(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, (int, float)):
        return format_value(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_quoted(item)}" for key, item in value.items() if item is not None)
    if _is_list(value):
        if not value:
            return "none"
        items = [_enclosed(item) for item in value[:_ITEMS]]
        # Texts such as captions contain commas.
        texts = any(isinstance(item, str) for item in value)
        return _shortened(items, len(value), " | " if texts else ", ")
    return str(value)


def _enclosed(value: Any) -> str:
    """Returns a value inside another one, in brackets where its end would not be seen."""
    if isinstance(value, Mapping):
        return f"({_inline(value)})"
    return f"[{_inline(value)}]" if _is_list(value) else _inline(value)


def _quoted(value: Any) -> str:
    # Only where the next key could be mistaken for a part of the text.
    return f'"{value}"' if isinstance(value, str) and not value.isidentifier() else _enclosed(value)


def _shortened(items: Sequence[str], total: int, separator: str = ", ") -> str:
    more = f"{separator}… ({total} in all)" if total > len(items) else ""
    return separator.join(items) + more
