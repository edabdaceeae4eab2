"""Loads the layouts of description files from YAML, and recognises them by the header of a file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ...harness.errors import InputError, nearest

TextFormat = Literal["plain", "broden", "python_pairs"]

_FOLDER = Path(__file__).parent / "layouts"


@dataclass(frozen=True)
class Layout:
    """The meaning of the columns of a description file; the keys of a layout's YAML file.

    Column names are compared without case and surrounding space. The columns of the unit, layer, method,
    status and description are in the header of every file; the others are read where a file has them.

    Attributes:
        name: name of the layout, for messages.
        header: the columns by which the layout is recognised; more may follow, in any order.
        unit: column of the unit.
        description: column of the description.
        descriptions: columns of the descriptions of several methods, by method; instead of `description`.
        first_unit: number of the first unit in the file (units are 0-based everywhere else).
        rows_per_unit: "several" if further rows of a unit are further descriptions, such as one per
            annotator.
        layer: column of the layer; None if the file has one layer that it does not name.
        layer_prefix: text that is added in front of the layer's cell.
        layer_in_file_name: regular expression of the layer in the file's name, between "-", "_", "." or
            spaces. It names the layer of a file that has no column for it.
        method: short name of the method if only one tool uses the header, else None.
        method_column: column of the method; None if the file has one method.
        status: column of the status; None if a unit without a description is a blank cell.
        score: column of the method's own score.
        alternatives: columns of further descriptions, best first; "*" in a name is a number.
        weights: columns of the weights of the description and of each alternative, in their order.
        alternatives_json: column with a JSON list of further descriptions.
        weights_json: column with a JSON list of the weights of the description and of the alternatives.
        text: how a cell becomes a text: "plain", "broden" (suffixes -c and -s, underscores), or
            "python_pairs" (a Python list of pairs of text and weight: description, then alternatives).
        blank: texts that stand for an empty cell.
        weak_up_to: scores up to this one are counted as weak; their label is kept.
    """

    name: str
    header: tuple[str, ...]
    unit: str
    description: str | None = None
    descriptions: Mapping[str, str] | None = None
    first_unit: int = 0
    rows_per_unit: Literal["one", "several"] = "one"
    layer: str | None = None
    layer_prefix: str = ""
    layer_in_file_name: str | None = None
    method: str | None = None
    method_column: str | None = None
    status: str | None = None
    score: str | None = None
    alternatives: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    alternatives_json: str | None = None
    weights_json: str | None = None
    text: TextFormat = "plain"
    blank: tuple[str, ...] = ()
    weak_up_to: float | None = None

    def text_columns(self) -> dict[str | None, str]:
        """Returns the columns of the descriptions by method; None for the only method."""
        return {**self.descriptions} if self.descriptions else {None: self.description or ""}


def read_layout(path: str | os.PathLike[str]) -> Layout:
    """Reads the layout of a description file from YAML; its keys are the attributes of `Layout`.

    Raises:
        InputError: if the file cannot be read, a key is unknown or missing, has a wrong type or conflicts
            with another key, or a column is not in the header; names file and key.
    """
    content = _content(Path(path))
    keys = [field.name for field in fields(Layout)]
    for key in content:
        if key not in keys:
            hint = f"{nearest(str(key), keys)} the keys are {', '.join(keys)}".strip()
            raise InputError(f"{path}: unknown key {key!r}", hint)
    layout = _validated(path, content)
    for key, problem in _problems(layout):
        raise InputError(f"{path}, key {key!r}: {problem}")
    return layout


def _content(path: Path) -> Mapping[Any, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the layout {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path} is not a layout", "a layout is a YAML mapping, see docs/import.md")
    return content


def _validated(path: str | os.PathLike[str], content: Mapping[Any, Any]) -> Layout:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Layout).validate_python(dict(content))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{path}, key {key!r}: {problem['msg'].lower()}") from error


def _problems(layout: Layout) -> list[tuple[str, str]]:
    """Returns (key, what is wrong with it)."""
    problems = []
    if (layout.description is None) == (layout.descriptions is None):
        problems.append(("description", "give either description or descriptions"))
    if layout.descriptions is not None:
        taken = ("alternatives", "alternatives_json", "weights", "score", "status", "method_column")
        problems += [(key, "not with descriptions") for key in taken if getattr(layout, key)]
    header = [_key(column) for column in layout.header]
    problems += [("header", f"{c!r} is there twice") for c in header if header.count(c) > 1]
    problems += [
        (key, f"column {column!r} is not in the header: {', '.join(layout.header)}")
        for key, column in _named_columns(layout)
        if _key(column) not in header
    ]
    if layout.weights and not layout.alternatives:
        problems.append(("weights", "there are no alternatives"))
    if layout.layer_prefix and layout.layer is None:
        problems.append(("layer_prefix", "there is no column for the layer"))
    if layout.first_unit < 0:
        problems.append(("first_unit", "must not be negative"))
    try:
        re.compile(layout.layer_in_file_name or "")
    except re.error as error:
        problems.append(("layer_in_file_name", f"not a regular expression: {error}"))
    return problems


def _named_columns(layout: Layout) -> list[tuple[str, str]]:
    """Returns (key, column) of the columns that must be in the header."""
    keys = ("unit", "layer", "method_column", "status", "description")
    named = [(key, getattr(layout, key)) for key in keys if getattr(layout, key) is not None]
    return named + [("descriptions", column) for column in (layout.descriptions or {}).values()]


def _key(column: str) -> str:
    """Returns what of a column's name is compared."""
    return column.strip().lower()


@cache
def built_in_layouts() -> Mapping[str, Layout]:
    """Returns the layouts of the package by the names of their files.

    A file has the first layout whose columns it has: those with more columns come first.
    """
    layouts = {path.stem: read_layout(path) for path in sorted(_FOLDER.glob("*.yaml"))}
    return dict(sorted(layouts.items(), key=lambda item: -len(item[1].header)))


def recognise(header: Sequence[str], layouts: Sequence[Layout] | None = None) -> Layout | None:
    """Returns the first layout whose columns a header has, by default of those built in, or None."""
    present = {_key(column) for column in header}
    candidates = built_in_layouts().values() if layouts is None else layouts
    return next((one for one in candidates if present.issuperset(map(_key, one.header))), None)


def known_headers() -> str:
    """Lists the built-in headers, one per line, for messages."""
    return "\n".join(
        f"    {','.join(layout.header)}  ({layout.name})" for layout in built_in_layouts().values()
    )
