from .accuracy import ExactAccuracy, SynonymAccuracy
from .bertscore import BERTScore
from .cosine import ClipCosine, SentenceCosine
from .metric import Metric
from .over_references import MeanOverReferences
from .pairs import Pair, PairMetric
from .scoring import score_descriptions
from .unscored import Prediction

__all__ = [
    "BERTScore",
    "ClipCosine",
    "ExactAccuracy",
    "MeanOverReferences",
    "Metric",
    "Pair",
    "PairMetric",
    "Prediction",
    "SentenceCosine",
    "SynonymAccuracy",
    "score_descriptions",
]
