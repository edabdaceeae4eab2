"""Printed numbers, and whether a recomputed number agrees with one."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

Verdict = Literal["confirmed", "differs", "not printed", "not computable"]

# Of the printed step. Means in float64 are wrong in the 16th digit, which must not decide a half case.
_TOLERANCE = Fraction(1, 10**6)


@dataclass(frozen=True)
class Printed:
    """A number as it was printed.

    Attributes:
        text: the number with all printed digits, such as "50.00".
        step: one in the last digit.
        margin: how far the number before rounding can be from the printed one.
    """

    text: str
    step: Fraction
    margin: Fraction

    @classmethod
    def of(cls, text: str, step: Decimal | None = None) -> Printed:
        """Reads a number in decimal notation.

        Args:
            text: the number.
            step: what the number was rounded to multiples of before it was printed, such as means in
                half precision.
        """
        last_digit = Fraction(1, 10 ** len(text.partition(".")[2]))
        return cls(text, last_digit, (last_digit + Fraction(step or 0)) / 2)

    @property
    def value(self) -> Fraction:
        """The number, exactly as printed."""
        return Fraction(self.text)


def agrees(printed: Printed, value: float | Fraction, margin: Fraction = Fraction(0)) -> bool:
    """Returns whether a number within `margin` of `value` can have been rounded to the printed one.

    Both neighbours of a half case agree: rounding half up and half to even are both in use.
    """
    distance = abs(Fraction(value) - printed.value)
    return distance <= printed.margin + margin + _TOLERANCE * printed.step
