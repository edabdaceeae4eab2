"""Measures and wraps text, and replaces characters that no installed font has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from ..printable import one_line

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

MISSING = "\N{WHITE SQUARE}"
"""Drawn for a character that no font has."""

# TrueType fonts with scripts that DejaVu Sans, which matplotlib brings, lacks. Not those with CFF
# outlines (Noto Sans CJK): PDF cannot embed them as Type 42.
_MORE_FONTS = (
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS"),
    *("Microsoft YaHei", "Malgun Gothic", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Emoji"),
)


@lru_cache(maxsize=1)
def families() -> list[str]:
    """Returns DejaVu Sans and the installed fonts for other scripts, in the order of preference."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _MORE_FONTS if name in installed)]


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    from matplotlib import font_manager

    codes: set[int] = set()
    for family in families():
        path = font_manager.findfont(font_manager.FontProperties(family=[family]))
        codes |= set(font_manager.get_font(path).get_charmap())
    return frozenset(codes)


def drawable(text: str, missing: set[str]) -> str:
    """Returns the text in one line, with a square for each character that no font has.

    Args:
        text: any text.
        missing: receives these characters.
    """
    known = _characters()
    line = one_line(text)
    lacking = {character for character in line if ord(character) not in known and character != " "}
    missing |= lacking
    return "".join(MISSING if character in lacking else character for character in line)


def missing_note(missing: set[str]) -> list[str]:
    """Returns a note about characters that no font has, or nothing."""
    if not missing:
        return []
    listed = " ".join(f"U+{ord(character):04X}" for character in sorted(missing)[:10])
    more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    return [
        f"no installed font has the characters {listed}{more}: they are drawn as {MISSING}; install a "
        "TrueType font that has them, such as WenQuanYi Micro Hei for Chinese and Japanese"
    ]


def font(size: float, *, bold: bool = False, italic: bool = False) -> FontProperties:
    """Returns a font of the figure's families."""
    from matplotlib.font_manager import FontProperties

    return FontProperties(
        family=families(),
        size=size,
        weight="bold" if bold else "normal",
        style="italic" if italic else "normal",
    )


def width(text: str, properties: FontProperties) -> float:
    """Returns the width of a line in points."""
    from matplotlib.textpath import TextToPath

    # Without `ismath`, "$" would be measured as a formula.
    return float(TextToPath().get_text_width_height_descent(text, properties, ismath=False)[0])


def wrap(text: str, properties: FontProperties, limit: float) -> list[str]:
    """Breaks a text into lines that are at most `limit` points wide, at least one line.

    Lines break at spaces; a word that is wider than a line, or a text in a script without spaces, breaks
    anywhere.
    """
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width(longer, properties) <= limit:
            lines[-1] = longer
            continue
        lines += _pieces(word, properties, limit)
    # The first line stays empty if the first word is too wide for it.
    return lines[1:] if not lines[0] and len(lines) > 1 else lines


def _pieces(word: str, properties: FontProperties, limit: float) -> Sequence[str]:
    pieces = [""]
    for character in word:
        # A piece has at least one character, however narrow the column is.
        if pieces[-1] and width(pieces[-1] + character, properties) > limit:
            pieces.append("")
        pieces[-1] += character
    return pieces
