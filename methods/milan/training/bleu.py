"""BLEU of a set of captions: how many of their short phrases occur in the references.

Papineni, Roukos, Ward and Zhu, "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL
2002, with the exponential smoothing of Chen and Cherry (2014), method 3.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

ORDER = 4
"""Length of the longest phrases compared."""

Words = Sequence[str]


def corpus_bleu(predictions: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """Returns BLEU in [0, 1] of all predictions together.

    Phrases of every length are counted over the whole set, each at most as often as in the reference
    that has it most often. The precisions of lengths without any match are halved once more each,
    so that early captions can be told apart. Predictions in total shorter than their closest
    references are penalised.

    Args:
        predictions: words of each caption.
        references: words of each caption's references.

    Raises:
        ValueError: if the lengths differ, or a caption has no reference.
    """
    matched, possible = [0] * ORDER, [0] * ORDER
    said = expected = 0
    for words, texts in zip(predictions, references, strict=True):
        if not texts:
            raise ValueError("a caption without references")
        said += len(words)
        expected += min((abs(len(text) - len(words)), len(text)) for text in texts)[1]
        for size in range(1, ORDER + 1):
            found = _phrases(words, size)
            most = Counter[tuple[str, ...]]()
            for text in texts:
                most |= _phrases(text, size)
            matched[size - 1] += (found & most).total()
            possible[size - 1] += found.total()
    if not matched[0]:
        return 0.0
    penalty = min(1.0, math.exp(1 - expected / said))
    return penalty * math.exp(sum(_log_precisions(matched, possible)) / ORDER)


def _phrases(words: Words, size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + size]) for start in range(len(words) - size + 1))


def _log_precisions(matched: Sequence[int], possible: Sequence[int]) -> list[float]:
    smooth, found = 1.0, []
    for hits, total in zip(matched, possible, strict=True):
        if not hits:
            smooth /= 2
        found.append(math.log((hits or smooth) / max(total, 1)))
    return found
