"""Texts into words, by one rule, without a language library."""

from __future__ import annotations

import re

TOKENIZER = "words-1"
"""Name of the rule, kept with every vocabulary: another rule needs another name."""

# Numbers; the halves of "don't" and "dog's"; words; everything else that is no blank, one by one.
_TOKEN = re.compile(
    r"\d+(?:[.,]\d+)*|[^\W\d_]+(?=n't\b)|n't\b|'(?:s|m|d|re|ve|ll)\b|\w+|[^\w\s]", re.UNICODE
)


def tokenize(text: str) -> list[str]:
    """Splits a text into lower-case words and punctuation marks; hyphenated words come apart."""
    return _TOKEN.findall(text.lower().replace("\u2019", "'"))
