"""Estimates how many language-model calls a run makes and what they cost."""

from __future__ import annotations

from ...harness.foundation.conversations import token_bound
from ...harness.foundation.pricing import Prices
from ..method import ExpectedCalls
from .prompts import simplify, summarise

# A caption of 32 tokens, BLIP's limit, is rarely longer.
_CAPTION_BYTES = 200
# English text has about four bytes per token. Used for the expected cost only, not for its bound.
_BYTES_PER_TOKEN = 4
# A label has a few words; its average length in tokens.
_LABEL_TOKENS = 8


def expected_calls(
    units: int,
    images: int = 10,
    summaries: int = 5,
    *,
    max_tokens: int = 64,
    prices: Prices | None = None,
) -> ExpectedCalls:
    """Returns the calls of a run: one per caption to simplify it, and one per summary of a unit.

    Requests that are repeated because a reply is unusable are not counted.

    Args:
        units: number of units to describe, without dead ones.
        images: captions per unit.
        summaries: summaries per unit.
        max_tokens: limit of a reply.
        prices: of the model; None if they are not known.
    """
    simplifications, summarisations = units * images, units * summaries
    calls = simplifications + summarisations
    if prices is None:
        return ExpectedCalls(calls)
    caption = "x" * _CAPTION_BYTES
    prompt_bound = simplifications * token_bound(simplify(caption))
    prompt_bound += summarisations * token_bound(summarise([caption] * images))
    return ExpectedCalls(
        calls,
        cost_usd=prices.cost(prompt_bound // _BYTES_PER_TOKEN, calls * _LABEL_TOKENS),
        most_usd=prices.cost(prompt_bound, calls * max_tokens),
    )
