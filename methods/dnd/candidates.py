"""Candidate concepts (Describe-and-Dissect, step 2): captions simplified, then summarised several times.

Each stage sends the requests of all units together, so that a model which answers concurrently, or in
batches, is never kept waiting by a single unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...harness.foundation.protocols import LanguageModel, Message
from ...harness.records import UnitId
from .parsing import Parsed, parse_label
from .prompts import again, simplify, summarise

# A simplified caption may name several things; a candidate is one concept.
SIMPLIFIED_WORDS, CANDIDATE_WORDS = 16, 8
_WITH_BACKGROUND = {"design", "designs", "graphic", "graphics"}


@dataclass(frozen=True)
class Try:
    """One reply to a request.

    Attributes:
        reply: as it came; None if there was none.
        problem: why it cannot be used; None if it can.
    """

    reply: str | None
    problem: str | None


@dataclass(frozen=True)
class Answer:
    """What became of one request.

    Attributes:
        label: the words; None if every try failed.
        tries: all of them, in order; the last one is the one that counts.
        cost_usd: spent on it now; a reply from a cache costs nothing.
    """

    label: str | None
    tries: tuple[Try, ...]
    cost_usd: float = 0.0


@dataclass(frozen=True)
class Proposal:
    """The candidate concepts of one unit, and what led to them.

    Attributes:
        captions: of its images, the most activating first.
        simplified: one answer per caption; where it has no label, the caption itself went on.
        orders: of the captions in each summary, as indices.
        summaries: one answer per summary; one without a label is a failed candidate.
        candidates: distinct, normalised labels in a stable order; may be empty.
    """

    captions: tuple[str, ...]
    simplified: tuple[Answer, ...]
    orders: tuple[tuple[int, ...], ...]
    summaries: tuple[Answer, ...]
    candidates: tuple[str, ...]

    @property
    def cost_usd(self) -> float:
        """What the replies cost now."""
        return sum(answer.cost_usd for answer in (*self.simplified, *self.summaries))

    def evidence(self) -> dict[str, Any]:
        """Returns what led to the candidates, JSON-able and the same in every run."""
        return {
            "captions": list(self.captions),
            "simplified": [_as_json(answer) for answer in self.simplified],
            "orders": [list(order) for order in self.orders],
            "summaries": [_as_json(answer) for answer in self.summaries],
        }


def propose(
    captions: Mapping[UnitId, Sequence[str]],
    language_model: LanguageModel | None,
    *,
    summaries: int = 5,
    tries: int = 3,
    seed: int = 0,
) -> dict[UnitId, Proposal]:
    """Returns the candidate concepts of every unit.

    Without a language model the captions themselves are the candidates. A unit's candidates do not
    depend on the other units.

    Args:
        captions: of each unit's images, the most activating first.
        language_model: simplifies and summarises; None: neither.
        summaries: how many; the first reads the captions in their order, the others in seeded orders.
        tries: of a request whose reply cannot be used, the first one included.
        seed: of the orders.

    Raises:
        InputError: if the language model cannot go on at all; what it has answered is in its cache.
    """
    if summaries < 1 or tries < 1:
        raise ValueError(f"summaries ({summaries}) and tries ({tries}) must be at least 1")
    if language_model is None:
        return {unit: _unsummarised(texts) for unit, texts in captions.items()}
    single = [simplify(caption) for texts in captions.values() for caption in texts]
    simplified = iter(_ask(language_model, single, tries, SIMPLIFIED_WORDS))
    shorter = {unit: [next(simplified) for _ in texts] for unit, texts in captions.items()}
    orders = {unit: caption_orders(unit, len(texts), summaries, seed) for unit, texts in captions.items()}
    lists = [
        summarise([shorter[unit][i].label or texts[i] for i in order])
        for unit, texts in captions.items()
        for order in orders[unit]
    ]
    summarised = iter(_ask(language_model, lists, tries, CANDIDATE_WORDS))
    return {
        unit: _proposal(texts, shorter[unit], orders[unit], [next(summarised) for _ in orders[unit]])
        for unit, texts in captions.items()
    }


def caption_orders(unit: UnitId, n: int, summaries: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Returns the order of `n` captions in each summary: their own, then shuffles of unit and seed."""
    if n == 0:
        return ()
    name = f"{unit.target}/{unit.layer}/{unit.index}".encode()
    generator = np.random.default_rng([seed, *name])
    shuffled = [tuple(generator.permutation(n).tolist()) for _ in range(summaries - 1)]
    return (tuple(range(n)), *shuffled)


def normalise_candidates(labels: Iterable[str]) -> tuple[str, ...]:
    """Returns distinct candidates in the order of their first appearance.

    Lower case, one space between words, no final full stop. A label that ends in "design(s)" or
    "graphic(s)" is followed by the same with " background": both compete.
    """
    found: dict[str, None] = {}
    for label in labels:
        words = label.lower().strip().removesuffix(".").split()
        if words:
            found[" ".join(words)] = None
            if words[-1] in _WITH_BACKGROUND:
                found[" ".join([*words, "background"])] = None
    return tuple(found)


def _unsummarised(captions: Sequence[str]) -> Proposal:
    return Proposal(tuple(captions), (), (), (), normalise_candidates(captions))


def _proposal(
    captions: Sequence[str],
    simplified: Sequence[Answer],
    orders: tuple[tuple[int, ...], ...],
    summaries: Sequence[Answer],
) -> Proposal:
    candidates = normalise_candidates(answer.label for answer in summaries if answer.label)
    return Proposal(tuple(captions), tuple(simplified), orders, tuple(summaries), candidates)


def _ask(
    model: LanguageModel, conversations: Sequence[Sequence[Message]], tries: int, max_words: int
) -> list[Answer]:
    """Asks everything at once, then again, and once more, what got no usable reply.

    A retry tells the model what was wrong with its reply, and is a new sample of its answers.
    """
    answers = [Answer(None, ())] * len(conversations)
    asked = [list(conversation) for conversation in conversations]
    todo = list(range(len(conversations)))
    for sample in range(tries):
        for place, reply in model.reply([asked[index] for index in todo], sample) if todo else ():
            index = todo[place]
            parsed = (
                Parsed(problem=reply.failure) if reply.failure else parse_label(reply.text, max_words)
            )
            before = answers[index]
            answers[index] = replace(
                before,
                label=parsed.label,
                tries=(*before.tries, Try(reply.text, parsed.problem)),
                cost_usd=before.cost_usd + reply.cost_usd,
            )
        todo = [index for index in todo if answers[index].label is None]
        for index in todo:
            last = answers[index].tries[-1]
            if last.reply and last.problem:
                asked[index] = again(conversations[index], last.reply, last.problem)
    return answers


def _as_json(answer: Answer) -> dict[str, Any]:
    tries = [{"reply": attempt.reply, "problem": attempt.problem} for attempt in answer.tries]
    return {"label": answer.label, "tries": tries}
