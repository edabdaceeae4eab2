"""Measures of how well a unit's values and the presence of a concept agree, over images.

Definitions as in Neuron_Eval (Oikarinen et al., "Evaluating Neuron Explanations", ICML 2025): the unit is
the truth and the concept the predictor; "inverse" exchanges the two. Ties are exact: equal values share
the average rank and form one threshold. A measure is NaN where it is not defined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]

CONCEPT_THRESHOLD = 0.5
_LEAST_PRESENCE = 1e-8  # of WPMI: the logarithm of 0 is not finite


@dataclass(frozen=True)
class Compared:
    """Pairs of a unit and a concept, over the same images.

    Attributes:
        values: float64 [pairs, images], the unit's values.
        presence: float64 [pairs, images], the presence of the concept, from 0 to 1.
        top: fraction of the images that counts as active.
    """

    values: Values
    presence: Values
    top: float = 0.005

    @cached_property
    def active(self) -> Flags:
        """The ceil(top * images) highest values of each pair, and all that equal the lowest of them."""
        return active_images(self.values, self.top)

    @cached_property
    def present(self) -> Flags:
        """Where the presence is at least one half."""
        return self.presence >= CONCEPT_THRESHOLD

    @cached_property
    def both(self) -> NDArray[np.int64]:
        """Number of images that are active and show the concept, [pairs]."""
        return (self.active & self.present).sum(axis=1)


def active_images(values: NDArray[np.floating], top: float) -> Flags:
    """Returns which images are active, bool [units, images].

    Args:
        values: [units, images].
        top: fraction of the images, 0 < top <= 1; ties with the last of them are active too.
    """
    count = math.ceil(top * values.shape[1])
    # The count-th largest value of each row.
    least = np.partition(values, values.shape[1] - count, axis=1)[:, values.shape[1] - count]
    return values >= least[:, None]


def pearson(pairs: Compared) -> Values:
    """Returns Pearson's correlation; NaN if one side is constant."""
    return _correlation(pairs.values, pairs.presence)


def spearman(pairs: Compared) -> Values:
    """Returns Pearson's correlation of average ranks."""
    return _correlation(_ranks(pairs.values), _ranks(pairs.presence))


def cosine(pairs: Compared) -> Values:
    """Returns the cosine without centring; depends on the zero of the values."""
    a, c = pairs.values, pairs.presence
    return _ratio((a * c).sum(axis=1), np.sqrt((a * a).sum(axis=1) * (c * c).sum(axis=1)))


def recall(pairs: Compared) -> Values:
    """Returns the share of active images that show the concept."""
    return _ratio(pairs.both, pairs.active.sum(axis=1))


def precision(pairs: Compared) -> Values:
    """Returns the share of images with the concept that are active; 0 without any."""
    return pairs.both / np.maximum(pairs.present.sum(axis=1), 1)


def f1(pairs: Compared) -> Values:
    """Returns the harmonic mean of precision and recall."""
    return 2 * pairs.both / (pairs.active.sum(axis=1) + pairs.present.sum(axis=1))


def iou(pairs: Compared) -> Values:
    """Returns intersection over union of active images and images with the concept."""
    return pairs.both / (pairs.active | pairs.present).sum(axis=1)


def accuracy(pairs: Compared) -> Values:
    """Returns the share of images on which activity and presence agree."""
    return (pairs.active == pairs.present).mean(axis=1)


def balanced_accuracy(pairs: Compared) -> Values:
    """Returns the mean of the accuracies on active and on inactive images."""
    return _balanced(pairs.active, pairs.present)


def inverse_balanced_accuracy(pairs: Compared) -> Values:
    """Returns the mean of the accuracies on images with and without the concept."""
    return _balanced(pairs.present, pairs.active)


def auc(pairs: Compared) -> Values:
    """Returns the area under the ROC curve of presence against activity."""
    return _auc(pairs.active, pairs.presence)


def inverse_auc(pairs: Compared) -> Values:
    """Returns the area under the ROC curve of values against presence."""
    return _auc(pairs.present, pairs.values)


def auprc(pairs: Compared) -> Values:
    """Returns the average precision of presence against activity."""
    return _average_precision(pairs.active, pairs.presence)


