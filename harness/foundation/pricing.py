"""Prices of paid calls, and an account that enforces a cost limit."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from ..errors import InputError


@dataclass(frozen=True)
class Prices:
    """USD per million tokens.

    Attributes:
        prompt: price of sent tokens.
        reply: price of received tokens.
    """

    prompt: float
    reply: float

    def cost(self, prompt_tokens: int, reply_tokens: int) -> float:
        """Returns the cost of a call in USD."""
        return (prompt_tokens * self.prompt + reply_tokens * self.reply) / 1e6


# Standard prices of OpenAI's own server, as listed in May 2026; `prices` in a configuration overrides
# them.
LIST_PRICES = {
    "gpt-3.5-turbo": Prices(0.5, 1.5),
    "gpt-4o": Prices(2.5, 10),
    "gpt-4o-mini": Prices(0.15, 0.6),
    "gpt-4.1": Prices(2, 8),
    "gpt-4.1-mini": Prices(0.4, 1.6),
    "gpt-4.1-nano": Prices(0.1, 0.4),
}


@dataclass(frozen=True)
class Budget:
    """The cost limit and the prices of a model.

    Attributes:
        max_cost_usd: limit per process; a call that could exceed it is not sent. None: no limit.
        prices: (prompt, reply) in USD per million tokens; None: OpenAI's list price if the server is
            OpenAI's and the model is listed, otherwise unknown, which counts as 0.

    Raises:
        InputError: if the prices are not two numbers from 0.
    """

    max_cost_usd: Annotated[float, Ge(0)] | None = None
    prices: Sequence[float] | None = None

    def __post_init__(self) -> None:
        prices = self.prices
        if prices is None:
            return
        # `price >= 0` is also false for NaN, with which no call would be within a limit.
        if isinstance(prices, str) or len(prices) != 2 or not all(price >= 0 for price in prices):
            raise InputError(
                f"language_model.budget.prices={prices} is not a pair of prices",
                "give two numbers: USD per million tokens of the prompt and of the reply",
            )

    def account(self, model: str, *, list_prices: bool) -> Account:
        """Returns a new account for calls of a model.

        Args:
            model: name of the model on the server.
            list_prices: whether OpenAI's list prices apply.

        Raises:
            InputError: if there is a limit, but the prices are unknown.
        """
        if self.prices is None:
            prices = LIST_PRICES.get(model) if list_prices else None
        else:
            prices = Prices(float(self.prices[0]), float(self.prices[1]))
        if self.max_cost_usd is not None and prices is None:
            raise InputError(
                f"language_model.budget.max_cost_usd is set, but the prices of {model} are unknown",
                "set language_model.budget.prices=[prompt,reply], in USD per million tokens",
            )
        return Account(prices, self.max_cost_usd)


class CostLimitError(InputError):
    """The next call could exceed the user's limit; it was not sent."""


class Account:
    """Tokens and costs of one process; thread-safe.

    A call reserves its maximum cost before it is sent and settles its actual cost afterwards, so that
    the sum of both never exceeds the limit.

    Args:
        prices: None: calls are counted and cost nothing.
        max_cost_usd: the limit; None: no limit.

    Attributes:
        calls: number of replies.
        prompt_tokens: their prompt tokens, as counted by the server.
        reply_tokens: their reply tokens, as counted by the server.
        cost_usd: money spent. If a server may have charged for a reply that did not arrive completely,
            its upper bound is counted.
    """

    def __init__(self, prices: Prices | None = None, max_cost_usd: float | None = None) -> None:
        self.prices, self.max_cost_usd = prices, max_cost_usd
        self.calls = self.prompt_tokens = self.reply_tokens = 0
        self.cost_usd = 0.0
        # The amounts and not their sum: adding and subtracting floats would leave a remainder.
        self._reserved: list[float] = []
        self._changed = threading.Condition()

    def reserve(self, prompt_tokens: int, reply_tokens: int) -> float:
        """Reserves the maximum cost of a call; waits while open calls may release enough money.

        Returns:
            The amount in USD, which must be passed to `settle`.

        Raises:
            CostLimitError: if the call could exceed the limit even if all open calls cost nothing.
        """
        most = self.prices.cost(prompt_tokens, reply_tokens) if self.prices else 0.0
        with self._changed:
            while not self._fits(most):
                # No call is open, so that no money can be released: waiting would never end.
                if not self._reserved:
                    raise self._refusal(most)
                self._changed.wait()
            self._reserved.append(most)
        return most

    def settle(self, reserved: float, cost_usd: float) -> None:
        """Ends a reservation: `cost_usd` of it was spent, the rest becomes available again."""
        with self._changed:
            self._reserved.remove(reserved)
            self.cost_usd += cost_usd
            self._changed.notify_all()

    def count(self, prompt_tokens: int, reply_tokens: int) -> None:
        """Counts a reply and its tokens."""
        with self._changed:
            self.calls += 1
            self.prompt_tokens += prompt_tokens
            self.reply_tokens += reply_tokens

    def _fits(self, most: float) -> bool:
        limit = self.max_cost_usd
        return limit is None or self.cost_usd + sum(self._reserved) + most <= limit

    def _refusal(self, most: float) -> CostLimitError:
        return CostLimitError(
            f"stopped before max_cost_usd={self.max_cost_usd} could be exceeded: {self.cost_usd:.4f} USD "
            f"are spent, and the next call may cost up to {most:.4f} USD",
            "raise language_model.budget.max_cost_usd and rerun the command: replies are cached, no "
            "request is sent twice",
        )
