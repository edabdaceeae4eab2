"""Settings of chat models: how replies are sampled, and how a server is used."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from ..errors import InputError, at_least, one_of

OPENAI_URL = "https://api.openai.com/v1"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class Sampling:
    """How the words of a reply are sampled.

    Attributes:
        temperature: 0: always the likeliest token. None: not sent (some models refuse it); only for
            servers.
        max_tokens: maximum length of a reply.
        seed: sent with each request (plus the sample's number), for servers that support it. None: not
            sent; only for servers.

    Raises:
        InputError: if a setting is out of range.
    """

    # 0.3 is the temperature of Describe-and-Dissect's code.
    temperature: float | None = 0.3
    max_tokens: int = 64
    seed: int | None = None

    def __post_init__(self) -> None:
        at_least("language_model.sampling.max_tokens", self.max_tokens, 1)
        if self.temperature is not None:
            at_least("language_model.sampling.temperature", self.temperature, 0)


@dataclass(frozen=True)
class ChatServer:
    """A server of the chat-completions API, and how it is used.

    Attributes:
        base_url: address, such as `http://localhost:8000/v1`; None: the environment variable
            OPENAI_BASE_URL, else OpenAI's server.
        key_variable: name of the environment variable that contains the key.
        max_tokens_field: the API's name of the limit of a reply; newer models of OpenAI accept only
            the longer name.
        concurrency: maximum number of open requests.
        timeout: seconds to wait for a reply.
        max_retries: attempts after the first one.

    Raises:
        InputError: if a setting is out of range, or may contain a secret.
    """

    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    concurrency: int = 8
    timeout: float = 60.0
    max_retries: int = 6

    def __post_init__(self) -> None:
        at_least("language_model.server.concurrency", self.concurrency, 1)
        at_least("language_model.server.max_retries", self.max_retries, 0)
        at_least("language_model.server.timeout", self.timeout, 0.001)
        fields = ("max_tokens", "max_completion_tokens")
        one_of("language_model.server.max_tokens_field", self.max_tokens_field, fields)
        if not _VARIABLE.fullmatch(self.key_variable):  # the value is not printed: it may be a key
            raise InputError(
                "language_model.server.key_variable is not a name of an environment variable",
                "give the variable's name, such as OPENAI_API_KEY, and put the key into the environment",
            )
        _check_address(self.base_url)

    @property
    def url(self) -> str:
        """The address in use; contains no secrets, so that it may be printed and recorded.

        Raises:
            InputError: if OPENAI_BASE_URL is used and is invalid or contains secrets.
        """
        url = self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        # Again, because OPENAI_BASE_URL was not known to the constructor.
        _check_address(url)
        # The address is part of the fingerprint and is compared with OpenAI's: one spelling per server.
        return url.rstrip("/")


def _check_address(url: str | None) -> None:
    """Raises InputError if an address is invalid or contains a user, a password or a query."""
    if not url:
        return
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            "language_model.server.base_url is not an address", "write it as http://localhost:8000/v1"
        )
    if parts.username or parts.password or parts.query:
        raise InputError(
            "language_model.server.base_url contains a user, a password or a query",
            "give the plain address; the key belongs in the environment",
        )
