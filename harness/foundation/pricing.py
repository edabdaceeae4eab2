"""What paid calls cost, and a limit that is never passed."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class Prices:
    """USD per million tokens.

    Attributes:
        prompt: of the question.
        reply: of the answer.
    """

    prompt: float
    reply: float

    def cost(self, prompt_tokens: int, reply_tokens: int) -> float:
        """Returns what a call costs, in USD."""
        return (prompt_tokens * self.prompt + reply_tokens * self.reply) / 1e6


# Standard prices of OpenAI's own server, as listed in May 2026. `prices` in a configuration goes first.
LIST_PRICES = {
    "gpt-3.5-turbo": Prices(0.5, 1.5),
    "gpt-4o": Prices(2.5, 10),
    "gpt-4o-mini": Prices(0.15, 0.6),
    "gpt-4.1": Prices(2, 8),
    "gpt-4.1-mini": Prices(0.4, 1.6),
    "gpt-4.1-nano": Prices(0.1, 0.4),
}


class CostLimitError(InputError):
    """The next call could pass the limit that the user set; nothing was sent."""


class Account:
    """Tokens and money of one process, kept by several threads.

    A call reserves the most that it can cost before it is sent and settles for what it did cost, so
    that the sum of both never passes the limit.

    Args:
        prices: None: calls are counted, and cost nothing.
        max_cost_usd: the limit; None: there is none.

    Attributes:
        calls: answers that came.
        prompt_tokens: of them, as the server counts them.
        reply_tokens: of them, as the server counts them.
        cost_usd: spent. Where a server may have charged for an answer that never arrived whole, its
            upper bound is counted.
    """

    def __init__(self, prices: Prices | None = None, max_cost_usd: float | None = None) -> None:
        self.prices, self.max_cost_usd = prices, max_cost_usd
        self.calls = self.prompt_tokens = self.reply_tokens = 0
        self.cost_usd = 0.0
        self._reserved: list[float] = []
        self._changed = threading.Condition()

    def reserve(self, prompt_tokens: int, reply_tokens: int) -> float:
        """Sets aside the most that a call can cost; waits while calls in flight may free the money.

        Returns:
            The amount in USD, to be given back to `settle`.

        Raises:
            CostLimitError: if the call could pass the limit, whatever the calls in flight cost.
        """
        most = self.prices.cost(prompt_tokens, reply_tokens) if self.prices else 0.0
        with self._changed:
            while not self._fits(most):
                if not self._reserved:
                    raise self._refusal(most)
                self._changed.wait()
            self._reserved.append(most)
        return most

    def settle(self, reserved: float, cost_usd: float) -> None:
        """Ends a reservation: `cost_usd` of it was spent, the rest is free again."""
        with self._changed:
            self._reserved.remove(reserved)
            self.cost_usd += cost_usd
            self._changed.notify_all()

    def count(self, prompt_tokens: int, reply_tokens: int) -> None:
        """Adds an answer and its tokens."""
        with self._changed:
            self.calls += 1
            self.prompt_tokens += prompt_tokens
            self.reply_tokens += reply_tokens

    def _fits(self, most: float) -> bool:
        limit = self.max_cost_usd
        return limit is None or self.cost_usd + sum(self._reserved) + most <= limit

    def _refusal(self, most: float) -> CostLimitError:
        return CostLimitError(
            f"stopped before max_cost_usd={self.max_cost_usd} could be passed: {self.cost_usd:.4f} USD "
            f"are spent, and the next call may cost up to {most:.4f} USD",
            "raise language_model.max_cost_usd and run the same command again: no reply is asked twice",
        )
