"""What every metric is: a number per unit for a text and its references."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Metric(ABC):
    """Scores predictions against references, unit by unit, so that tables can carry intervals.

    Attributes:
        name: column name, such as "clip_cos".
    """

    name: str

    @abstractmethod
    def score(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]]
    ) -> NDArray[np.float64]:
        """Returns float64 [n]: the score of each prediction against its own references.

        With several references the best one counts. No score depends on the other pairs.

        Raises:
            TypeError: if a plain string stands where a list belongs.
            ValueError: if the lengths differ or a unit has no reference.
        """

    def models(self) -> Mapping[str, str]:
        """Names the models behind the scores, for tables; empty if there are none."""
        return {}

    def identity(self) -> Mapping[str, Any]:
        """Returns what the scores depend on: settings, weights, library versions. JSON-able."""
        return {}


def check_pairs(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuses what would be scored wrongly in silence.

    Raises:
        TypeError: if a plain string stands where a list belongs (its characters would be scored).
        ValueError: if the lengths differ or a unit has no reference.
    """
    if isinstance(predictions, str) or isinstance(references, str):
        raise TypeError("predictions and references must be lists, not a plain string")
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions but {len(references)} references")
    for row, (prediction, texts) in enumerate(zip(predictions, references, strict=True)):
        if not isinstance(prediction, str):
            raise TypeError(f"prediction {row} is {prediction!r}, not a string")
        if isinstance(texts, str):
            raise TypeError(
                f"references of row {row} must be a list of strings, not the string {texts!r}"
            )
        if len(texts) == 0:
            raise ValueError(f"row {row} has no reference")
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"references of row {row} must be strings")
