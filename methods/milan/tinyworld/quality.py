"""How well a MILAN describes units of the embedded world."""

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

Texts = Sequence[Sequence[str]]

LAYER = 5
"""Of all-MiniLM-L6-v2, as in the metric `minilm_bertscore_f1`."""


@dataclass(frozen=True)
class Scores:
    """Descriptions against the annotations of their units.

    Attributes:
        bertscore: mean F1 with the annotation that suits best.
        bleu: of all together.
        exact: share of the units whose description is one of their annotations.
    """

    bertscore: float
    bleu: float
    exact: float


@dataclass(frozen=True)
class Quality:
    """What the model card says of some units.

    Attributes:
        units: how many.
        milan: scores of MILAN's descriptions.
        constant: of one description for all units: the commonest annotation of those learnt from.
        shuffled: of MILAN's descriptions, each given to another unit.
    """

    units: int
    milan: Scores
    constant: Scores
    shuffled: Scores


def measure(said: Sequence[str], texts: Texts, learnt: Texts, seed: int = 0) -> Quality:
    """Compares descriptions with annotations, and so two controls.

    Args:
        said: a description of each unit.
        texts: annotations of each unit.
        learnt: annotations of the units learnt from.
        seed: of the order in which descriptions are given to other units.
    """
    constant = Counter(text for several in learnt for text in several).most_common(1)[0][0]
    order = np.random.default_rng(seed).permutation(len(said))
    shuffled = [""] * len(said)
    for unit, other in zip(order.tolist(), np.roll(order, 1).tolist(), strict=True):
        shuffled[unit] = said[other]
    controls = (said, [constant] * len(said), shuffled)
    return Quality(len(said), *(_scores(texts_said, texts) for texts_said in controls))


def _scores(said: Sequence[str], texts: Texts) -> Scores:
    words = [tokenize(text) for text in said]
    true = [[tokenize(text) for text in several] for several in texts]
    exact = [one in several for one, several in zip(words, true, strict=True)]
    return Scores(_bertscore(said, texts), corpus_bleu(words, true), float(np.mean(exact)))


def _bertscore(said: Sequence[str], texts: Texts) -> float:
    import bert_score

    f1: Any = bert_score.score(
        [text.lower() or "." for text in said],
        [list(several) for several in texts],
        model_type=str(model_folder("minilm")),
        num_layers=LAYER,
        device="cpu",
    )[2]
    return float(f1.mean())


def names_class(text: str, kind: str) -> bool:
    """Whether a description names an object of the world, or one of its parts."""
    nouns = (kind, *OBJECTS[kind].parts)
    return not {form for noun in nouns for form in (noun, plural(noun))}.isdisjoint(tokenize(text))
