"""Limits requests with wrong tokens, and adds the security headers to every response."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class WrongTokens:
    """Refuses addresses that send many wrong tokens, until they stop for some time.

    Each address has a number of tries, which grows back at a constant rate.

    Args:
        tries: wrong tokens that are allowed at once.
        seconds: time after which one more is allowed.
        clock: returns seconds.
    """

    _MOST_ADDRESSES = 10_000

    def __init__(
        self, tries: int = 20, seconds: float = 3.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tries, self._seconds, self._clock = tries, seconds, clock
        self._addresses: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def blocked(self, address: str) -> bool:
        """Returns whether an address has no tries left. Right tokens are then refused as well."""
        return self._left(_network(address)) < 1

    def count(self, address: str) -> None:
        """Counts a wrong token."""
        network = _network(address)
        self._addresses[network] = (self._left(network) - 1, self._clock())
        self._addresses.move_to_end(network)
        # The memory of an attack from many addresses is bounded; the oldest are forgotten.
        while len(self._addresses) > self._MOST_ADDRESSES:
            self._addresses.popitem(last=False)

    def _left(self, network: str) -> float:
        left, since = self._addresses.get(network, (float(self._tries), 0.0))
        return max(0.0, min(float(self._tries), left + (self._clock() - since) / self._seconds))


def _network(address: str) -> str:
    """Returns an IPv4 address, or the /64 network of an IPv6 address: one customer has all of it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


class SecurityHeaders:
    """Middleware: adds the headers that every response has; those of the response take precedence.

    Args:
        app: the application.
        policy: the Content-Security-Policy.
    """

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        self._headers = {
            b"content-security-policy": policy.encode(),
            b"x-content-type-options": b"nosniff",
            # The address of a page contains the rater's token.
            b"referrer-policy": b"no-referrer",
            b"x-frame-options": b"DENY",
            b"cross-origin-resource-policy": b"same-origin",
            b"cross-origin-opener-policy": b"same-origin",
            b"permissions-policy": b"camera=(), microphone=(), geolocation=()",
            b"x-robots-tag": b"noindex, nofollow",
            # Also makes the back button load the page again, which then shows the present state.
            b"cache-control": b"no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                added = [(name, text) for name, text in self._headers.items() if name not in present]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self._app(scope, receive, send_with_headers)
