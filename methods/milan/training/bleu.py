"""Corpus BLEU of captions, the score by which an epoch of the decoder is judged.

Papineni, Roukos, Ward and Zhu, "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL
2002, with the exponential smoothing of Chen and Cherry (2014), method 3.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

ORDER = 4
"""Length of the longest n-grams."""

Words = Sequence[str]


def corpus_bleu(predictions: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """Returns BLEU in [0, 1] of all predictions together.

    n-grams are counted over the whole set, each at most as often as in the reference with the most
    occurrences. Lengths without any match get a precision halved once more each instead of 0, so that the
    captions of early epochs can be compared. If the predictions are in total shorter than their closest
    references, the score is reduced (brevity penalty).

    Args:
        predictions: words of each caption.
        references: words of each caption's references.

    Raises:
        ValueError: if the lengths differ, or a caption has no reference.
    """
    matched, possible = [0] * ORDER, [0] * ORDER
    predicted_length = reference_length = 0
    for words, texts in zip(predictions, references, strict=True):
        if not texts:
            raise ValueError("a caption without references")
        predicted_length += len(words)
        # The reference closest in length, the shorter one if two are.
        reference_length += min((abs(len(text) - len(words)), len(text)) for text in texts)[1]
        for n in range(1, ORDER + 1):
            ngrams = _ngrams(words, n)
            most = Counter[tuple[str, ...]]()
            for text in texts:
                most |= _ngrams(text, n)
            matched[n - 1] += (ngrams & most).total()
            possible[n - 1] += ngrams.total()
    if not matched[0]:
        return 0.0
    penalty = min(1.0, math.exp(1 - reference_length / predicted_length))
    return penalty * math.exp(sum(_log_precisions(matched, possible)) / ORDER)


def _ngrams(words: Words, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def _log_precisions(matched: Sequence[int], possible: Sequence[int]) -> list[float]:
    smooth, logs = 1.0, []
    for hits, total in zip(matched, possible, strict=True):
        if not hits:
            smooth /= 2
        logs.append(math.log((hits or smooth) / max(total, 1)))
    return logs
