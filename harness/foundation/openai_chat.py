"""Language models behind any server that implements OpenAI's chat-completions API."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ..errors import InputError
from ..files import fingerprint
from .chat_requests import Request, Session, concurrently
from .chat_settings import OPENAI_URL, ChatServer, Sampling
from .conversations import positions, token_bound
from .pricing import Budget
from .protocols import Message, Reply

_LOG = logging.getLogger(__name__)
_NO_KEY = "none"  # for servers without keys: the client library refuses an empty one


class OpenAIChat:
    """Asks a chat model over the network, concurrently; implements `protocols.LanguageModel`.

    The key is read from the environment at each use and is not stored. Requests to busy or failing
    servers are repeated after the time that the server names, otherwise after doubling waits with
    jitter. Errors that would affect every request (a wrong key, an unknown model, a used-up quota, the
    cost limit) end the batch with an `InputError`, after the open requests have been answered.

    Args:
        model: name of the model on the server.
        server: the server, and how it is used.
        sampling: how replies are sampled.
        budget: limit of the cost, and prices.
        name: name in records and tables; None: `model`.
        sleep: waits for a number of seconds; replaced in tests.

    Attributes:
        account: tokens and cost of this object so far.
        max_tokens: maximum length of a reply.

    Raises:
        InputError: if there is a cost limit, but the prices are unknown.
    """

    def __init__(
        self,
        model: str,
        server: ChatServer | None = None,
        *,
        sampling: Sampling | None = None,
        budget: Budget | None = None,
        name: str | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.model, self.name = model, name or model
        self.server, self.sampling = server or ChatServer(), sampling or Sampling()
        self.base_url, self.max_tokens = self.server.url, self.sampling.max_tokens
        self._is_openai = self.base_url == OPENAI_URL
        self.account = (budget or Budget()).account(model, list_prices=self._is_openai)
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"OpenAIChat(model={self.model!r}, base_url={self.base_url!r})"

    def fingerprint(self) -> str:
        """Hash of the server, the model and the sampling; never of the key."""
        sampling = [self.sampling.temperature, self.sampling.max_tokens, self.sampling.seed]
        return fingerprint(["chat", self.base_url, self.model, *sampling])

    def reply(
        self, conversations: Sequence[Sequence[Message]], sample: int = 0
    ) -> Iterator[tuple[int, Reply]]:
        """See `LanguageModel.reply`: equal conversations are sent, and paid, once.

        Raises:
            InputError: see the class; `CostLimitError` for the cost limit.
        """
        indices = positions(conversations)
        distinct = list(indices)
        messages = [[{"role": t.role, "content": t.content} for t in turns] for turns in distinct]
        bounds = [token_bound(turns) for turns in distinct]
        for place, reply in self.complete(messages, bounds, sample):
            first, *others = indices[distinct[place]]
            yield first, reply
            # One request was paid, so the cost of equal conversations is counted once.
            yield from ((index, replace(reply, cost_usd=0.0)) for index in others)

    def complete(
        self,
        messages: Sequence[Sequence[Mapping[str, Any]]],
        prompt_bounds: Sequence[int],
        sample: int = 0,
    ) -> Iterator[tuple[int, Reply]]:
        """Yields (index, reply) for messages in the API's format, as the replies arrive.

        For contents that `Message` cannot hold, such as images.

        Args:
            messages: one list per request.
            prompt_bounds: upper bound of each prompt's tokens, for the cost limit.
            sample: see `LanguageModel.reply`.
        """
        if len(messages) != len(prompt_bounds):
            raise ValueError(f"{len(messages)} requests, but {len(prompt_bounds)} bounds")
        if not messages:
            return
        requests = [
            self._request(turns, bound, sample)
            for turns, bound in zip(messages, prompt_bounds, strict=True)
        ]
        with self._session() as session:
            yield from concurrently(session, requests, self.server.concurrency)

    def _request(self, turns: Sequence[Mapping[str, Any]], bound: int, sample: int) -> Request:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(turns),
            self.server.max_tokens_field: self.max_tokens,
        }
        if self.sampling.temperature is not None:
            body["temperature"] = self.sampling.temperature
        if self.sampling.seed is not None:
            # With one seed for all samples, a server would return the same reply in each of them.
            body["seed"] = self.sampling.seed + sample
        return Request(body, bound, self.max_tokens, json.dumps([body, sample], sort_keys=True))

    @contextmanager
    def _session(self) -> Iterator[Session]:
        import openai

        variable = self.server.key_variable
        # A line break from a key file would make the HTTP header invalid.
        key = os.environ.get(variable, "").strip()
        if not key and self._is_openai:
            raise InputError(
                f"no key for the language model: the environment variable {variable} is not set",
                f"export {variable}=..., or set language_model to a model that needs no key",
            )
        hint = f"check the key in {variable}" if key else f"set {variable} to a key"
        if self.account.prices is None and self._is_openai:
            _LOG.warning("the price of %s is unknown: costs count as 0", self.model)
        with openai.OpenAI(
            api_key=key or _NO_KEY,
            base_url=self.base_url,
            timeout=self.server.timeout,
            max_retries=0,  # the session retries: it pauses all threads, and counts the cost
        ) as client:
            yield Session(
                client,
                self.account,
                self.server.max_retries,
                key,
                hint,
                self.base_url,
                sleep=self._sleep,
            )
