from .aggregation import ErrorRates, Fit, Rated, RateUncertainty, Votes, fit_answers, rate_uncertainty
from .estimation import Correlation, Sample, estimate, regressors
from .population import Population, population
from .sampling import combined, draw, inclusion_probabilities

__all__ = [
    "Correlation",
    "ErrorRates",
    "Fit",
    "Population",
    "RateUncertainty",
    "Rated",
    "Sample",
    "Votes",
    "combined",
    "draw",
    "estimate",
    "fit_answers",
    "inclusion_probabilities",
    "population",
    "rate_uncertainty",
    "regressors",
]
