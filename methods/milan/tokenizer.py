"""Splits texts into words with one regular expression, without a language library."""

from __future__ import annotations

import re

TOKENIZER = "words-1"
"""Name of the rule, stored with every vocabulary; a changed rule needs a new name."""

# Numbers; the halves of "don't" and "dog's"; words; any other character except blanks by itself.
_TOKEN = re.compile(
    r"\d+(?:[.,]\d+)*|[^\W\d_]+(?=n't\b)|n't\b|'(?:s|m|d|re|ve|ll)\b|\w+|[^\w\s]", re.UNICODE
)


def tokenize(text: str) -> list[str]:
    """Splits a text into lower-case words and punctuation marks; hyphenated words are split, too."""
    return _TOKEN.findall(text.lower().replace("\u2019", "'"))  # typographic apostrophes
