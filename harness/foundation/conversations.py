"""Helpers shared by all chat models: grouping, token bounds and seeds of conversations."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .protocols import Message

# Upper bound of the tokens that a chat format adds per turn (role, separators).
_TOKENS_AROUND_A_TURN = 16


def positions(conversations: Sequence[Sequence[Message]]) -> dict[tuple[Message, ...], list[int]]:
    """Returns the indices of each distinct conversation, in the order of first occurrence."""
    indices: dict[tuple[Message, ...], list[int]] = {}
    for index, conversation in enumerate(conversations):
        indices.setdefault(tuple(conversation), []).append(index)
    return indices


def token_bound(conversation: Sequence[Message]) -> int:
    """Returns an upper bound of a conversation's tokens: a token has at least one byte."""
    return sum(len(turn.content.encode()) + _TOKENS_AROUND_A_TURN for turn in conversation)


def seed_of(conversation: Sequence[Message], seed: int, sample: int) -> int:
    """Returns the seed, in [0, 2^63), of one reply; it does not depend on other conversations."""
    text = repr((seed, sample, [(turn.role, turn.content) for turn in conversation]))
    # Shifted by one bit, so that the seed fits a signed 64-bit integer.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def no_language_model() -> None:
    """Returns None: the `_target_` of a configuration without a language model."""
