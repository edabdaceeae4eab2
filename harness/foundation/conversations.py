"""What is true of conversations, whatever model answers them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .protocols import Message

# What a chat format puts around a turn: role, separators; generous, as it enters an upper bound.
_TOKENS_AROUND_A_TURN = 16


def positions(conversations: Sequence[Sequence[Message]]) -> dict[tuple[Message, ...], list[int]]:
    """Returns where each distinct conversation stands, in the order of first appearance."""
    found: dict[tuple[Message, ...], list[int]] = {}
    for index, conversation in enumerate(conversations):
        found.setdefault(tuple(conversation), []).append(index)
    return found


def token_bound(conversation: Sequence[Message]) -> int:
    """Returns a number of tokens that a conversation cannot exceed: no token is less than a byte."""
    return sum(len(turn.content.encode()) + _TOKENS_AROUND_A_TURN for turn in conversation)


def seed_of(conversation: Sequence[Message], seed: int, sample: int) -> int:
    """Returns a seed in [0, 2^63) that belongs to one answer, whatever is asked beside it."""
    text = repr((seed, sample, [(turn.role, turn.content) for turn in conversation]))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def no_language_model() -> None:
    """Stands in a configuration where a language model would: there is none."""
