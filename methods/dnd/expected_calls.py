"""How many language-model calls a run will make, and the most that they can cost."""

from __future__ import annotations

from dataclasses import dataclass

from ...harness.foundation.conversations import token_bound
from ...harness.foundation.pricing import Prices
from .prompts import simplify, summarise

# A caption of 32 tokens, BLIP's limit, seldom has more bytes than this.
_CAPTION_BYTES = 200
# What English prompts come to: about four bytes a token. Only for the expected cost, not for its bound.
_BYTES_PER_TOKEN = 4
_LABEL_TOKENS = 8


@dataclass(frozen=True)
class ExpectedCalls:
    """Calls of a run with an empty cache, in which every reply can be used at once.

    Attributes:
        simplify: calls that simplify one caption.
        summarise: calls that summarise a unit's captions.
        most_calls: if every reply had to be asked for as often as it may be.
        prompt_tokens: expected.
        reply_tokens: expected.
        cost_usd: expected; None if the prices are not known.
        most_usd: what the calls cannot exceed, at the longest captions and replies, without retries.
    """

    simplify: int
    summarise: int
    most_calls: int
    prompt_tokens: int
    reply_tokens: int
    cost_usd: float | None
    most_usd: float | None

    @property
    def calls(self) -> int:
        """All calls."""
        return self.simplify + self.summarise


def expected_calls(
    units: int,
    images: int = 10,
    summaries: int = 5,
    *,
    tries: int = 3,
    max_tokens: int = 64,
    prices: Prices | None = None,
) -> ExpectedCalls:
    """Returns what a run will ask of a language model.

    Args:
        units: to be described, dead ones left out.
        images: captioned per unit.
        summaries: per unit.
        tries: of a request whose reply cannot be used.
        max_tokens: limit of a reply.
        prices: of the model; None: not known, or nothing is paid.
    """
    single, several = units * images, units * summaries
    caption = "x" * _CAPTION_BYTES
    bound = single * token_bound(simplify(caption)) + several * token_bound(summarise([caption] * images))
    calls = single + several
    prompt_tokens, reply_tokens = bound // _BYTES_PER_TOKEN, calls * _LABEL_TOKENS
    return ExpectedCalls(
        simplify=single,
        summarise=several,
        most_calls=calls * tries,
        prompt_tokens=prompt_tokens,
        reply_tokens=reply_tokens,
        cost_usd=prices.cost(prompt_tokens, reply_tokens) if prices else None,
        most_usd=prices.cost(bound, calls * max_tokens) if prices else None,
    )
