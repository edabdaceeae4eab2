"""Recipes that count descriptions: words, distinct texts, matches with class names, means of a column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, MinLen

from ...harness.errors import InputError
from ..csv_files import number
from ..statistics import summary
from .published_files import NotComputable
from .recipe import FilePath, Model, Name, Outcome, Part, Sources, Texts


class WordCounts(Part):
    """How often words occur in descriptions, without case.

    Attributes:
        texts: the descriptions.
        words: by row, the words that are counted together.
    """

    recipe: Literal["word_counts"]
    texts: Texts
    words: dict[Name, Annotated[tuple[Name, ...], MinLen(1)]]

    def columns_known(self) -> Sequence[str]:
        """Occurrences as words, and descriptions that contain one as a word or anywhere."""
        return "occurrences", "descriptions", "descriptions with the letters"

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.words)

    def files(self, row: str, column: str) -> Sequence[str]:
        """See `Part.files`."""
        return [self.texts.file]

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns a count."""
        rows = sources.files.descriptions(self.texts.file, self.texts.layer)
        texts = [row.text.lower() for row in rows if row.text]
        words = {word.lower() for word in self.words[row]}
        if column == "descriptions with the letters":
            return Outcome(sum(any(word in text for word in words) for text in texts), units=len(texts))
        counts = [sum(token in words for token in re.findall(r"\w+", text)) for text in texts]
        count = sum(counts) if column == "occurrences" else sum(map(bool, counts))
        return Outcome(count, units=len(texts))


class DistinctTexts(Part):
    """How many different descriptions the units of a layer have.

    Attributes:
        texts: by row, the descriptions.
    """

    recipe: Literal["distinct_texts"]
    texts: dict[Name, Texts]

    def columns_known(self) -> Sequence[str]:
        """Units, distinct texts, and the units that share the three most frequent texts, in percent."""
        return "units", "distinct texts", "three most frequent (%)"

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.texts)

    def files(self, row: str, column: str) -> Sequence[str]:
        """See `Part.files`."""
        return [self.texts[row].file]

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns a count or a percentage."""
        source = self.texts[row]
        rows = sources.files.descriptions(source.file, source.layer)
        texts = Counter(row.text for row in rows if row.text)
        n = texts.total()
        if n == 0:
            raise NotComputable(f"a description in {source.file}; there is none")
        if column == "three most frequent (%)":
            return Outcome(100 * sum(count for _, count in texts.most_common(3)) / n, units=n)
        return Outcome(n if column == "units" else len(texts), units=n)


class SynonymMatches(Part):
    """How many descriptions are the name of their unit's class, or one of its synonyms.

    Attributes:
        texts: by row, the descriptions.
        references: a text file; line i has the comma-separated synonyms of class i.
    """

    recipe: Literal["synonym_matches"]
    texts: dict[Name, Texts]
    references: FilePath

    def columns_known(self) -> Sequence[str]:
        """Matching units: their number, and in percent of all."""
        return "matches", "matches (%)"

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.texts)

    def files(self, row: str, column: str) -> Sequence[str]:
        """See `Part.files`."""
        return [self.texts[row].file, self.references]

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns a count or a percentage."""
        source = self.texts[row]
        rows = sources.files.descriptions(source.file, source.layer)
        names = [{line.lower(), *_names(line)} for line in sources.files.lines(self.references)]
        beyond = [row.unit for row in rows if row.unit >= len(names)]
        if beyond:
            raise InputError(
                f"{source.file}: unit {beyond[0]}, but {self.references} has {len(names)} lines"
            )
        # The whole line is a name too. Single synonyms of a description do not count: two classes may
        # have one in common ("crane").
        matches = sum((row.text or "").lower() in names[row.unit] for row in rows)
        value = matches if column == "matches" else 100 * matches / len(rows)
        return Outcome(value, units=len(rows))


class MatchRule(Model):
    """When a label matches the name of a class.

    Attributes:
        unify_separators: whether "-" and "/" are the same. In the published program they are not, so
            that a class with a subtype never matches.
        scenes_only: whether labels that are not of scenes never match.
    """

    unify_separators: bool = False
    scenes_only: bool = False


class ClassMatches(Part):
    """How many labels of Network Dissection are the name of their unit's Places class.

    Attributes:
        file: the label file of the final layer.
        classes: the list of Places classes, with lines such as "/b/balcony/exterior 39".
        classes_counted: number of classes that count, for percentages.
        rules: by row, how a label and a name are compared.
    """

    recipe: Literal["class_matches"]
    file: FilePath
    classes: FilePath
    classes_counted: Annotated[int, Ge(1)]
    rules: dict[Name, MatchRule]

    def columns_known(self) -> Sequence[str]:
        """Matching units: their number, and in percent of the classes that count."""
        return "matches", "matches (%)"

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.rules)

    def files(self, row: str, column: str) -> Sequence[str]:
        """See `Part.files`."""
        return [self.file, self.classes]

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns a count or a percentage."""
        names = [_place(line) for line in sources.files.lines(self.classes)]
        records = sources.files.records(self.file, ["unit", "label"])
        rule = self.rules[row]
        matches = 0
        for record in records:
            unit = int(number(record, "unit", self.file)) - 1
            if not 0 <= unit < len(names):
                raise InputError(f"{self.file}: {self.classes} has no class for unit {record['unit']}")
            matches += _matches(record["label"], names[unit], rule)
        value = matches if column == "matches" else 100 * matches / self.classes_counted
        return Outcome(value, units=len(records))


class ColumnMeans(Part):
    """The mean over units of a column of per-unit scores.

    Attributes:
        path: the file of a cell, with {row} and {column} for the names below.
        rows: by row, its name in the path.
        columns: by column, its name in the path.
        scores: the column of the file.
        statistic: the mean, its standard error, or the number of scores.
    """

    recipe: Literal["column_means"]
    path: FilePath
    rows: dict[Name, FilePath]
    columns: dict[Name, FilePath]
    scores: Name
    statistic: Literal["mean", "standard error", "units"] = "mean"

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.rows)

    def columns_known(self) -> Sequence[str]:
        """See `Part.columns_known`."""
        return list(self.columns)

    def files(self, row: str, column: str) -> Sequence[str]:
        """See `Part.files`."""
        # Not str.format, which would evaluate attributes of its arguments.
        path = self.path.replace("{row}", self.rows[row])
        return [path.replace("{column}", self.columns[column])]

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns the statistic over the units."""
        (path,) = self.files(row, column)
        records = sources.files.records(path, ["unit", self.scores])
        # A dead unit has no correlation.
        scores = np.array(
            [
                number(r, self.scores, path) if r[self.scores].lower() not in ("", "nan") else np.nan
                for r in records
            ]
        )
        # One resample: the interval is not used.
        result = summary(scores, n_resamples=1)
        values = {"mean": result.mean, "standard error": result.standard_error, "units": result.n}
        value = values[self.statistic]
        if value is None:
            raise NotComputable(f"more than one score in {path}")
        return Outcome(value, units=result.n)


def _names(text: str) -> set[str]:
    return {name.strip().lower() for name in text.split(",") if name.strip()}


def _place(line: str) -> str:
    """Returns "balcony/exterior" for "/b/balcony/exterior 39"."""
    return line.split(" ")[0][3:]


def _matches(label: str, name: str, rule: MatchRule) -> bool:
    if rule.scenes_only and not label.endswith("-s"):
        return False
    label = re.sub(r"-s$", "", label)
    if rule.unify_separators:
        label, name = label.replace("/", "-"), name.replace("/", "-")
    return label == name
