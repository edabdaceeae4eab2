"""Published tables as data files: where they were printed, their cells, and how to recompute them."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import yaml
from annotated_types import MinLen
from pydantic import Field, ValidationError

from ...harness.errors import InputError, nearest
from .count_recipes import ClassMatches, ColumnMeans, DistinctTexts, SynonymMatches, WordCounts
from .printed_recipes import Combination, Denominators, NotAvailable, Ratio
from .rating_recipes import FlagCounts, RaterAgreement, RatingDifferences, RatingStatistics
from .recipe import Cell, Model, Name
from .text_recipes import EqualTexts, TextSimilarity
from .unit_recipes import Detectors, PairedByOrder
from .verdicts import Printed

# The key `recipe` chooses the class.
AnyPart = Annotated[
    Combination
    | Ratio
    | Denominators
    | NotAvailable
    | TextSimilarity
    | EqualTexts
    | WordCounts
    | DistinctTexts
    | SynonymMatches
    | ClassMatches
    | ColumnMeans
    | Detectors
    | PairedByOrder
    | RatingStatistics
    | RatingDifferences
    | RaterAgreement
    | FlagCounts,
    Field(discriminator="recipe"),
]


class Source(Model):
    """Where a table was printed.

    Attributes:
        printed_in: publication and number of the table.
        url: address of the publication or its code.
    """

    printed_in: Name
    url: Name


class PublishedTable(Model):
    """A published table.

    Attributes:
        name: name of its file, without suffix.
        title: what it shows.
        source: where it was printed.
        models: by text metric, the name of the model that the authors used.
        notes: what a reader should know.
        parts: its cells, grouped by the recipe that recomputes them.
    """

    name: Name
    title: Name
    source: Source
    models: dict[Name, Name] = Field(default_factory=dict)
    notes: tuple[Name, ...] = ()
    parts: Annotated[tuple[AnyPart, ...], MinLen(1)]

    def cells(self) -> dict[Cell, Printed | None]:
        """Returns the printed cells, in the order of the file."""
        return dict(cell for part in self.parts for cell in part.printed())

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yields (key, problem) for what does not fit together."""
        cells: dict[Cell, Printed | None] = {}
        for number, part in enumerate(self.parts):
            for cell, printed in part.printed():
                if cell in cells:
                    yield f"parts.{number}.cells", f"the cell {cell[0]!r}, {cell[1]!r} appears twice"
                cells[cell] = printed
        for number, part in enumerate(self.parts):
            problems = [*part.check(cells)]
            yield from ((f"parts.{number}.{key}", problem) for key, problem in problems)
            if problems:
                continue  # the names of metrics cannot be read from a part that does not fit its cells
            for (row, column), _ in part.printed():
                for metric in part.metrics(row, column):
                    if metric not in self.models:
                        yield "models", f"the model of the metric {metric!r} is not named"


def folder() -> Path:
    """Returns the folder of the tables that are part of the package."""
    return Path(str(importlib.resources.files("dissectbench.results"))) / "published"


def known_tables() -> list[str]:
    """Returns the names of the tables that are part of the package."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def load_table(name: str) -> PublishedTable:
    """Reads a table.

    Args:
        name: the name of a known table, or the path of a YAML file.

    Raises:
        InputError: if there is no such table, or its file is not valid; names file and key.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder() / f"{name}.yaml"
    if path.parent == folder() and name not in known_tables():
        known = known_tables()
        hint = f"{nearest(name, known)} Known: {', '.join(known)}, or the path of a YAML file.".strip()
        raise InputError(f"no published table is named {name!r}", hint)
    content = _read(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a mapping of keys to values")
    try:
        table = PublishedTable.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InputError(f"{path}, {key}: {first['msg']}", _hint(first)) from None
    for key, problem in table.problems():
        raise InputError(f"{path}, {key}: {problem}")
    return table


def _hint(error: Any) -> str | None:
    if error["type"] == "string_type" and isinstance(error["input"], int | float):
        return "write printed numbers in quotes: '50.00' keeps its zeros"
    return None


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason})") from error
    try:
        return yaml.load(text, Loader=_Loader)
    # ValueError: such as a date without such a day, or an integer of thousands of digits.
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None


class _Loader(yaml.SafeLoader):
    """Refuses repeated keys, which YAML would overwrite silently, and aliases.

    A few nested aliases can stand for billions of values.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"line {event.start_mark.line + 1}: aliases are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"mapping at line {line}: the key {key!r} is repeated")
        return super().construct_mapping(node, deep)
