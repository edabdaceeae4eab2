"""Concept sets: the words from which a method chooses, from files, class names or word lists."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from ..harness.errors import InputError, one_of
from ..harness.files import fingerprint
from .class_names import IMAGENET_WEIGHTS, weights_classes
from .image_listing import existing_folder
from .text_files import read_lines, read_table

Case = Literal["keep", "lower"]


@dataclass(frozen=True)
class Report:
    """How many entries of a source were read and dropped.

    Attributes:
        read: entries read.
        blank: entries dropped because they were blank.
        duplicates: entries dropped because they repeat an earlier one.
        not_words: entries dropped because they are not words.
    """

    read: int = 0
    blank: int = 0
    duplicates: int = 0
    not_words: int = 0


@dataclass(frozen=True)
class ConceptSet:
    """The words from which a method chooses, each once, in a fixed order.

    Attributes:
        name: name in records and tables.
        words: the words or phrases.
        report: how many entries were read and dropped.
    """

    name: str
    words: tuple[str, ...]
    report: Report = field(default_factory=Report, compare=False)

    def __len__(self) -> int:
        return len(self.words)

    def fingerprint(self) -> str:
        """Hash of the words in their order."""
        return fingerprint(self.words)

    def summary(self) -> str:
        """Returns one line: the number of concepts, and how many entries were dropped and why."""
        dropped = {
            "blank": self.report.blank,
            "duplicate": self.report.duplicates,
            "not a word": self.report.not_words,
        }
        counts = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
        return f"{self.name}: {len(self)} concepts" + (f" (dropped: {counts})" if counts else "")


def from_words(words: Iterable[str], name: str, case: Case = "keep", not_words: int = 0) -> ConceptSet:
    """Makes a concept set: trims whitespace, drops and counts blank entries and duplicates.

    Args:
        words: the entries, in order; of equal entries the first is kept.
        name: name of the set.
        case: "keep", or "lower" to convert entries to lower case before they are compared.
        not_words: number of entries that the source already left out, for the report.

    Raises:
        InputError: if no entry is left, or `case` is unknown.
    """
    one_of("concepts.case", case, ("keep", "lower"))
    # Inner spaces too: two spellings of one phrase would be two concepts.
    # Inner whitespace too: "hot  tub" and "hot tub" are one concept.
    entries = [" ".join(word.split()) for word in words]
    filled = [entry.lower() if case == "lower" else entry for entry in entries if entry]
    kept = tuple(dict.fromkeys(filled))
    if not kept:
        raise InputError(f"the concept set {name!r} is empty", "add at least one word")
    report = Report(
        read=len(entries) + not_words,
        blank=len(entries) - len(filled),
        duplicates=len(filled) - len(kept),
        not_words=not_words,
    )
    return ConceptSet(name, kept, report)


def from_file(path: str | os.PathLike[str], name: str | None = None, case: Case = "keep") -> ConceptSet:
    """Reads one concept per line from a UTF-8 text file.

    Args:
        path: the file.
        name: name of the set; default: the name of the file.
        case: see `from_words`.

    Raises:
        InputError: if it cannot be read, is not UTF-8 (names line and byte), or contains no word.
    """
    lines = read_lines(path)
    if not any(lines):
        raise InputError(f"the concept file {path} is empty", "write one concept per line")
    return from_words(lines, name or Path(path).stem, case)


def from_classes(weights: str = IMAGENET_WEIGHTS, name: str | None = None) -> ConceptSet:
    """Makes a concept set of the class names of a weights enum of torchvision; nothing is downloaded.

    Raises:
        InputError: if the enum does not exist or has no class names.
    """
    return from_words(weights_classes(weights), name or weights)


def from_broden(root: str | os.PathLike[str], name: str = "broden") -> ConceptSet:
    """Makes a concept set of the labels of a Broden folder, in readable form.

    A name that several categories share is kept once.

    Raises:
        InputError: if `label.csv` cannot be read.
    """
    rows = read_table(existing_folder(root) / "label.csv", ["name"])
    return from_words([readable(row.text("name")) for row in rows], name)


def readable(label: str) -> str:
    """Returns a Broden label without its suffix (-c: colour, -s: scene), with spaces for underscores."""
    # Broden marks colours and scenes because objects may have the same name ("orange", "street").
    return re.sub(r"-[cs]$", "", label).replace("_", " ")


def common_words(n: int = 20_000, name: str | None = None) -> ConceptSet:
    """Makes a concept set of the `n` most frequent English words of wordfreq, most frequent first.

    A word consists of at least two letters; other entries of the frequency list (numbers, "don't",
    single letters) are skipped and counted.

    Raises:
        InputError: if wordfreq is not installed or has fewer words.
    """
    try:
        from wordfreq import iter_wordlist
    except ImportError:
        raise InputError(
            "the most frequent English words need the package wordfreq, which is not installed",
            'install it: pip install "dissectbench[words]"',
        ) from None
    if n < 1:
        raise InputError(f"concepts.n must be at least 1, got {n}")
    ranked = enumerate(iter_wordlist("en"), 1)
    chosen = list(islice(((rank, w) for rank, w in ranked if len(w) > 1 and w.isalpha()), n))
    if len(chosen) < n:
        raise InputError(f"wordfreq has only {len(chosen)} English words, not {n}", "lower concepts.n")
    not_words = chosen[-1][0] - n  # entries skipped up to the rank of the last word
    return from_words([word for _, word in chosen], name or _words_name(n), not_words=not_words)


def _words_name(n: int) -> str:
    return f"words{n // 1000}k" if n % 1000 == 0 else f"words{n}"


def union(
    sets: Mapping[str, ConceptSet] | Sequence[ConceptSet], name: str | None = None, case: Case = "keep"
) -> ConceptSet:
    """Joins concept sets in their order; a word that several sets contain is kept once.

    Args:
        sets: the sets; the keys of a mapping are only used for overrides (`concepts.sets.words.n`).
        name: name of the union; default: the names of the sets, joined by "+".
        case: see `from_words`.

    Raises:
        InputError: if there is no set.
    """
    members = list(sets.values()) if isinstance(sets, Mapping) else list(sets)
    if not members:
        raise InputError("a union of concept sets needs at least one set")
    words = [word for member in members for word in member.words]
    return from_words(words, name or "+".join(member.name for member in members), case)
