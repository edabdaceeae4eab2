"""Joins identical descriptions and assigns the descriptions of a task to slots, balanced over tasks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SharedText:
    """A text of a task, and the methods whose description it is; no methods for a text of a check."""

    text: str
    methods: tuple[str, ...]


def normalised(text: str) -> str:
    """Returns what decides whether two descriptions are identical: case-folded, single spaces."""
    return " ".join(text.split()).casefold()


def join_identical(texts: Mapping[str, str]) -> list[SharedText]:
    """Returns each distinct text once; of identical ones (see `normalised`) that of the first method."""
    methods: dict[str, list[str]] = {}
    for method, text in texts.items():
        methods.setdefault(normalised(text), []).append(method)
    return [SharedText(" ".join(texts[of[0]].split()), tuple(of)) for of in methods.values()]


@dataclass
class SlotBalance:
    """Assigns texts to slots so that every method is about equally often in each slot of each layer.

    Every task gets the assignment in which its methods are in the slots that they had least often before;
    among equally good ones one is drawn at random. Tasks with different numbers of slots are balanced
    separately, because a method cannot be in a slot that a task does not have.

    Attributes:
        rng: draws among equally good assignments.
    """

    rng: np.random.Generator
    _counts: dict[tuple[Hashable, int, str], NDArray[np.int64]] = field(default_factory=dict)

    def arrange(self, texts: Sequence[SharedText], layer: Hashable) -> list[SharedText]:
        """Returns the texts of a task in the order of its slots.

        Args:
            texts: the distinct texts.
            layer: balanced on its own; all layers together are balanced where this leaves a choice.
        """
        from scipy.optimize import linear_sum_assignment

        n = len(texts)
        # Random numbers below the smallest difference of counts decide between equally good assignments.
        cost = self.rng.random((n, n)) * 1e-3
        for row, text in enumerate(texts):
            for method in text.methods:
                cost[row] += self._of(layer, n, method) + 0.01 * self._of(None, n, method)
        _, slots = linear_sum_assignment(cost)
        arranged = list(texts)
        for text, slot in zip(texts, slots.tolist(), strict=True):
            arranged[slot] = text
            for method in text.methods:
                self._of(layer, n, method)[slot] += 1
                self._of(None, n, method)[slot] += 1
        return arranged

    def _of(self, layer: Hashable, n: int, method: str) -> NDArray[np.int64]:
        """Returns how often a method was in each of n slots."""
        return self._counts.setdefault((layer, n, method), np.zeros(n, np.int64))
