"""Simulates answers where presence is known, to compare estimators. All results are simulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .aggregation import ErrorRates, Rated, Votes, fit_answers, rate_uncertainty, sigmoid
from .estimation import Correlation, Sample, estimate, regressors
from .population import Population, population
from .sampling import Rule, draw, inclusion_probabilities, standardized


@dataclass(frozen=True)
class Truth:
    """One unit and description with known presence.

    Attributes:
        name: name in tables.
        values: [images] activations.
        presence: bool [images].
        guess: [images] a model's guess of presence.
    """

    name: str
    values: NDArray[np.float64]
    presence: NDArray[np.bool_]
    guess: NDArray[np.float64]

    @property
    def correlation(self) -> float:
        """The correlation of activation and presence over all images."""
        return float(np.corrcoef(self.values, self.presence)[0, 1])


@dataclass(frozen=True)
class Plan:
    """How a simulated study is made.

    Attributes:
        images: images per description.
        answers: answers per image.
        raters: number of raters.
        false_yes: mean rate of "yes" where the description does not fit.
        false_no: mean rate of "no" where it fits.
        alike: how alike raters are: both rates of a rater are drawn from beta distributions with their
            mean and this many pseudo-answers.
        rule: how images are drawn.
        mix: share of uniform probability.
    """

    images: int = 180
    answers: int = 3
    raters: int = 12
    false_yes: float = 0.05
    false_no: float = 0.2
    alike: float = 20.0
    rule: Rule = "variance"
    mix: float = 0.2


@dataclass(frozen=True)
class Simulated:
    """The answers of a simulated study.

    Attributes:
        truths: units and descriptions.
        plan: how it was made.
        samples: the rated images of each.
        populations: all images of each.
        rated: what the aggregation needs of each.
        votes: all answers; tasks are numbered consecutively over all samples.
        rates: float64 [raters, 2], the true error rates of each rater.
    """

    truths: Sequence[Truth]
    plan: Plan
    samples: Sequence[Sample]
    populations: Sequence[Population]
    rated: Sequence[Rated]
    votes: Votes
    rates: NDArray[np.float64]


def simulated(truths: Sequence[Truth], plan: Plan, random: np.random.Generator) -> Simulated:
    """Draws images and answers."""
    means = np.array([plan.false_yes, plan.false_no])
    rates = random.beta(plan.alike * means, plan.alike * (1 - means), (plan.raters, 2))
    samples, populations, rated, votes = [], [], [], []
    first = 0
    for truth in truths:
        chances = inclusion_probabilities(
            truth.values, truth.guess, plan.images, mix=plan.mix, rule=plan.rule
        )
        images = draw(chances, random.random(len(chances)))
        of_all, cells = population(truth.values, truth.guess)
        cell, task = cells[images], first + np.arange(len(images))
        number = np.full(len(images), plan.answers)
        samples.append(Sample(task, cell, standardized(truth.values)[images], chances[images], number))
        populations.append(of_all)
        rated.append(Rated(task, regressors(of_all.value[cell], of_all.evidence[cell])))
        # The first raters of a random order: nobody answers a task twice.
        who = random.random((len(images), plan.raters)).argsort(axis=1)[:, : plan.answers]
        fits = truth.presence[images][:, None]
        chance = np.where(fits, 1 - rates[who, 1], rates[who, 0])
        votes.append(
            (np.repeat(task, plan.answers), who.ravel(), (random.random(who.shape) < chance).ravel())
        )
        first += len(images)
    task, rater, yes = (np.concatenate(column) for column in zip(*votes, strict=True))
    return Simulated(truths, plan, samples, populations, rated, Votes(task, rater, yes, first), rates)


def recommended(study: Simulated) -> list[Correlation]:
    """Returns the estimates of this package."""
    fit = fit_answers(study.votes, study.rated)
    doubt = rate_uncertainty(study.votes, study.rated, fit)
    return [
        estimate(sample, of_all, index, fit, doubt)
        for index, (sample, of_all) in enumerate(zip(study.samples, study.populations, strict=True))
    ]


def plugged_in(study: Simulated, presence: NDArray[np.float64]) -> list[float]:
    """Returns weighted correlations with a presence per task, as if it were known."""
    values = []
    for sample, of_all in zip(study.samples, study.populations, strict=True):
        weighted = presence[sample.task] / sample.probability / of_all.images
        share = min(max(float(weighted.sum()), 0.0), 1.0)
        spread = math.sqrt(share * (1 - share))
        values.append(float(weighted @ sample.value) / spread if spread else 0.0)
    return values


def majority(study: Simulated) -> NDArray[np.float64]:
    """Returns the vote of the majority, [tasks]."""
    votes = study.votes
    return (2 * np.bincount(votes.task, votes.yes, votes.tasks) > study.plan.answers).astype(np.float64)


def posterior(study: Simulated, rate: float) -> NDArray[np.float64]:
    """Returns the posterior of presence with the guess as the prior and one error rate, [tasks]."""
    rates = ErrorRates.same(rate, rate, int(study.votes.rater.max()) + 1)
    odds = rates.log_ratios(study.votes)
    for sample, of_all in zip(study.samples, study.populations, strict=True):
        # The mean guess of the cell represents the guess of the image.
        odds[sample.task] += of_all.evidence[sample.cell]
    return sigmoid(odds)


def uniform_ratings(truth: Truth, plan: Plan, standard_error: float, *, debiased: bool) -> float:
    """Returns how many ratings of uniformly drawn images have a standard error, for many images.

    Args:
        truth: the unit and description.
        plan: number of answers per image and error rates.
        standard_error: the standard error.
        debiased: whether each image's share of "yes" y is debiased, (y - false_yes) / (1 - false_yes -
            false_no), which is unbiased; otherwise the majority decides, which is not.
    """
    z, r = standardized(truth.values), plan.answers
    yes = np.where(truth.presence, 1 - plan.false_no, plan.false_yes)
    if debiased:
        slope = 1 - plan.false_yes - plan.false_no
        mean = (yes - plan.false_yes) / slope
        square = mean**2 + yes * (1 - yes) / r / slope**2
    else:
        for_yes = range(r // 2 + 1, r + 1)
        mean = np.sum([math.comb(r, k) * yes**k * (1 - yes) ** (r - k) for k in for_yes], axis=0)
        square = mean
    share = mean.mean()
    spread = math.sqrt(share * (1 - share))
    centre = (z * mean).mean() * (1 - 2 * share) / (2 * share * (1 - share))
    influence = (z - centre) / spread
    variance = (influence**2 * square).mean() - (influence * mean).mean() ** 2
    return float(variance / standard_error**2 * r)
