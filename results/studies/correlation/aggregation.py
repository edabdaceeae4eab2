"""Aggregates noisy yes/no answers: error rates of raters, and the probability that a description fits.

Per unit and description, the probability that an image shows the concept is a logistic regression on the
guess of a model and the activation ("recalibration"). It is fitted together with the raters' error rates
by maximum likelihood, where presence is unobserved (an EM algorithm as of Dawid and Skene, 1979).
docs/studies/correlation.md derives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .population import log_odds

# Weak normal priors of the coefficients of the recalibration (intercept, log odds of the guess,
# activation): without them, unanimous answers would have no finite maximum. Slope 1 trusts the guess.
PRIOR_MEAN = np.array([0.0, 1.0, 0.0])
PRIOR_PRECISION = np.array([0.01, 0.25, 0.25])

_BETA = (1.0, 9.0)  # prior of both error rates of all raters: ten answers of which one is wrong
_RATER_STRENGTH = 20.0  # pseudo-answers by which a rater's rates are drawn towards those of all raters
_RATES = (0.001, 0.49)  # a rater is better than a coin, which tells "yes" from "no"
_START = (0.1, 0.2)
_ROUNDS = 200
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Votes:
    """All answers of a study, one per element.

    Attributes:
        task: int64 [answers], number of the task, from 0.
        rater: int64 [answers], number of the rater, from 0.
        yes: bool [answers].
        tasks: number of tasks.
    """

    task: NDArray[np.int64]
    rater: NDArray[np.int64]
    yes: NDArray[np.bool_]
    tasks: int


@dataclass(frozen=True)
class ErrorRates:
    """How often raters err.

    Attributes:
        false_yes: share of "yes" where the description does not fit, over all raters.
        false_no: share of "no" where it fits, over all raters.
        of_raters: float64 [raters, 2], both rates of each rater.
    """

    false_yes: float
    false_no: float
    of_raters: NDArray[np.float64]

    @staticmethod
    def same(false_yes: float, false_no: float, raters: int) -> ErrorRates:
        """Returns rates that all raters share."""
        return ErrorRates(false_yes, false_no, np.tile([false_yes, false_no], (raters, 1)))

    def shifted(self, step: NDArray[np.float64]) -> ErrorRates:
        """Returns rates whose log odds are larger by `step`, [2], for all raters."""
        rates = sigmoid(log_odds([self.false_yes, self.false_no]) + step)
        return ErrorRates(float(rates[0]), float(rates[1]), sigmoid(log_odds(self.of_raters) + step))

    def log_ratios(self, votes: Votes) -> NDArray[np.float64]:
        """Returns float64 [tasks]: log P(answers | fits) - log P(answers | does not fit).

        Answers are independent given presence, so that the ratio is a sum over them; 0 without any.
        """
        false_yes, false_no = self.of_raters[votes.rater].T
        yes, no = np.log((1 - false_no) / false_yes), np.log(false_no / (1 - false_yes))
        weights = np.where(votes.yes, yes, no)
        return np.bincount(votes.task, weights, votes.tasks).astype(np.float64)


@dataclass(frozen=True)
class Rated:
    """The rated images of one unit and description.

    Attributes:
        task: int64 [n], the task of each image, in `Votes`.
        regressors: float64 [n, 3]: 1, log odds of the guess, standardized activation.
    """

    task: NDArray[np.int64]
    regressors: NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """Error rates, and what follows from them.

    Attributes:
        rates: the error rates.
        ratios: float64 [tasks], see `ErrorRates.log_ratios`.
        coefficients: float64 [samples, 3], of the recalibrations.
    """

    rates: ErrorRates
    ratios: NDArray[np.float64]
    coefficients: NDArray[np.float64]


@dataclass(frozen=True)
class RateUncertainty:
    """How uncertain the error rates are, and what follows from other rates.

    Attributes:
        covariance: float64 [2, 2], of the log odds of both rates.
        step: change of log odds in `lower` and `upper`.
        lower: for each rate, the fit where its log odds are lower by `step`.
        upper: where they are higher.
    """

    covariance: NDArray[np.float64]
    step: float
    lower: tuple[Fit, Fit]
    upper: tuple[Fit, Fit]


def fit_answers(votes: Votes, samples: Sequence[Rated], rates: ErrorRates | None = None) -> Fit:
    """Estimates error rates and recalibrations.

    Args:
        votes: all answers.
        samples: the rated images of each unit and description; a task may be in several.
        rates: known error rates; None: they are estimated.
    """
    stacked = _Stacked(samples)
    coefficients = np.tile(PRIOR_MEAN, (len(samples), 1))
    if rates is None:
        rates = ErrorRates.same(*_START, int(votes.rater.max(initial=-1)) + 1)
        for _ in range(_ROUNDS):
            ratios = rates.log_ratios(votes)
            # Two steps suffice: the next round continues from these coefficients.
            coefficients = stacked.fitted(coefficients, ratios, 2)
            updated = _updated(votes, stacked.presence(coefficients, ratios, votes.tasks))
            change = np.abs(updated.of_raters - rates.of_raters).max(initial=0)
            rates = updated
            if change < _TOLERANCE:
                break
    return _fit(votes, stacked, rates, coefficients)


def rate_uncertainty(votes: Votes, samples: Sequence[Rated], fit: Fit) -> RateUncertainty:
    """Returns the uncertainty of estimated rates, by the curvature of the profile likelihood.

    The recalibrations are fitted again for changed rates, so that rates that the recalibrations could
    make up for count as uncertain.
    """
    stacked = _Stacked(samples)

    def at(first: float, second: float) -> Fit:
        rates = fit.rates.shifted(np.array([first, second]))
        return _fit(votes, stacked, rates, fit.coefficients)

    h = 0.1
    lower, upper = (at(-h, 0), at(0, -h)), (at(h, 0), at(0, h))
    middle, *others, both = (stacked.likelihood(votes, f) for f in (fit, *lower, *upper, at(h, h)))
    below, above = np.array(others[:2]), np.array(others[2:])
    information = np.diag((2 * middle - below - above) / h**2)
    information[0, 1] = information[1, 0] = (above.sum() - middle - both) / h**2
    # Two answers or fewer per image hardly determine the rates; the prior alone has this information.
    values, vectors = np.linalg.eigh(information)
    return RateUncertainty((vectors / np.maximum(values, 1.0)) @ vectors.T, h, lower, upper)


def _fit(votes: Votes, stacked: _Stacked, rates: ErrorRates, start: NDArray[np.float64]) -> Fit:
    ratios = rates.log_ratios(votes)
    return Fit(rates, ratios, stacked.fitted(start, ratios, _ROUNDS))


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns 1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


class _Stacked:
    """The rated images of all samples, one below the other, so that all samples are fitted at once."""

    def __init__(self, samples: Sequence[Rated]) -> None:
        sizes = [len(sample.task) for sample in samples]
        self.sample = np.repeat(np.arange(len(samples)), sizes)
        self.task = np.concatenate([sample.task for sample in samples])
        self.regressors = np.concatenate([sample.regressors for sample in samples])

    def fitted(
        self, coefficients: NDArray[np.float64], ratios: NDArray[np.float64], steps: int
    ) -> NDArray[np.float64]:
        """Returns the coefficients after at most `steps` Newton steps of all samples."""
        x, of_row = self.regressors, ratios[self.task]
        outer = x[:, :, None] * x[:, None, :]
        for _ in range(steps):
            odds = self._odds(coefficients)
            before, after = sigmoid(odds), sigmoid(odds + of_row)
            gradient = self._sum((after - before)[:, None] * x)
            gradient -= PRIOR_PRECISION * (coefficients - PRIOR_MEAN)
            complete = self._sum((before * (1 - before))[:, None, None] * outer)
            complete += np.diag(PRIOR_PRECISION)
            observed = complete - self._sum((after * (1 - after))[:, None, None] * outer)
            # Where the likelihood is not concave, the step of the EM algorithm, which always ascends.
            concave = np.linalg.eigvalsh(observed)[:, 0] > 1e-6
            information = np.where(concave[:, None, None], observed, complete)
            step = np.linalg.solve(information, gradient[:, :, None])[:, :, 0]
            longest = np.abs(step).max(axis=1, initial=0)
            coefficients = coefficients + step / np.maximum(longest, 1)[:, None]
            if longest.max(initial=0) < 1e-9:
                break
        return coefficients

    def presence(
        self, coefficients: NDArray[np.float64], ratios: NDArray[np.float64], tasks: int
    ) -> NDArray[np.float64]:
        """Returns float64 [tasks]: the probability of presence given the answers.

        The mean over the samples that share a task, so that it counts once in the error rates.
        """
        after = sigmoid(self._odds(coefficients) + ratios[self.task])
        number = np.bincount(self.task, minlength=tasks)
        return np.bincount(self.task, after, tasks) / np.maximum(number, 1)

    def likelihood(self, votes: Votes, fit: Fit) -> float:
        """Returns the logarithm of the (penalized) likelihood; a task of several samples counts once."""
        odds = self._odds(fit.coefficients)
        # log(p r + 1 - p) for the ratio r of the likelihoods with and without presence.
        of_rows = np.logaddexp(odds + fit.ratios[self.task], 0) - np.logaddexp(odds, 0)
        number = np.bincount(self.task, minlength=votes.tasks)
        false_yes = fit.rates.of_raters[votes.rater, 0]
        absent = np.where(votes.yes, np.log(false_yes), np.log(1 - false_yes)).sum()
        rates = np.array([fit.rates.false_yes, fit.rates.false_no])
        priors = (_BETA[0] * np.log(rates) + _BETA[1] * np.log(1 - rates)).sum()
        priors -= (PRIOR_PRECISION * (fit.coefficients - PRIOR_MEAN) ** 2).sum() / 2
        return float((of_rows / number[self.task]).sum() + absent + priors)

    def _odds(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.einsum("ij,ij->i", self.regressors, coefficients[self.sample])

    def _sum(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the sums of rows by sample; `reduceat` needs the rows in order, as they are."""
        starts = np.flatnonzero(np.diff(self.sample, prepend=-1))
        return np.add.reduceat(rows, starts, axis=0)


def _updated(votes: Votes, presence: NDArray[np.float64]) -> ErrorRates:
    """Returns the error rates that are most likely if presence were known to these probabilities."""
    fits = presence[votes.task]
    # [answers, 2]: in how far an answer is a false yes or a false no, and could have been one.
    wrong = np.stack([(1 - fits) * votes.yes, fits * ~votes.yes], axis=1)
    possible = np.stack([1 - fits, fits], axis=1)
    a, b = _BETA
    of_all = np.clip((wrong.sum(axis=0) + a) / (possible.sum(axis=0) + a + b), *_RATES)
    raters = int(votes.rater.max(initial=-1)) + 1
    counts = np.zeros((2, raters, 2))
    np.add.at(counts[0], votes.rater, wrong)
    np.add.at(counts[1], votes.rater, possible)
    of_raters = (counts[0] + _RATER_STRENGTH * of_all) / (counts[1] + _RATER_STRENGTH)
    return ErrorRates(float(of_all[0]), float(of_all[1]), np.clip(of_raters, *_RATES))
