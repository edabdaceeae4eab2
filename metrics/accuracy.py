"""Accuracy: is the description the true name?"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .pairs import Pair, PairMetric

NORMALISATION = "NFKC, case folded, _ - / as spaces, runs of white space as one space"


def normalise(text: str) -> str:
    """Returns the text as it is compared: "Art_Gallery", "art-gallery" and "art gallery" are the same.

    Unicode is brought to NFKC and case-folded; underscore, hyphen and slash become spaces; runs of
    white space become one space, and none stays at the ends.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[_/-]", " ", folded).split())


class ExactAccuracy(PairMetric):
    """1 if the description is a reference, after `normalise`; else 0."""

    name = "exact_accuracy"
    percent = True

    def score_pairs(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """See `PairMetric.score_pairs`."""
        return np.array([_named(prediction, [reference]) for prediction, reference in pairs], np.float64)

    def identity(self) -> Mapping[str, Any]:
        """How texts are compared."""
        return {"normalisation": NORMALISATION}


class SynonymAccuracy(PairMetric):
    """1 if the description is a reference or one of its synonyms, after `normalise`; else 0.

    A reference such as "tench, Tinca tinca" holds synonyms between commas. A unit counts once, however
    many of them match; a description that lists several words is compared as the one text it is.
    """

    name = "synonym_accuracy"
    percent = True

    def score_pairs(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """See `PairMetric.score_pairs`."""
        return np.array(
            [_named(prediction, [known, *known.split(",")]) for prediction, known in pairs], np.float64
        )

    def identity(self) -> Mapping[str, Any]:
        """How texts are compared."""
        return {"normalisation": NORMALISATION, "synonyms": "between commas"}


def _named(prediction: str, names: Sequence[str]) -> bool:
    words = normalise(prediction)
    return words != "" and words in {normalise(name) for name in names}
