"""Flags answers that should be looked at; none of them is dropped for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .answers import Answer
from .form_values import COMMENT
from .judgements import failed_raters
from .study import Study

_FEWEST = 3
"""Answers from which a pattern of a rater is no chance."""


@dataclass(frozen=True)
class Flag:
    """Something unusual in the answers of a rater.

    Attributes:
        rule: "too_fast", "no_answer", "failed_checks", "constant" or "same_text".
        rater: the rater.
        assignments: (source, assignment id) of the answers concerned.
        message: what is unusual.
    """

    rule: str
    rater: str
    assignments: tuple[tuple[str, str], ...]
    message: str


def quality_flags(study: Study, answers: Sequence[Answer]) -> list[Flag]:
    """Returns what is unusual in the answers of each rater, in the order of the raters' first answers.

    Every assignment counts once.
    """
    by_rater: dict[str, dict[tuple[str, str], Answer]] = defaultdict(dict)
    for answer in answers:
        by_rater[answer.rater].setdefault(answer.key, answer)
    failed = failed_raters(study, [a for rows in by_rater.values() for a in rows.values()], 1)
    return [
        flag
        for rater, rows in by_rater.items()
        for flag in _flags(study, rater, list(rows.values()), failed=rater in failed)
    ]


def _flags(study: Study, rater: str, rows: Sequence[Answer], *, failed: bool) -> Iterator[Flag]:
    least = study.settings.min_seconds
    for row in rows:
        if row.seconds is not None and row.seconds < least:
            yield Flag("too_fast", rater, (row.key,), f"{row.seconds:g} s, less than {least:g} s")
        if not any(name != COMMENT for name in row.values):
            yield Flag("no_answer", rater, (row.key,), "every question is unanswered")
    everything = tuple(row.key for row in rows)
    if failed:
        yield Flag("failed_checks", rater, everything, "an attention check or gold task was failed")
    if len(rows) >= _FEWEST:
        yield from _patterns(rater, rows, everything)


def _patterns(
    rater: str, rows: Sequence[Answer], everything: tuple[tuple[str, str], ...]
) -> Iterator[Flag]:
    ratings = Counter(
        value for row in rows for name, value in row.values.items() if name.startswith("rating_")
    )
    if len(ratings) == 1:
        yield Flag("constant", rater, everything, f"every rating is {next(iter(ratings))}")
    # Slots are in random order in every task, so the best description changes its place.
    for name in ("best", "fits"):
        values: Mapping[str, int] = Counter(row.values[name] for row in rows if name in row.values)
        if len(values) == 1 and sum(values.values()) >= _FEWEST:
            yield Flag("constant", rater, everything, f"every answer to `{name}` is {next(iter(values))}")
    texts: dict[str, list[Answer]] = defaultdict(list)
    for row in rows:
        if text := " ".join(row.values.get(COMMENT, "").lower().split()):
            texts[text].append(row)
    for text, same in texts.items():
        if len(same) >= _FEWEST:
            message = f"the comment {text[:60]!r} in {len(same)} tasks"
            yield Flag("same_text", rater, tuple(row.key for row in same), message)
