"""Makes any text safe to print in one line, in a terminal or a figure."""

from __future__ import annotations

import unicodedata

# Format characters that shape the text around them: joiners of emoji and of Indic and Arabic scripts.
_JOINERS = "\u200c\u200d"


def one_line(text: str) -> str:
    """Returns the text with runs of white space as one space, without control and format characters.

    They would move the cursor of a terminal, reverse the direction of the text, or make an SVG invalid.
    """
    kept = (
        character
        for character in text
        if character.isspace() or character in _JOINERS or unicodedata.category(character)[0] != "C"
    )
    return " ".join("".join(kept).split())
