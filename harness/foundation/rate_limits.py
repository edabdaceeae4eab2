"""Reads rate-limit headers, and pauses all threads that use a server."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# "ms" comes before "m", which would match its first letter.
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)?")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Returns the seconds to wait according to `Retry-After` (a number or an HTTP date), or None.

    Args:
        headers: headers of the response, with lower-case names.
        now: reference time for dates; None: the current time.
    """
    # OpenAI also sends the wait in milliseconds, which is more precise.
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except (TypeError, ValueError):
        return None
    # Python returns no time zone for "-0000", which means UTC.
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max((date - (now or datetime.now(UTC))).total_seconds(), 0.0)


def reset_after(headers: Mapping[str, str]) -> float:
    """Returns the seconds until a used-up limit is reset; 0 if no limit is used up."""
    waits = [
        duration(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() == "0"
    ]
    return max(waits, default=0.0)


def duration(text: str) -> float:
    """Returns the seconds of a duration such as "6m0s", "12ms" or "30"; 0 for any other text."""
    text = text.strip()
    # A text with anything between the matches is not a duration.
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        return 0.0
    return sum(float(part[1]) * _SECONDS[part[2] or ""] for part in parts)


class Gate:
    """Pauses every thread that uses a server, after the server asked one of them to wait."""

    def __init__(self) -> None:
        # In time.monotonic(), which does not jump when the clock is set.
        self._opens = 0.0
        self._lock = threading.Lock()

    def close(self, seconds: float) -> None:
        """Closes the gate for a time from now; an earlier, longer closing remains in force."""
        with self._lock:
            self._opens = max(self._opens, time.monotonic() + seconds)

    def remaining(self) -> float:
        """Returns the seconds until the gate opens; 0 if it is open."""
        with self._lock:
            return max(self._opens - time.monotonic(), 0.0)
