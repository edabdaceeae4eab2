"""Accuracy: whether a description is a reference, or one of its synonyms."""

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
    """Returns the form in which texts are compared: "Art_Gallery" and "art-gallery" are "art gallery".

    Unicode is normalised to NFKC and case-folded; underscore, hyphen and slash become spaces; runs of
    white space become one space, and leading and trailing white space is removed.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Class names have "art_gallery" where descriptions have "art gallery".
    return " ".join(re.sub(r"[_/-]", " ", folded).split())


class ExactAccuracy(PairMetric):
    """1 if the description is a reference, after `normalise`; else 0.

    Example:
        >>> ExactAccuracy().score(["Art_Gallery", "gallery"], [["art gallery"], ["art gallery"]])
        array([1., 0.])
    """

    name = "exact_accuracy"
    percent = True
    meaning = "whether the description is the reference"

    def score_pairs(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """See `PairMetric.score_pairs`."""
        return np.array(
            [_matches(prediction, [reference]) for prediction, reference in pairs], np.float64
        )

    def identity(self) -> Mapping[str, Any]:
        """The normalisation of texts."""
        return {"normalisation": NORMALISATION}


class SynonymAccuracy(PairMetric):
    """1 if the description is a reference or one of its synonyms, after `normalise`; else 0.

    The synonyms of a reference such as "tench, Tinca tinca" are separated by commas. A description is
    compared as a whole, also if it lists several words.

    Example:
        >>> SynonymAccuracy().score(["tinca tinca", "tinca"], [["tench, Tinca tinca"]] * 2)
        array([1., 0.])
    """

    name = "synonym_accuracy"
    percent = True
    meaning = "whether the description is the reference or one of its synonyms"

    def score_pairs(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """See `PairMetric.score_pairs`."""
        return np.array(
            # The whole reference, too: a label may be copied with all of its synonyms.
            [_matches(prediction, [reference, *reference.split(",")]) for prediction, reference in pairs],
            np.float64,
        )

    def identity(self) -> Mapping[str, Any]:
        """The normalisation of texts, and what separates synonyms."""
        return {"normalisation": NORMALISATION, "synonyms": "between commas"}


def _matches(prediction: str, names: Sequence[str]) -> bool:
    words = normalise(prediction)
    # A prediction of separators alone is empty after normalisation and must not match an empty synonym.
    return words != "" and words in {normalise(name) for name in names}
