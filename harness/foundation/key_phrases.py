"""Replaces a language model without weights: replies with the words that captions share.

Requests are read by their form alone: in the last turn, lines that begin with "- " are captions. A single
caption is shortened; of several captions, one or two of the most frequent phrases are returned.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from ..files import fingerprint
from .conversations import positions
from .protocols import Message, Reply

_FORMAT = 2  # version of the rules; part of the fingerprint
_LONGEST_PHRASE = 3  # words
_LONGEST_LABEL = 5  # words
# Marks count as words, because no phrase may continue across them.
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[,.;:]")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_DETERMINERS = _set("a an the this that these those some any its his her their our my your")
_PREPOSITIONS = _set(
    "with on in of at by for from to into onto over under above below behind before beside near next "
    "between among through across along around against inside outside off up down and or but while as"
)
_FILLERS = _set(
    "is are was were be been being am has have had do does there it he she they them very several many "
    "few other another picture pictures image images photo photos photograph close closeup shot view "
    "front top middle side back background foreground one two three s"
)
_NOT_IN_PHRASES = _DETERMINERS | _PREPOSITIONS | _FILLERS | frozenset(",.;:")
_OPENING = re.compile(
    r"^(?:there (?:is|are)|this is"
    r"|(?:an? |the )?(?:picture|image|photo|photograph|close[- ]?up|view)s? of)\b\s*"
)


class KeyPhrases:
    """Replies with the words that captions share; implements `protocols.LanguageModel`.

    If two phrases are shared, the reply contains both or one of them, as the replies of language models
    vary, too. The choice depends on the captions and their order alone, so that the same request always
    gets the same reply.

    Limits: it uses only words of the captions and knows no meanings. "red" things that share no other
    word become "red", and outlying captions are outvoted, not recognised.
    """

    name = "key phrases (no language model)"
    account = None
    max_tokens = None

    def fingerprint(self) -> str:
        """Hash of the rules' version and of the ignored words."""
        return fingerprint(
            ["key phrases", _FORMAT, _LONGEST_PHRASE, _LONGEST_LABEL, sorted(_NOT_IN_PHRASES)]
        )

    def reply(
        self, conversations: Sequence[Sequence[Message]], sample: int = 0
    ) -> Iterator[tuple[int, Reply]]:
        """See `LanguageModel.reply`; the reply is the same in every sample."""
        del sample
        for conversation, indices in positions(conversations).items():
            reply = _reply(_captions(conversation))
            yield from ((index, reply) for index in indices)


def _captions(conversation: Sequence[Message]) -> list[str]:
    lines = conversation[-1].content.splitlines() if conversation else []
    return [line[2:] for line in lines if line.startswith("- ")]


def _reply(captions: list[str]) -> Reply:
    if not captions:
        return Reply(None, "the request contains no caption")
    if len(captions) == 1:
        text = shortened(captions[0])
    else:
        phrases = shared_phrases(captions)
        choices = [" and ".join(phrases), *phrases]
        # A hash instead of a generator: the choice is the same in every process and order of requests.
        text = choices[int(fingerprint(captions), 16) % len(choices)]
    return Reply(text) if text else Reply(None, "the captions contain no usable words")


def shortened(caption: str) -> str:
    """Returns a caption without articles, openings such as "there is", and repeated words."""
    kept: list[str] = []
    for word in _words(_OPENING.sub("", caption.lower().strip())):
        if word in _DETERMINERS or not word[0].isalnum():
            continue
        if word in _PREPOSITIONS or word not in kept:
            kept.append(word)
    return " ".join(_without_loose_ends(kept))


def _without_loose_ends(words: list[str]) -> list[str]:
    """Drops prepositions without a following noun, and one at the start."""
    kept = [
        word
        for place, word in enumerate(words)
        # The slice is empty after the last word, and the empty set is a subset of every set.
        if word not in _PREPOSITIONS or not _PREPOSITIONS.issuperset(words[place + 1 : place + 2])
    ]
    return kept[1:] if kept and kept[0] in _PREPOSITIONS else kept


def shared_phrases(captions: Sequence[str]) -> list[str]:
    """Returns the phrase that most captions share, and a second one that at least half of them share.

    A phrase is up to three words without an ignored word between them. Each caption has one vote, with a
    weight that falls from 1 for the first caption to 1/2 for the last, so that the order of the captions
    breaks ties. A longer phrase wins over a part of it with equally many votes.
    """
    votes: dict[tuple[str, ...], float] = defaultdict(float)
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    spellings: dict[tuple[str, ...], str] = {}
    for place, caption in enumerate(captions):
        for stems, words in _phrases(caption).items():
            votes[stems] += 1 - place / (2 * len(captions))
            counts[stems] += 1
            spellings.setdefault(stems, words)
    ranked = sorted(votes, key=lambda stems: (-votes[stems], -len(stems)))
    if not ranked:
        return []
    best = _longest(ranked, votes, ranked[0])
    for stems in ranked:
        if not set(stems) & set(best) and 2 * counts[stems] >= len(captions) and counts[stems] > 1:
            second = _longest(ranked, votes, stems, without=best)
            if len(best) + 1 + len(second) <= _LONGEST_LABEL:  # 1: the "and" between them
                return [spellings[best], spellings[second]]
    return [spellings[best]]


def _longest(
    ranked: Sequence[tuple[str, ...]],
    votes: dict[tuple[str, ...], float],
    stems: tuple[str, ...],
    without: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Returns the longest phrase that contains `stems` and has at least three quarters of its votes."""
    containing = (
        phrase
        for phrase in ranked
        if set(stems) <= set(phrase)
        and not set(phrase) & set(without)
        and votes[phrase] >= 0.75 * votes[stems]
    )
    return max(containing, key=len)


def _phrases(caption: str) -> dict[tuple[str, ...], str]:
    """Returns the phrases of a caption: spelling by stems."""
    spellings: dict[tuple[str, ...], str] = {}
    for run in _runs(_words(_OPENING.sub("", caption.lower().strip()))):
        for length in range(1, _LONGEST_PHRASE + 1):
            for start in range(len(run) - length + 1):
                words = run[start : start + length]
                if len(set(words)) == length:
                    spellings.setdefault(tuple(map(_stem, words)), " ".join(words))
    return spellings


def _runs(words: list[str]) -> list[list[str]]:
    """Splits a text at the words that no phrase may contain."""
    runs: list[list[str]] = [[]]
    for word in words:
        if word in _NOT_IN_PHRASES:
            runs.append([])
        else:
            runs[-1].append(word)
    return runs


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _stem(word: str) -> str:
    """Returns the singular of a regular plural, and any other word unchanged."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
