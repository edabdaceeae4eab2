"""The one exception a user may see: what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class InputError(Exception):
    """A mistake in what the user gave: printed as a sentence, never as a traceback.

    Args:
        message: what is wrong, naming the file, line, column or setting.
        hint: what to do about it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # Comes out of worker processes by pickle, which would call __init__ with the message alone.
        return type(self), (self.message, self.hint)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class UnreadableImageError(InputError):
    """An image of a probing set that cannot be decoded; `path` says which."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"cannot read image {path}: {reason}",
            "replace or remove the file, or set probe.on_error=skip to leave it out and list it",
        )
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason)


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """Returns "did you mean a, b or c?" for the names nearest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=n, cutoff=0.4)
    if not close:
        return ""
    return "did you mean " + " or ".join([", ".join(close[:-1]), close[-1]][len(close) == 1 :]) + "?"