def inverse_auprc(pairs: Compared) -> Values:
    """Returns the average precision of values against presence."""
    return _average_precision(pairs.present, pairs.values)


def wpmi(pairs: Compared) -> Values:
    """Returns the mean log presence over active images, minus the log of the mean presence."""
    logs = np.log(np.maximum(pairs.presence, _LEAST_PRESENCE))
    active = _ratio(np.where(pairs.active, logs, 0.0).sum(axis=1), pairs.active.sum(axis=1))
    mean = pairs.presence.mean(axis=1)
    return np.where(mean > 0, active - np.log(np.where(mean > 0, mean, 1.0)), np.nan)


def mad(pairs: Compared) -> Values:
    """Returns the mean value over images with the concept minus that over the others."""
    present = pairs.present
    with_concept = _ratio(np.where(present, pairs.values, 0.0).sum(axis=1), present.sum(axis=1))
    without = _ratio(np.where(present, 0.0, pairs.values).sum(axis=1), (~present).sum(axis=1))
    return with_concept - without


MEASURES: Mapping[str, Callable[[Compared], Values]] = {
    "correlation": pearson,
    "auprc": auprc,
    "f1": f1,
    "iou": iou,
    "spearman": spearman,
    "cosine": cosine,
    "recall": recall,
    "precision": precision,
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "inverse_balanced_accuracy": inverse_balanced_accuracy,
    "auc": auc,
    "inverse_auc": inverse_auc,
    "inverse_auprc": inverse_auprc,
    "wpmi": wpmi,
    "mad": mad,
}
"""The measures by name."""

THRESHOLDED = frozenset(MEASURES) - {"correlation", "auprc", "spearman", "cosine", "auc", "wpmi"}
"""Measures of the images whose presence is at least one half."""


def _ratio(numerator: NDArray, denominator: NDArray) -> Values:
    """Returns the quotient; NaN where the denominator is 0."""
    safe = np.where(denominator > 0, denominator, 1)
    return np.where(denominator > 0, numerator / safe, np.nan)


def _correlation(first: Values, second: Values) -> Values:
    # Sums over the contiguous axis: the result of a row does not depend on the other rows.
    a, c = first - first.mean(axis=1, keepdims=True), second - second.mean(axis=1, keepdims=True)
    constant = (np.ptp(first, axis=1) == 0) | (np.ptp(second, axis=1) == 0)
    norms = np.sqrt((a * a).sum(axis=1) * (c * c).sum(axis=1))
    return np.where(constant, np.nan, _ratio((a * c).sum(axis=1), norms))


def _ranks(values: Values) -> Values:
    from scipy.stats import rankdata

    return rankdata(values, axis=1)


def _balanced(truth: Flags, predicted: Flags) -> Values:
    positive = (truth & predicted).sum(axis=1) / np.maximum(truth.sum(axis=1), 1)
    negative = (~truth & ~predicted).sum(axis=1) / np.maximum((~truth).sum(axis=1), 1)
    return (positive + negative) / 2


def _auc(labels: Flags, scores: Values) -> Values:
    positives = labels.sum(axis=1)
    negatives = labels.shape[1] - positives
    ranks = np.where(labels, _ranks(scores), 0.0).sum(axis=1)
    return _ratio(ranks - positives * (positives + 1) / 2, positives * negatives)


def _average_precision(labels: Flags, scores: Values) -> Values:
    order = np.argsort(-scores, axis=1, kind="stable")
    found = np.take_along_axis(labels, order, axis=1)
    ordered = np.take_along_axis(scores, order, axis=1)
    n = scores.shape[1]
    # The end of the run of equal scores that each image is in: they form one threshold.
    ends = np.where(np.diff(ordered, axis=1) != 0, np.arange(n - 1), n)
    ends = np.concatenate([ends, np.full((len(ends), 1), n - 1)], axis=1)
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    precisions = np.take_along_axis(np.cumsum(found, axis=1), ends, axis=1) / (ends + 1)
    return _ratio(np.where(found, precisions, 0.0).sum(axis=1), labels.sum(axis=1))
