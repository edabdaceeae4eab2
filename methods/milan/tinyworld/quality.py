"""Measures how well a MILAN describes units of tinyworld networks, against two controls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....datasets.tinyworld.words import OBJECTS
from ....harness.foundation.text_models import model_folder
from ..tokenizer import tokenize
from ..training.bleu import corpus_bleu
from .annotations import plural

Annotations = Sequence[Sequence[str]]
"""The annotations of each unit."""

LAYER = 5
"""Layer of all-MiniLM-L6-v2 for BERTScore, as in the metric `minilm_bertscore_f1`."""


@dataclass(frozen=True)
class Scores:
    """Scores of descriptions against the annotations of their units.

    Attributes:
        bertscore: mean F1, against the annotation with the highest F1.
        bleu: corpus BLEU of all descriptions.
        exact: share of the descriptions that equal one of their unit's annotations.
    """

    bertscore: float
    bleu: float
    exact: float


@dataclass(frozen=True)
class Quality:
    """Scores of the descriptions of some units, for the model card.

    Attributes:
        units: number of units.
        milan: scores of MILAN's descriptions.
        constant: scores of one description for all units, the most frequent annotation in training.
        shuffled: scores of MILAN's descriptions, each assigned to another unit.
    """

    units: int
    milan: Scores
    constant: Scores
    shuffled: Scores


def measure(
    descriptions: Sequence[str], annotations: Annotations, training: Annotations, seed: int = 0
) -> Quality:
    """Scores descriptions and two controls against annotations.

    Args:
        descriptions: one per unit.
        annotations: of each unit.
        training: annotations of the units that MILAN was trained on.
        seed: of the order in which descriptions are assigned to other units.
    """
    constant = Counter(text for texts in training for text in texts).most_common(1)[0][0]
    order = np.random.default_rng(seed).permutation(len(descriptions))
    shuffled = [""] * len(descriptions)
    for unit, other in zip(order.tolist(), np.roll(order, 1).tolist(), strict=True):
        shuffled[unit] = descriptions[other]
    cases = (descriptions, [constant] * len(descriptions), shuffled)
    return Quality(len(descriptions), *(_scores(texts, annotations) for texts in cases))


def _scores(descriptions: Sequence[str], annotations: Annotations) -> Scores:
    predictions = [tokenize(text) for text in descriptions]
    references = [[tokenize(text) for text in texts] for texts in annotations]
    exact = [words in texts for words, texts in zip(predictions, references, strict=True)]
    bleu = corpus_bleu(predictions, references)
    return Scores(_bertscore(descriptions, annotations), bleu, float(np.mean(exact)))


def _bertscore(descriptions: Sequence[str], annotations: Annotations) -> float:
    import bert_score

    f1: Any = bert_score.score(
        [text.lower() or "." for text in descriptions],  # bert_score warns about an empty text
        [list(texts) for texts in annotations],
        model_type=str(model_folder("minilm")),
        num_layers=LAYER,
        device="cpu",
    )[2]
    return float(f1.mean())


def names_class(text: str, kind: str) -> bool:
    """Whether a description names a kind of object, or one of its parts."""
    nouns = (kind, *OBJECTS[kind].parts)
    return not {form for noun in nouns for form in (noun, plural(noun))}.isdisjoint(tokenize(text))
