"""Which method wins: shares of highest ratings, and Bradley-Terry strengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .ratings import Ratings

Source = Literal["best", "ratings"]
_TOLERANCE, _MOST_STEPS = 1e-12, 100_000


@dataclass(frozen=True)
class Strengths:
    """Bradley-Terry strengths of the methods.

    Attributes:
        shares: by method, strength / sum of strengths: the probability of being chosen among all methods,
            if each had its own text; None if the strengths are not defined.
        comparisons: number of comparisons of two methods.
        ties: how many of them are ties.
        reason: why the strengths are not defined; None if they are.
    """

    shares: tuple[float | None, ...]
    comparisons: int
    ties: int
    reason: str | None = None


def wins(ratings: Ratings, source: Source) -> tuple[NDArray[np.float64], int]:
    """Returns [methods, methods], how often the first beats the second, and the number of ties.

    Args:
        ratings: the judgements.
        source: "best": the methods of the chosen text beat every method of another text that was shown;
            "none of them" compares nothing. "ratings": the higher of two ratings in one judgement wins;
            equal ratings are half a win for each. Methods that share a text are not compared.
    """
    values = ratings.best if source == "best" else ratings.values
    n_methods = len(ratings.methods)
    won = np.zeros((n_methods, n_methods))
    ties = 0
    for first in range(n_methods):
        for second in range(first + 1, n_methods):
            slots = ratings.slots[:, first], ratings.slots[:, second]
            both = ~np.isnan(values[:, first]) & ~np.isnan(values[:, second])
            both &= (slots[0] != slots[1]) & (slots[0] >= 0) & (slots[1] >= 0)
            difference = values[both, first] - values[both, second]
            won[first, second] = np.count_nonzero(difference > 0)
            won[second, first] = np.count_nonzero(difference < 0)
            if source == "ratings":
                equal = int(np.count_nonzero(difference == 0))
                ties += equal
                won[first, second] += equal / 2
                won[second, first] += equal / 2
    return won, ties


def bradley_terry(ratings: Ratings, source: Source) -> Strengths:
    """Returns the maximum likelihood strengths: P(i beats j) = s_i / (s_i + s_j).

    By minorisation and maximisation (Hunter, 2004): s_i = wins of i / sum over j of n_ij / (s_i + s_j),
    for n_ij comparisons. The maximum exists if no set of methods wins or loses all its comparisons with
    the rest (Ford, 1957).
    """
    won, ties = wins(ratings, source)
    compared = round(float(won.sum()))
    undefined = (None,) * len(won)
    if len(won) < 2 or not compared:
        return Strengths(undefined, compared, ties, "there is no comparison of two methods")
    if not _connected(won > 0):
        reason = "some methods win or lose all comparisons with the others: no finite strengths"
        return Strengths(undefined, compared, ties, reason)
    played = won + won.T
    strengths = np.full(len(won), 1 / len(won))
    for _ in range(_MOST_STEPS):
        new = won.sum(axis=1) / (played / (strengths[:, None] + strengths[None, :])).sum(axis=1)
        new /= new.sum()
        done = np.abs(new - strengths).max() < _TOLERANCE
        strengths = new
        if done:
            break
    return Strengths(tuple(strengths.tolist()), compared, ties)


def _connected(beats: NDArray[np.bool_]) -> bool:
    """Returns whether every method reaches every other one along wins."""
    reached = beats | np.eye(len(beats), dtype=bool)
    for _ in range(len(beats)):
        reached = reached @ reached
    return bool(reached.all())


@dataclass(frozen=True)
class TopShares:
    """How often each method has the highest rating of a judgement, as fractions.

    Attributes:
        judgements: judgements in which every method is rated.
        counted: by method, tied methods counted fully.
        split: by method, k tied methods get 1/k each; the shares sum to 1.
        single: judgements with one highest rating.
        single_share: by method, its share of those; None without any.
    """

    judgements: int
    counted: tuple[float | None, ...]
    split: tuple[float | None, ...]
    single: int
    single_share: tuple[float | None, ...]


def top_shares(values: NDArray[np.float64]) -> TopShares:
    """Returns the shares of highest ratings.

    Args:
        values: float64 [judgements, methods]; judgements with a missing rating (NaN) do not count.
    """
    complete = values[~np.isnan(values).any(axis=1)]
    undefined = (None,) * values.shape[1]
    if not complete.size:
        return TopShares(0, undefined, undefined, 0, undefined)
    top = complete == complete.max(axis=1, keepdims=True)
    tied = top.sum(axis=1)
    single = top[tied == 1]
    return TopShares(
        len(complete),
        tuple(top.mean(axis=0).tolist()),
        tuple((top / tied[:, None]).mean(axis=0).tolist()),
        len(single),
        tuple(single.mean(axis=0).tolist()) if len(single) else undefined,
    )
