from .metric import ActivationMetric, PairScores
from .presence import Annotated, Presence, Simulated
from .presence_metric import PresenceMetric
from .scoring import score_on_activations

__all__ = [
    "ActivationMetric",
    "Annotated",
    "PairScores",
    "Presence",
    "PresenceMetric",
    "Simulated",
    "score_on_activations",
]
