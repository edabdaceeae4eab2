"""Recipes that compare descriptions with references, or with each other, by text metrics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Literal

import numpy as np
from annotated_types import MinLen
from pydantic import model_validator

from ..importers.descriptions_csv import DescriptionRow
from .published_files import NotComputable
from .recipe import FilePath, Model, Name, Outcome, Part, Sources, Texts

Unit = tuple[str, int]
"""Layer and index of a unit."""


class References(Model):
    """The reference texts of units: a text file with one line per unit, or files of descriptions.

    Attributes:
        lines: line i is the reference of unit i, whatever the layer.
        texts: description files; all texts of a unit, such as several annotations, are its references.
        first_only: whether only the first text of a unit is a reference.
    """

    lines: FilePath | None = None
    texts: tuple[Texts, ...] = ()
    first_only: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> References:
        if (self.lines is None) == (not self.texts):
            raise ValueError("give either lines or texts")
        return self

    def paths(self) -> list[str]:
        """Returns the files."""
        return [self.lines] if self.lines else [texts.file for texts in self.texts]

    def of(self, units: Sequence[Unit], sources: Sources) -> list[tuple[str, ...]]:
        """Returns the references of each unit, none for a unit without."""
        if self.lines:
            lines = sources.files.lines(self.lines)
            return [(lines[unit],) if unit < len(lines) else () for _, unit in units]
        by_unit = _by_unit(self.texts, sources)
        last = 1 if self.first_only else None
        return [_texts(by_unit[unit])[:last] if unit in by_unit else () for unit in units]


class Agreement(Model):
    """Keeps the units with references that agree: some pair scores above a limit.

    A limit is one for the authors' model. With other models all units are kept.

    Attributes:
        metric: the text metric of the pairs.
        above: the limit.
    """

    metric: Name
    above: float


class Predictions(Model):
    """The texts to score.

    Attributes:
        texts: description files; they also determine the units.
        text: a text that replaces the description of every unit.
        references: whether each reference is scored against the unit's other references instead.
    """

    texts: Annotated[tuple[Texts, ...], MinLen(1)]
    text: Name | None = None
    references: bool = False


class TextSimilarity(Part):
    """The mean over units of a text metric between descriptions and references.

    Several references of a unit are averaged.

    Attributes:
        predictions: by row.
        references: the references of the units.
        metric: by column, the text metric.
        units: files that determine the units; empty: all that have a description and a reference.
        agreement: which of them are kept; None: all.
        characters: whether every character of a reference is a reference of its own, as in programs that
            pass a string where a list of strings is expected.
    """

    recipe: Literal["text_similarity"]
    predictions: dict[Name, Predictions]
    references: References
    metric: dict[Name, Name]
    units: tuple[Texts, ...] = ()
    agreement: Agreement | None = None
    characters: bool = False

    def files(self, row: str, column: str) -> Sequence[str]:
        """See `Part.files`."""
        texts = (*self.predictions[row].texts, *self.units)
        return [*dict.fromkeys(text.file for text in texts), *self.references.paths()]

    def metrics(self, row: str, column: str) -> Sequence[str]:
        """See `Part.metrics`."""
        return [self.metric[column], *([self.agreement.metric] if self.agreement else [])]

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.predictions)

    def columns_known(self) -> Sequence[str]:
        """See `Part.columns_known`."""
        return list(self.metric)

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns the mean score of the units, and their number."""
        chosen = self.predictions[row]
        described = {unit: line for unit, line in _by_unit(chosen.texts, sources).items() if line.text}
        if self.units:
            counted = _by_unit(self.units, sources)
            described = {unit: line for unit, line in described.items() if unit in counted}
        references = self.references.of(list(described), sources)
        pairs = [
            (unit, texts) for unit, texts in zip(described, references, strict=True) if len(texts) > 0
        ]
        note = None
        if self.agreement is not None and sources.substitute:
            note = "all units count, because the limit of the filter is one for the authors' model."
        elif self.agreement is not None:
            n = len(pairs)
            pairs = _agreeing(pairs, self.agreement, sources)
            note = f"{row}: {len(pairs)} of {n} units pass the filter."
        if chosen.references:
            pairs = [(unit, texts) for unit, texts in pairs if len(texts) > 1]
        if not pairs:
            raise NotComputable("units that pass the filter; there is none")
        scored = [
            pair
            for unit, texts in pairs
            for pair in self._pairs_of(chosen, described[unit].text or "", texts)
        ]
        counts = [len(self._pairs_of(chosen, "", texts)) for _, texts in pairs]
        scores = sources.scorer.scores(self.metric[column], scored)
        starts = np.cumsum([0, *counts[:-1]])
        per_unit = np.add.reduceat(scores, starts) / np.array(counts)
        return Outcome(float(per_unit.mean()), units=len(pairs), note=note)

    def _pairs_of(self, chosen: Predictions, text: str, texts: Sequence[str]) -> list[tuple[str, str]]:
        if chosen.references:
            pairs = list(combinations(texts, 2))
        else:
            pairs = [(chosen.text or text, reference) for reference in texts]
        return [(a, character) for a, b in pairs for character in b] if self.characters else pairs


class EqualTexts(Part):
    """How many units have exactly the same text in two files.

    Attributes:
        pairs: by row, the two files.
    """

    recipe: Literal["equal_texts"]
    pairs: dict[Name, tuple[Texts, Texts]]

    def files(self, row: str, column: str) -> Sequence[str]:
        """See `Part.files`."""
        return [texts.file for texts in self.pairs[row]]

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.pairs)

    def columns_known(self) -> Sequence[str]:
        """Units in both files, and those with equal texts."""
        return "units", "equal texts"

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns the number of units in both files, or of those with equal texts."""
        # By index: the two files may have the same units under two names of the layer.
        first, second = (
            {line.unit: line.text for line in sources.files.descriptions(texts.file, texts.layer)}
            for texts in self.pairs[row]
        )
        common = first.keys() & second.keys()
        equal = sum(first[unit] == second[unit] for unit in common)
        return Outcome(len(common) if column == "units" else equal, units=len(common))


def _by_unit(texts: Sequence[Texts], sources: Sources) -> dict[Unit, DescriptionRow]:
    return {
        (row.layer, row.unit): row
        for source in texts
        for row in sources.files.descriptions(source.file, source.layer)
    }


def _texts(row: DescriptionRow) -> tuple[str, ...]:
    return (row.text, *row.alternatives) if row.text else ()


def _agreeing(
    pairs: Sequence[tuple[Unit, tuple[str, ...]]], rule: Agreement, sources: Sources
) -> list[tuple[Unit, tuple[str, ...]]]:
    several = [(unit, texts) for unit, texts in pairs if len(texts) > 1]
    if not several:
        return []
    couples = [list(combinations(texts, 2)) for _, texts in several]
    scores = sources.scorer.scores(rule.metric, [couple for group in couples for couple in group])
    starts = np.cumsum([0, *(len(group) for group in couples[:-1])])
    best = np.maximum.reduceat(scores, starts)
    return [pair for pair, score in zip(several, best, strict=True) if score > rule.above]
