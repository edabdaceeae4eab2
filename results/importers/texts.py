"""Turns the cells of a record into texts with weights, and names what is unusual in a text."""

from __future__ import annotations

import ast
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ...datasets.concepts import readable
from .layout_files import Layout

# Numbers as programs write them. `float` alone accepts digits of other scripts and underscores.
_NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE
)
# What a language model writes about its task instead of a description.
_REPLY = re.compile(
    r"\b(sorry|as an ai|please provide|concept label|descriptions|these captions|not possible to"
    r"|cannot be|can be (derived|determined|formed|found|generated|inferred)"
    r"|no .{0,40}\b(described|description))\b",
    re.IGNORECASE,
)
_NOTHING = ("nothing", "none", "n/a", "nan", "unknown", "-")


@dataclass(frozen=True)
class CellText:
    """One text of a record.

    Attributes:
        raw: the text as the cell has it.
        text: the text as it is imported; empty if there is none.
        weight: its weight; None if the file has no weights.
    """

    raw: str
    text: str
    weight: float | None = None


def number(cell: str) -> float:
    """Returns the number in a cell, which may be infinite or NaN.

    Raises:
        ValueError: if it has none, with a message.
    """
    if _NUMBER.fullmatch(cell.strip()) is None:
        raise ValueError(f"{_shortened(cell)} is not a number")
    return float(cell)


def finite_number(cell: str) -> float:
    """Returns the finite number in a cell; raises ValueError with a message if it has none."""
    value = number(cell)
    if not math.isfinite(value):
        raise ValueError(f"{_shortened(cell)} is not a finite number")
    return value


def cell_text(layout: Layout, raw: str, weight: float | None = None) -> CellText:
    """Returns the text of a cell in the format of a layout."""
    text = raw.strip()
    if layout.text == "broden":
        # Broden labels end in -c (color) or -s (scene) and have underscores; references have plain words.
        text = readable(text).strip()
    return CellText(raw, "" if text in layout.blank else text, weight)


def python_pairs(cell: str) -> list[CellText]:
    """Returns the texts and weights of a Python list of pairs, such as "[('dog', 0.5)]".

    Raises:
        ValueError: if the cell is not such a list, with a message.
    """
    if not cell.strip():
        return []
    try:
        # Only literals are evaluated. Deep nesting exhausts the parser's stack or memory.
        pairs = ast.literal_eval(cell.strip())
        texts = [CellText(text, text.strip(), float(weight)) for text, weight in pairs]
    except (ValueError, TypeError, AttributeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"{_shortened(cell)} is not a list of pairs of text and number") from error
    except OverflowError as error:
        raise ValueError(f"{_shortened(cell)} has a number that is too large") from error
    if not all(math.isfinite(text.weight or 0.0) for text in texts):
        raise ValueError(f"{_shortened(cell)} has a number that is not finite")
    return texts


def json_texts(cell: str) -> list[str]:
    """Returns the texts of a JSON list; an empty cell is an empty list.

    Raises:
        ValueError: if the cell is not a list of texts, with a message.
    """
    texts = _json_list(cell)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"{_shortened(cell)} is not a JSON list of texts")
    return texts


def json_weights(cell: str) -> list[float]:
    """Returns the numbers of a JSON list; an empty cell is an empty list.

    Raises:
        ValueError: if the cell is not a list of finite numbers, with a message.
    """
    weights = _json_list(cell)
    try:
        # `bool` is an int in Python, but no number in JSON.
        if any(isinstance(weight, (bool, str)) for weight in weights):
            raise TypeError
        numbers = [float(weight) for weight in weights]
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{_shortened(cell)} is not a JSON list of numbers") from error
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{_shortened(cell)} has a number that is not finite")
    return numbers


def _json_list(cell: str) -> list:
    if not cell.strip():
        return []
    try:
        content = json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{_shortened(cell)} is not a JSON list") from error
    if not isinstance(content, list):
        raise ValueError(f"{_shortened(cell)} is not a JSON list")
    return content


def with_weights(texts: Sequence[CellText], weights: Sequence[float]) -> list[CellText]:
    """Returns the texts with their weights, or unchanged if there are none.

    Raises:
        ValueError: if their numbers differ, with a message.
    """
    if not weights:
        return list(texts)
    present = [text for text in texts if text.text]
    if len(present) != len(weights):
        raise ValueError(f"{len(weights)} weights for {len(present)} texts")
    numbers = iter(weights)
    return [replace(text, weight=next(numbers)) if text.text else text for text in texts]


def has_invisible(text: str) -> bool:
    """Returns whether a text has a control or format character other than line breaks and tabs."""
    return not text.isprintable() and any(
        unicodedata.category(char) in ("Cc", "Cf") and char not in "\n\r\t" for char in text
    )


def oddities(text: CellText) -> Iterator[str]:
    """Names what is unusual in a text that is not empty, and what was changed."""
    stripped = text.raw.strip()
    if text.raw != stripped:
        yield "with surrounding space, stripped"
    if text.text != stripped:
        yield "with a Broden suffix or underscores, replaced"
    if '"' in stripped:
        yield "with double quotes inside"
    if "\n" in stripped or "\r" in stripped:
        yield "with a line break inside"
    if "  " in stripped:
        yield "with repeated spaces inside, kept"
    if has_invisible(stripped):
        yield "with a control or invisible character inside, kept"
    if text.text.lower() in _NOTHING:
        yield 'that names nothing, such as "nothing" or "n/a", kept'
    if " " in stripped and _REPLY.search(stripped):
        yield "like a reply of a language model about its task, kept"
    if text.weight is not None and text.weight < 0:
        yield "with a negative weight, kept"


def _shortened(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else cell[:60] + "...")
