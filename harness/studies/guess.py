"""Guesses which images a description fits, by an image-text model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ...datasets.probing_set import ProbingSet
    from ..cache import Cache
    from ..foundation.protocols import ImageTextEncoder

# Cosines have no absolute scale: they depend on the model and on the text. The guess is one half at the
# top 5 % of images under a normal distribution, and rises over about one standard deviation. Only the
# choice of images and the precision depend on it: the analysis fits a slope and a shift to the answers.
_MIDDLE, _SLOPE = 1.645, 2.0


def guesses(
    encoder: ImageTextEncoder, probe: ProbingSet, texts: Sequence[str], cache: Cache
) -> dict[str, NDArray[np.float64]]:
    """Returns float64 [images] for each text: the guessed probability that it fits the image.

    Args:
        encoder: the image-text model.
        probe: the images.
        texts: descriptions; each is compared once.
        cache: holds the embeddings of images.
    """
    from ...metrics.activation.presence import Simulated

    distinct = list(dict.fromkeys(texts))
    found: dict[str, NDArray[np.float64]] = {}
    for block in Simulated(encoder).blocks(probe, distinct, cache):
        for text, cosines in zip(block.texts, block.values, strict=True):
            found[text] = _probability(cosines.astype(np.float64))
    return found


def _probability(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    from ...results.studies.correlation.aggregation import sigmoid
    from ...results.studies.correlation.sampling import standardized

    return sigmoid(_SLOPE * (standardized(cosines) - _MIDDLE))
