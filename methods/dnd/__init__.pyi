from .describe_and_dissect import DescribeAndDissect
from .settings import (
    CandidateSettings,
    ExemplarSettings,
    LabelSettings,
    ScoringSettings,
    SyntheticImageSettings,
)

__all__ = [
    "CandidateSettings",
    "DescribeAndDissect",
    "ExemplarSettings",
    "LabelSettings",
    "ScoringSettings",
    "SyntheticImageSettings",
]
