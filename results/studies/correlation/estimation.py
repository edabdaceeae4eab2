"""Estimates the correlation of a unit's activation and the presence of a concept from rated images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .aggregation import PRIOR_PRECISION, Fit, RateUncertainty, sigmoid
from .population import Population, log_odds


@dataclass(frozen=True)
class Sample:
    """The rated images of one unit and description, one per element.

    Attributes:
        task: int64 [n], the task of each image.
        cell: int64 [n], cell of the population.
        value: float64 [n], standardized activation.
        probability: float64 [n], inclusion probability.
        answers: int64 [n], number of answers.
    """

    task: NDArray[np.int64]
    cell: NDArray[np.int64]
    value: NDArray[np.float64]
    probability: NDArray[np.float64]
    answers: NDArray[np.int64]


@dataclass(frozen=True)
class Correlation:
    """An estimated correlation of activation and presence over all images.

    Attributes:
        value: the correlation; 0 if no image, or every image, shows the concept.
        standard_error: its standard error.
        low: lower end of the 95 % interval.
        high: upper end.
        prevalence: estimated share of images that show the concept.
        images: number of rated images.
        ratings: number of answers.
    """

    value: float
    standard_error: float
    low: float
    high: float
    prevalence: float
    images: int
    ratings: int


def regressors(value: NDArray[np.float64], evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns float64 [n, 3]: 1, log odds of the guess, standardized activation."""
    return np.stack([np.ones(len(value)), evidence, value], axis=1)


def estimate(
    sample: Sample, of_all: Population, index: int, fit: Fit, doubt: RateUncertainty | None = None
) -> Correlation:
    """Estimates a correlation by the difference estimator.

    Args:
        sample: the rated images that have an answer.
        of_all: all images.
        index: number of this unit and description in the fit.
        fit: error rates and recalibrations.
        doubt: the uncertainty of the error rates; None if they are known.
    """
    images, ratings = len(sample.task), int(sample.answers.sum())
    point = _point(sample, of_all, index, fit)
    if point.constant:
        return Correlation(0.0, 0.0, 0.0, 0.0, min(max(point.prevalence, 0.0), 1.0), images, ratings)
    variance, freedom = _variance(sample, of_all, index, fit, point)
    if doubt is not None:
        ends = [
            [_point(sample, of_all, index, other).value for other in others]
            for others in (doubt.lower, doubt.upper)
        ]
        slope = (np.array(ends[1]) - np.array(ends[0])) / (2 * doubt.step)
        variance += float(slope @ doubt.covariance @ slope)
    error = math.sqrt(variance)
    half = _quantile(freedom) * error
    value = point.value
    return Correlation(
        *(value, error, max(value - half, -1.0), min(value + half, 1.0)),
        *(point.prevalence, images, ratings),
    )


@dataclass(frozen=True)
class _Point:
    """Prevalence and correlation; `constant` if fewer than half an image differs from all others."""

    prevalence: float
    value: float
    constant: bool


def _point(sample: Sample, of_all: Population, index: int, fit: Fit) -> _Point:
    """Returns the estimate: the mean of the recalibrated guess, plus the weighted differences from it."""
    of_cells = sigmoid(regressors(of_all.value, of_all.evidence) @ fit.coefficients[index])
    before, after = _presence(sample, of_cells, fit)
    share = of_all.count / of_all.images
    weighted = (after - before) / sample.probability / of_all.images
    covariance = float(share @ (of_all.value * of_cells) + weighted @ sample.value)
    prevalence = float(share @ of_cells + weighted.sum())
    if not 0.5 < prevalence * of_all.images < of_all.images - 0.5:
        return _Point(prevalence, 0.0, True)
    value = covariance / math.sqrt(prevalence * (1 - prevalence))
    return _Point(prevalence, min(max(value, -1.0), 1.0), False)


def _presence(
    sample: Sample, of_cells: NDArray[np.float64], fit: Fit
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the probability of presence before and after the answers, [n] each."""
    before = of_cells[sample.cell]
    return before, sigmoid(log_odds(before) + fit.ratios[sample.task])


def _variance(
    sample: Sample, of_all: Population, index: int, fit: Fit, point: _Point
) -> tuple[float, float]:
    """Returns the variance of the linearized estimator over samples, presence and answers.

    Presence is random here, with the recalibrated probabilities. With the residuals of the sample
    instead, a sample that happens to contain none of the few images that would change the estimate would
    also have a small variance, and intervals of rare concepts would be too short.

    Returns:
        The variance, and its degrees of freedom: the effective number of images that determine it.
    """
    n = of_all.images
    x_all = regressors(of_all.value, of_all.evidence)
    of_cells = sigmoid(x_all @ fit.coefficients[index])
    x, (before, _) = x_all[sample.cell], _presence(sample, of_cells, fit)
    spread = math.sqrt(point.prevalence * (1 - point.prevalence))
    # The derivative of the correlation by the presence of an image is (activation - centre) / spread / n.
    centre = point.value * (1 - 2 * point.prevalence) / (2 * spread)
    derivative_all = (of_all.value - centre) / spread / n
    derivative = (sample.value - centre) / spread / n
    weight = 1 / sample.probability
    prior = before * (1 - before)
    resolved = _resolved(before, sample.answers, (fit.rates.false_yes, fit.rates.false_no))
    information = (x * resolved[:, None]).T @ x + np.diag(PRIOR_PRECISION)
    slope = (of_all.count * derivative_all * of_cells * (1 - of_cells)) @ x_all
    slope -= (weight * derivative * resolved) @ x
    # What (after - before) of each image changes, in the difference and through the coefficients.
    influence = weight * derivative + x @ np.linalg.solve(information, slope)
    parts = influence**2 * resolved
    variance = (parts - 2 * influence * derivative * resolved + weight * derivative**2 * prior).sum()
    return max(float(variance), 0.0), float(parts.sum() ** 2 / (parts**2).sum())


def _quantile(freedom: float) -> float:
    """Returns Student's quantile for a 95 % interval."""
    # Not scipy.stats, which takes much longer to import.
    from scipy import special

    return float(special.stdtrit(max(freedom, 1.0), 0.975))


def _resolved(
    before: NDArray[np.float64], answers: NDArray[np.int64], error_rates: tuple[float, float]
) -> NDArray[np.float64]:
    """Returns the variance of presence that the answers are expected to resolve, [n].

    The expectation of (after - before) ** 2 over the number of "yes" among the answers of an image.
    """
    false_yes, false_no = error_rates
    resolved = np.zeros(len(before))
    for number in np.unique(answers).tolist():
        rows = answers == number
        p = before[rows]
        for yes in range(number + 1):
            ways = math.comb(number, yes)
            present = ways * (1 - false_no) ** yes * false_no ** (number - yes) * p
            absent = ways * false_yes**yes * (1 - false_yes) ** (number - yes) * (1 - p)
            resolved[rows] += (present + absent) * (present / (present + absent) - p) ** 2
    return resolved
