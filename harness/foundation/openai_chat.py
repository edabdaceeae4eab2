"""Language models behind any server that speaks OpenAI's chat-completions API."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

from ..errors import InputError
from ..files import fingerprint
from .chat_session import Request, Session, Stopped
from .conversations import positions, token_bound
from .pricing import LIST_PRICES, Account, Prices
from .protocols import Message, Reply

_LOG = logging.getLogger(__name__)
_OPENAI = "https://api.openai.com/v1"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NO_KEY = "none"  # what is sent to servers that ask for no key


class OpenAIChat:
    """Asks a chat model over the network, concurrently; implements `protocols.LanguageModel`.

    The key comes from the environment, is read at each use and is kept nowhere. Busy or broken servers
    are asked again, after the time they name, else after doubling waits with jitter. What every request
    would suffer (a wrong key, no such model, no quota, the cost limit) ends the batch with an
    `InputError`, after the replies under way have been handed over.

    Args:
        model: as the server calls it.
        base_url: of the server, such as `http://localhost:8000/v1`; None: the variable OPENAI_BASE_URL,
            else OpenAI's own.
        temperature: of sampling; None: not sent (some models refuse it).
        max_tokens: of a reply.
        max_tokens_field: how the API calls this limit; newer models of OpenAI know only the longer name.
        seed: sent with each request (plus the sample's number), for servers that heed it; None: not sent.
        concurrency: requests under way at once.
        timeout: seconds to wait for an answer.
        max_retries: attempts after the first one.
        max_cost_usd: the limit per process. A call that could pass it is not sent.
        prices: (prompt, reply) in USD per million tokens; None: OpenAI's list price where the server is
            OpenAI's and the model is listed, else unknown, which counts as 0.
        key_variable: the environment variable that holds the key.
        name: what it is called in records and tables; by default `model`.
        sleep: waits some seconds; for tests.

    Attributes:
        account: tokens and money of this object so far.

    Raises:
        InputError: if a setting is out of range, or carries what may be a secret.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        temperature: float | None = 0.3,
        max_tokens: int = 64,
        max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens",
        seed: int | None = None,
        concurrency: int = 8,
        timeout: float = 60.0,
        max_retries: int = 6,
        max_cost_usd: float | None = None,
        prices: Sequence[float] | None = None,
        key_variable: str = "OPENAI_API_KEY",
        name: str | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        _refuse_below(max_tokens=(max_tokens, 1), concurrency=(concurrency, 1))
        _refuse_below(max_retries=(max_retries, 0), timeout=(timeout, 0.001))
        if max_tokens_field not in ("max_tokens", "max_completion_tokens"):
            raise InputError(
                f"language_model.max_tokens_field={max_tokens_field} is unknown",
                "use max_tokens or max_completion_tokens",
            )
        self.model, self.name = model, name or model
        self.base_url = _without_secrets(base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI)
        self.key_variable = _variable(key_variable)
        self.concurrency, self.timeout, self.max_retries = concurrency, timeout, max_retries
        self.max_tokens, self.max_tokens_field = max_tokens, max_tokens_field
        self.temperature, self.seed = temperature, seed
        self.account = Account(_prices(prices, model, self.base_url), max_cost_usd)
        if max_cost_usd is not None and self.account.prices is None:
            raise InputError(
                f"language_model.max_cost_usd is set, but what {model} costs is not known",
                "set language_model.prices=[prompt,reply], in USD per million tokens",
            )
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"OpenAIChat(model={self.model!r}, base_url={self.base_url!r})"

    def fingerprint(self) -> str:
        """Hash of the server, the model and every setting that an answer depends on; never of the key."""
        settings = [self.base_url, self.model, self.temperature, self.max_tokens, self.seed]
        return fingerprint(["chat", *settings])

    def reply(
        self, conversations: Sequence[Sequence[Message]], sample: int = 0
    ) -> Iterator[tuple[int, Reply]]:
        """See `LanguageModel.reply`: equal conversations are sent, and paid, once.

        Raises:
            InputError: see the class; `CostLimitError` where it is the cost limit.
        """
        groups = positions(conversations)
        asked = list(groups)
        turns = [[{"role": t.role, "content": t.content} for t in turns] for turns in asked]
        for place, reply in self.complete(turns, [token_bound(turns) for turns in asked], sample):
            first, *others = groups[asked[place]]
            yield first, reply
            yield from ((index, replace(reply, cost_usd=0.0)) for index in others)

    def complete(
        self,
        messages: Sequence[Sequence[Mapping[str, Any]]],
        prompt_bounds: Sequence[int],
        sample: int = 0,
    ) -> Iterator[tuple[int, Reply]]:
        """Yields (index, reply) for messages in the API's own form, as the answers come.

        For what `Message` cannot say, such as pictures.

        Args:
            messages: one list per request.
            prompt_bounds: tokens that each prompt cannot exceed, for the cost limit.
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
            yield from _concurrently(session, requests, self.concurrency)

    def _request(self, turns: Sequence[Mapping[str, Any]], bound: int, sample: int) -> Request:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(turns),
            self.max_tokens_field: self.max_tokens,
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.seed is not None:
            body["seed"] = self.seed + sample
        return Request(body, bound, self.max_tokens, json.dumps([body, sample], sort_keys=True))

    @contextmanager
    def _session(self) -> Iterator[Session]:
        import openai

        key = os.environ.get(self.key_variable, "").strip()
        if not key and self.base_url == _OPENAI:
            raise InputError(
                f"no key for the language model: the environment variable {self.key_variable} is not set",
                f"export {self.key_variable}=..., or set language_model to a model that needs none",
            )
        hint = f"check the key in {self.key_variable}" if key else f"set {self.key_variable} to a key"
        if self.account.prices is None and self.base_url == _OPENAI:
            _LOG.warning("the price of %s is not known: costs count as 0", self.model)
        with openai.OpenAI(
            api_key=key or _NO_KEY, base_url=self.base_url, timeout=self.timeout, max_retries=0
        ) as client:
            yield Session(
                client, self.account, self.max_retries, key, hint, self.base_url, sleep=self._sleep
            )


def _concurrently(
    session: Session, requests: Sequence[Request], concurrency: int
) -> Iterator[tuple[int, Reply]]:
    """Yields (index, reply) as they come; at the first error, only what is under way is waited for."""
    todo = deque(enumerate(requests))
    under_way: dict[Future[Reply], int] = {}
    error: BaseException | None = None
    with ThreadPoolExecutor(concurrency) as pool:
        try:
            while under_way or (todo and error is None):
                while todo and error is None and len(under_way) < concurrency:
                    index, request = todo.popleft()
                    under_way[pool.submit(session.ask, request)] = index
                try:
                    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                except KeyboardInterrupt as interrupt:
                    if error is not None:  # the second Ctrl-C: do not wait for anything
                        raise
                    error = interrupt
                    session.stop.set()
                    continue
                for future in done:
                    index, trouble = under_way.pop(future), future.exception()
                    if trouble is None:
                        yield index, future.result()
                    elif not isinstance(trouble, Stopped):
                        error = error or trouble
                        session.stop.set()
        finally:
            session.stop.set()
    if error is not None:
        raise error


def _refuse_below(**settings: tuple[float, float]) -> None:
    for name, (value, least) in settings.items():
        if not value >= least:
            raise InputError(f"language_model.{name}={value} must be at least {least}")


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):  # what was given is not shown: it may be a key
        raise InputError(
            "language_model.key_variable is no name of an environment variable",
            "give the variable's name, such as OPENAI_API_KEY; the key itself belongs in the environment",
        )
    return name


def _without_secrets(url: str) -> str:
    """Returns an address that can be shown, logged and recorded.

    Raises:
        InputError: if it is none, or holds a user, a password or a query.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("language_model.base_url is no address", "write it as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query:
        raise InputError(
            "language_model.base_url holds a user, a password or a query",
            "give the bare address; the key belongs in the environment",
        )
    return url.rstrip("/")


def _prices(given: Sequence[float] | None, model: str, base_url: str) -> Prices | None:
    if given is None:
        return LIST_PRICES.get(model) if base_url == _OPENAI else None
    if isinstance(given, str) or len(given) != 2 or not all(price >= 0 for price in given):
        raise InputError(
            f"language_model.prices={given} is not understood",
            "give two numbers: USD per million tokens of the prompt and of the reply",
        )
    return Prices(float(given[0]), float(given[1]))
