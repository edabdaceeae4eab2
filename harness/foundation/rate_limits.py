"""When a server wants to be asked again."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)?")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Returns the seconds that `Retry-After` asks for (a number or an HTTP date), or None.

    Args:
        headers: of the response; looked up in lower case.
        now: for dates; by default the present.
    """
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
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max((date - (now or datetime.now(timezone.utc))).total_seconds(), 0.0)


def reset_after(headers: Mapping[str, str]) -> float:
    """Returns the seconds until a limit that is used up is reset; 0 where none is."""
    waits = [
        duration(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() == "0"
    ]
    return max(waits, default=0.0)


def duration(text: str) -> float:
    """Returns the seconds of a duration such as "6m0s", "12ms" or "30"; 0 for anything else."""
    text = text.strip()
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        return 0.0
    return sum(float(part[1]) * _SECONDS[part[2] or ""] for part in parts)


class Gate:
    """Holds back every thread that talks to a server until the moment the server named to one of them."""

    def __init__(self) -> None:
        self._opens = 0.0
        self._lock = threading.Lock()

    def close(self, seconds: float) -> None:
        """Keeps the gate closed for so long from now, or longer if it was closed for longer."""
        with self._lock:
            self._opens = max(self._opens, time.monotonic() + seconds)

    def remaining(self) -> float:
        """Returns the seconds until it opens; 0 if it is open."""
        with self._lock:
            return max(self._opens - time.monotonic(), 0.0)
