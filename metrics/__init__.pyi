from .accuracy import ExactAccuracy, SynonymAccuracy
from .bertscore import BERTScore
from .cosine import ClipCosine, SentenceCosine
from .metric import Metric
from .over_references import MeanOverReferences
from .pairs import PairMetric

__all__ = [
    "BERTScore",
    "ClipCosine",
    "ExactAccuracy",
    "MeanOverReferences",
    "Metric",
    "PairMetric",
    "SentenceCosine",
    "SynonymAccuracy",
]
