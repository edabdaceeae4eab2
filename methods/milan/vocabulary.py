"""The vocabulary of captions: encodes words as token numbers, and decodes them to a sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

_UNKNOWN = "<unk>"
_BLANK_BEFORE = re.compile(r" (?=[.,;:])")
_SENTENCE = re.compile(r"(?:^|(?<=\. ))\w")


@dataclass(frozen=True)
class Vocabulary:
    """Words, numbered from 0 in order, followed by four special tokens.

    Attributes:
        tokens: the words; those of published checkpoints are lower-case and ordered by frequency.
        tokenizer: name of the rule that split the annotations into these words.

    Raises:
        ValueError: if there are no words, or a word is listed twice.
    """

    tokens: tuple[str, ...]
    tokenizer: str

    def __post_init__(self) -> None:
        if not self.tokens:
            raise ValueError("a vocabulary needs at least one word")
        if twice := [token for token, count in Counter(self.tokens).items() if count > 1]:
            raise ValueError(f"the vocabulary lists {twice[0]!r} twice")

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]], tokenizer: str) -> Vocabulary:
        """Returns the words of tokenised texts, the most frequent first, ties in alphabetical order."""
        counts = Counter(token for text in texts for token in text)
        ordered = sorted(counts, key=lambda token: (-counts[token], token))
        return cls(tuple(ordered), tokenizer)

    def __len__(self) -> int:
        """Number of words and special tokens."""
        return len(self.tokens) + 4

    @property
    def start(self) -> int:
        """Token before the first word."""
        return len(self.tokens)

    @property
    def stop(self) -> int:
        """Token after the last word."""
        return len(self.tokens) + 1

    @property
    def pad(self) -> int:
        """Token that fills up the shorter texts of a batch."""
        return len(self.tokens) + 2

    @property
    def unknown(self) -> int:
        """Token of any word that is not in the vocabulary."""
        return len(self.tokens) + 3

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Returns the token numbers of a text, with start and stop."""
        words = [self._numbers.get(token, self.unknown) for token in tokens]
        return [self.start, *words, self.stop]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """Returns the words up to the first stop, without start and pad."""
        words = []
        for number in numbers:
            if number == self.stop:
                break
            if number not in (self.start, self.pad):
                words.append(_UNKNOWN if number == self.unknown else self.tokens[number])
        return words

    def caption(self, numbers: Iterable[int]) -> str:
        """Returns the sentence of token numbers as it is published: `a - b , c` becomes `A-b, c`."""
        text = _BLANK_BEFORE.sub("", " ".join(self.decode(numbers))).replace(" - ", "-")
        return _SENTENCE.sub(lambda first: first.group().upper(), text)
