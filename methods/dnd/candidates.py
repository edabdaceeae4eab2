"""Candidate concepts (step 2): captions are simplified, then summarised several times.

In each stage the requests of all units are sent together, so that a language model that answers
concurrently or in batches always has enough requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...harness.foundation.protocols import LanguageModel, Message
from ...harness.records import UnitId
from .parsing import Parsed, parse_label, shortened
from .prompts import retry, simplify, summarise

# A simplified caption may name several things; a candidate is one concept.
MAX_SIMPLIFIED_WORDS, MAX_CANDIDATE_WORDS = 16, 8
# Labels that end in one of these words also compete with "background" appended.
_WITH_BACKGROUND = {"design", "designs", "graphic", "graphics"}


@dataclass(frozen=True)
class Try:
    """One reply to a request.

    Attributes:
        reply: the reply, see `shortened`; None if there was none.
        problem: why the reply is unusable; None if it is usable.
    """

    reply: str | None
    problem: str | None


@dataclass(frozen=True)
class Answer:
    """The result of one request, after all tries.

    Attributes:
        label: the label; None if every try failed.
        tries: all tries in order; the last one gave the label.
        cost_usd: cost of this run; cached replies cost nothing.
    """

    label: str | None
    tries: tuple[Try, ...]
    cost_usd: float = 0.0


@dataclass(frozen=True)
class Proposal:
    """The candidate concepts of one unit, with the captions and replies that led to them.

    Attributes:
        captions: captions of its images, in descending order of the response.
        simplified: one answer per caption; without a label, the caption itself is summarised.
        orders: order of the captions in each summary, as indices.
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
        """Cost of the replies in this run."""
        return sum(answer.cost_usd for answer in (*self.simplified, *self.summaries))

    def evidence(self) -> dict[str, Any]:
        """Returns the part that is stored in a record."""
        return {
            "captions": [shortened(caption) for caption in self.captions],
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

    Without a language model the captions are the candidates. A unit's candidates do not depend on the
    other units.

    Args:
        captions: captions of each unit's images, in descending order of the response.
        language_model: simplifies and summarises the captions; None: neither.
        summaries: number of summaries per unit; the first one reads the captions in the given order,
            the others in seeded random orders.
        tries: maximum number of requests for one reply.
        seed: seed of the orders.

    Raises:
        InputError: if the language model cannot be used at all; its replies so far are cached.
    """
    if summaries < 1 or tries < 1:
        raise ValueError(f"summaries ({summaries}) and tries ({tries}) must be at least 1")
    if language_model is None:
        return {
            unit: Proposal(tuple(texts), (), (), (), normalise_candidates(texts))
            for unit, texts in captions.items()
        }
    requests = {unit: [simplify(text) for text in texts] for unit, texts in captions.items()}
    simplified = _ask_by_unit(language_model, requests, tries, MAX_SIMPLIFIED_WORDS)
    orders = {unit: caption_orders(unit, len(texts), summaries, seed) for unit, texts in captions.items()}
    requests = {
        unit: _summary_requests(texts, simplified[unit], orders[unit]) for unit, texts in captions.items()
    }
    summarised = _ask_by_unit(language_model, requests, tries, MAX_CANDIDATE_WORDS)
    return {
        unit: Proposal(
            tuple(texts),
            tuple(simplified[unit]),
            orders[unit],
            tuple(summarised[unit]),
            normalise_candidates(answer.label for answer in summarised[unit] if answer.label),
        )
        for unit, texts in captions.items()
    }


def caption_orders(unit: UnitId, n: int, summaries: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Returns the order of `n` captions in each summary: unchanged, then shuffled by unit and seed."""
    if n == 0:
        return ()
    name = f"{unit.target}/{unit.layer}/{unit.index}".encode()
    generator = np.random.default_rng([seed, *name])
    shuffled = [tuple(generator.permutation(n).tolist()) for _ in range(summaries - 1)]
    return (tuple(range(n)), *shuffled)


def normalise_candidates(labels: Iterable[str]) -> tuple[str, ...]:
    """Returns distinct candidates in the order of their first occurrence.

    Lower case, single spaces between words, no final full stop. A label that ends in "design(s)" or
    "graphic(s)" is followed by the same label with " background" appended, and both compete.
    """
    candidates: dict[str, None] = {}  # an ordered set
    for label in labels:
        words = label.lower().strip().removesuffix(".").split()
        if words:
            candidates[" ".join(words)] = None
            if words[-1] in _WITH_BACKGROUND:
                candidates[" ".join([*words, "background"])] = None
    return tuple(candidates)


def _summary_requests(
    captions: Sequence[str], simplified: Sequence[Answer], orders: Iterable[Sequence[int]]
) -> list[list[Message]]:
    """Returns one request per order; a caption that could not be simplified is used unchanged."""
    labels = [answer.label or text for answer, text in zip(simplified, captions, strict=True)]
    return [summarise([labels[i] for i in order]) for order in orders]


def _ask_by_unit(
    model: LanguageModel,
    requests: Mapping[UnitId, Sequence[Sequence[Message]]],
    tries: int,
    max_words: int,
) -> dict[UnitId, list[Answer]]:
    """Sends the requests of all units together; returns the answers of each unit in order."""
    together = [request for of_unit in requests.values() for request in of_unit]
    answers = iter(_ask(model, together, tries, max_words))
    return {unit: [next(answers) for _ in of_unit] for unit, of_unit in requests.items()}


def _ask(
    model: LanguageModel, requests: Sequence[Sequence[Message]], tries: int, max_words: int
) -> list[Answer]:
    """Sends all requests, then repeats those without a usable reply, up to `tries` times.

    A repeated request tells the model what was wrong with its reply, and is a new sample, so that a
    seeded model does not give the same reply again.
    """
    answers = [Answer(None, ())] * len(requests)
    conversations = [list(request) for request in requests]
    todo = list(range(len(requests)))
    for sample in range(tries):
        for place, reply in model.reply([conversations[i] for i in todo], sample) if todo else ():
            index = todo[place]
            parsed = (
                Parsed(problem=reply.failure) if reply.failure else parse_label(reply.text, max_words)
            )
            # Before it is sent back with the problem, too: its tokens would be paid a second time.
            text = None if reply.text is None else shortened(reply.text)
            before = answers[index]
            answers[index] = replace(
                before,
                label=parsed.label,
                tries=(*before.tries, Try(text, parsed.problem)),
                cost_usd=before.cost_usd + reply.cost_usd,
            )
        todo = [index for index in todo if answers[index].label is None]
        for index in todo:
            last = answers[index].tries[-1]
            if last.reply and last.problem:
                conversations[index] = retry(requests[index], last.reply, last.problem)
    return answers


def _as_json(answer: Answer) -> dict[str, Any]:
    tries = [{"reply": attempt.reply, "problem": attempt.problem} for attempt in answer.tries]
    return {"label": answer.label, "tries": tries}
