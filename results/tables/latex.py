"""Writes tables in LaTeX, with the rules of the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .table import Row, Table
from .value_format import heading, is_number, wording

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # LaTeX reads a bracket after the end of a row, `\\`, as the argument of that command.
    "[": "{[}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_PATTERN = re.compile("|".join(map(re.escape, _SPECIAL)))


def escape(text: str) -> str:
    """Returns text for LaTeX on one line, with all characters escaped that LaTeX interprets."""
    return _PATTERN.sub(lambda match: _SPECIAL[match[0]], " ".join(text.split()))


def to_latex(table: Table) -> str:
    """Returns a table float with booktabs rules: the best in bold, controls below a rule."""
    alignment = "".join("r" if is_number(column) else "l" for column in table.columns)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escape(table.title)}}}",
        f"\\label{{{_label(table)}}}",
        f"\\begin{{tabular}}{{{alignment}}}",
        "\\toprule",
        " & ".join(escape(heading(column)) for column in table.columns) + " \\\\",
        "\\midrule",
        *_rows(table),
        "\\bottomrule",
        "\\end{tabular}",
        *_notes(table),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _rows(table: Table) -> Iterator[str]:
    in_controls = False
    for row in table.rows:
        # A table of controls alone has the rule below its header already.
        if row.control and not in_controls and row is not table.rows[0]:
            yield "\\midrule"
        in_controls = row.control
        yield " & ".join(_cells(table, row)) + " \\\\"


def _cells(table: Table, row: Row) -> Iterator[str]:
    for place, (value, column) in enumerate(zip(row.cells, table.columns, strict=True)):
        text = escape(" ".join(wording(value, column)))
        if is_number(column):  # a minus sign instead of a hyphen
            text = re.sub(r"-(?=\d)", "$-$", text)
        yield f"\\textbf{{{text}}}" if place in row.best else text


def _notes(table: Table) -> list[str]:
    lines = [*table.notes, *(f"{role}: {name}" for role, name in table.footer.items())]
    if not lines:
        return []
    return [
        "",
        "\\smallskip",
        "\\footnotesize",
        *(escape(line) + " \\\\" for line in lines[:-1]),
        escape(lines[-1]),
    ]


def _label(table: Table) -> str:
    return "tab:" + re.sub(r"[^A-Za-z0-9.-]+", "-", table.name)
