"""The interface of metrics: a score per unit for a text and its references."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.scores import MetricInfo


class MetricProperties:
    """What all metrics state about themselves, for tables and files of scores.

    A class sets the attributes below; an instance may override them.

    Attributes:
        name: column name, such as "clip_cosine".
        higher_is_better: whether a higher score is a better one; False for a distance.
        percent: whether tables show the scores in percent.
        meaning: the definition in a few words, for the notes of tables.
    """

    name: str
    higher_is_better: bool = True
    percent: bool = False
    meaning: str = ""

    def models(self) -> Mapping[str, str]:
        """Returns the names of the models used, by their role, for tables."""
        return {}

    def identity(self) -> Mapping[str, Any]:
        """Returns everything the scores depend on: settings, weights, library versions. JSON-able."""
        return {}

    def info(self) -> MetricInfo:
        """Returns the properties that are stored with the scores."""
        return MetricInfo(self.higher_is_better, self.percent, dict(self.identity()), self.meaning)


class Metric(MetricProperties, ABC):
    """Scores predictions against references: one number per unit."""

    @abstractmethod
    def score(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]]
    ) -> NDArray[np.float64]:
        """Returns float64 [n]: the score of each prediction against its own references.

        With several references the best score counts: the lowest if `higher_is_better` is False. No
        score depends on the other pairs.

        Raises:
            TypeError: if an argument is a plain string instead of a list.
            ValueError: if the lengths differ or a unit has no reference.
        """


def check_pairs(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Rejects arguments that would silently be scored wrongly.

    Raises:
        TypeError: if an argument is a plain string instead of a list: its characters would be scored.
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
