"""Defines the exceptions that are shown to users, and checks of settings that raise them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")
N = TypeVar("N", int, float)


class InputError(Exception):
    """Invalid user input; printed as a message without a traceback.

    Args:
        message: what is wrong, with the file, line, column or setting.
        hint: how to fix it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes send exceptions by pickle, which would call __init__ with the message only.
        return type(self), (self.message, self.hint)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class UnreadableImageError(InputError):
    """An image of a probing set, `path`, cannot be decoded."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"cannot read image {path}: {reason}",
            "replace or remove the file, or set activations.on_error=skip to skip and list such images",
        )
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason)


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """Returns "did you mean a, b or c?" for the names nearest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=n, cutoff=0.4)
    return f"did you mean {_enumerated(close)}?" if close else ""


def one_of(setting: str, value: T, known: Iterable[object]) -> T:
    """Returns `value` if it is one of `known`.

    Args:
        setting: full name of the setting, for the message: "clip_dissect.variant".
        value: the value to check.
        known: the allowed values.

    Raises:
        InputError: if it is not; the hint has the nearest and all allowed values.
    """
    choices = list(known)
    if value in choices:
        return value
    names = [str(choice) for choice in choices]
    hint = f"{nearest(str(value), names)} use {_enumerated(names)}".strip()
    raise InputError(f"{setting} is {value!r}", hint)


def at_least(setting: str, value: N, least: float) -> N:
    """Returns `value` if it is a number of at least `least`.

    Args:
        setting: full name of the setting, for the message: "captioner.batch_size".
        value: the value to check.
        least: the lowest allowed value.

    Raises:
        InputError: if it is lower, or NaN.
    """
    # Not `value < least`, which is false for NaN.
    if not value >= least:
        raise InputError(f"{setting}={value} must be at least {least}")
    return value


def _enumerated(names: list[str]) -> str:
    """Joins names as "a", "a or b", "a, b or c"."""
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
