"""Parses a label from a language model's reply, or finds the reason why there is none."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MAX_CHARACTERS = 100
KEPT_CHARACTERS = 2000
"""Length up to which records keep replies and captions unchanged; usable ones are far shorter."""

# Reasoning models put their thoughts between tags, before the reply.
_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_OPEN_THOUGHT = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
# Local models may leave their chat template's tokens in the text.
_SPECIAL_TOKEN = re.compile(r"<\|[^|<>]*\|>|</?s>|\[/?INST\]")
_MARKER = re.compile(r"^(?:[-*•–—>#]+\s+|#*\(?\d{1,2}[.):]\s+|[a-e]\)\s+|```\w*)")
_EMPHASIS = re.compile(r"(\*{1,3}|_{1,3}|`+)(?=\S)(.+?)(?<=\S)\1")
_NOUN = (
    r"\b(?:label|concept|answer|caption|category|summary|description|theme|title|output|phrase|name)s?\b"
)
_VERB = r"\s(?:is|would be|could be|might be)\b"
_GAP = r"[^:\"“]{0,80}?"
# "Label: x", "**Concept label:** x", "Sure! Here is a label for these: x", "The best label is x".
_ANNOUNCED = re.compile(
    rf"^(?!explanation|reason|note)(?:{_GAP}{_NOUN}{_GAP}:|(?:the|my)\b{_GAP}{_NOUN}{_GAP}{_VERB})\s*",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"^(?:sure|okay|ok|certainly|of course|absolutely|here (?:is|are|you go)|here's)\b[^:]*[:!,.]\s*",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"^(?:i\s*['’]?\s*m\b|i\s+(?:am|can|cannot|could|would|do|don['’]t|won['’]t|apologi[sz]e|need)\b"
    r"|i can['’]t\b|sorry\b|my apologies\b|apologies\b|as an? (?:ai|artificial|language)\b"
    r"|unfortunately\b|unable to\b|please (?:provide|give|share)\b|there (?:is|are|does) (?:no|not)\b"
    r"|it (?:is|seems|appears|looks)\b|no (?:common|shared|clear|coherent|single)\b"
    r"|(?:none|nothing|unknown|unclear|n/?a|no answer|not applicable)$)",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "`": "`", "(": ")", "[": "]"}


@dataclass(frozen=True)
class Parsed:
    """The result of parsing a reply; either `label` or `problem` is None.

    Attributes:
        label: one line of words.
        problem: why there is no label.
    """

    label: str | None = None
    problem: str | None = None


def parse_label(text: str | None, max_words: int = 8) -> Parsed:
    """Parses one label from a reply.

    Markdown, bullets, numbers, quotes, openings such as "Sure!", thoughts in tags and final punctuation
    are removed. Of several lines, the first announced one ("Label: ...") is used, else the first one.
    Colons and commas inside a label are kept.

    Args:
        text: the unchanged reply.
        max_words: a longer text is not a label.
    """
    if text is None or not text.strip():
        return Parsed(problem="the reply is empty")
    text = _SPECIAL_TOKEN.sub("", _THOUGHT.sub("", text))
    if _OPEN_THOUGHT.search(text):
        return Parsed(problem="the reply ends within a thought")  # cut at the limit of tokens
    lines = [_bare(line) for line in text.splitlines()]
    announced = [_bare(_ANNOUNCED.sub("", line)) for line in lines if _ANNOUNCED.match(line)]
    label = next((line for line in [*announced, *lines] if _is_label(line)), None)
    if label is None:
        return Parsed(problem="the reply has no words")
    problem = _problem(label, max_words)
    return Parsed(problem=problem) if problem else Parsed(label)


def shortened(text: str) -> str:
    """Returns at most the first `KEPT_CHARACTERS` characters, followed by how many were cut, if any."""
    cut = len(text) - KEPT_CHARACTERS
    return text if cut <= 0 else f"{text[:KEPT_CHARACTERS]} ... [{cut} more characters]"


def _bare(line: str) -> str:
    """Removes what surrounds the words, until nothing changes: marks may be nested in any order."""
    line = " ".join("".join(c if _is_text(c) else " " for c in line).split())
    previous = None
    while line != previous:
        previous = line
        line = _EMPHASIS.sub(r"\2", _MARKER.sub("", line)).strip()
        line = _unquoted(_OPENING.sub("", line)).rstrip(".,;!…").strip()
    return line


def _is_label(line: str) -> bool:
    # A line that ends with a colon introduces the label on the next line.
    return any(character.isalnum() for character in line) and not line.endswith(":")


def _is_text(character: str) -> bool:
    # Neither control characters (C) nor separators (Z).
    return unicodedata.category(character)[0] not in "CZ"


def _unquoted(line: str) -> str:
    if len(line) >= 2 and _QUOTES.get(line[0]) == line[-1] and line[0] not in line[1:-1]:
        return line[1:-1].strip()
    # A single quotation mark is the rest of a pair that was cut off.
    return " ".join(line.replace('"', " ").split()) if line.count('"') == 1 else line


def _problem(label: str, max_words: int) -> str | None:
    words = label.lower().split()
    if _REFUSAL.match(label):
        return "the reply names no concept"
    if any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False)):
        return "the reply repeats itself"
    if len(words) > max_words:
        return f"the reply has {len(words)} words, more than {max_words}"
    if len(label) > MAX_CHARACTERS:
        return f"the reply has {len(label)} characters, more than {MAX_CHARACTERS}"
    return None
