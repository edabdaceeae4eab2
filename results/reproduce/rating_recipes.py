"""Recipes for a study in which several raters rate several methods on the same units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..clusters import clustered_summary
from ..ranks import effect_size, smallest_detectable_difference
from ..statistics import exact_sign_flip_p, summary
from ..studies.analysis.agreement import MEASURES, agreement
from ..studies.analysis.choices import top_shares
from ..studies.analysis.rating_files import Columns, WideLayout, WideRatings
from .published_files import NotComputable
from .recipe import Cell, FilePath, Model, Name, Outcome, Part, Sources, unnamed
from .verdicts import Printed


class Study(WideLayout):
    """The columns of a published file of ratings.

    Attributes:
        file: the file.
    """

    file: FilePath

    def read(self, sources: Sources) -> WideRatings:
        """Reads the file.

        Raises:
            NotComputable: if it is missing, or a rating is.
            InputError: if a cell is not a rating or not a flag; names file, row and column.
        """
        ratings = self.arrays(sources.files.records(self.file, self.columns()), self.file)
        if np.isnan(ratings.values).any():
            raise NotComputable(f"a file without empty ratings; {self.file} has some")
        return ratings


class Judgements(Model):
    """Which judgements (a unit and a rater) a row of statistics is about.

    Attributes:
        statistic: what is computed per method. "top": share of judgements in which the method has the
            highest rating, ties included; "split": k tied methods get 1/k each; "unique": share among the
            judgements with a single highest rating.
        layer: only this layer.
        rater: only this rater.
        without: leaves out judgements with one of these flags.
    """

    statistic: Literal[
        "mean", "standard deviation", "standard error", "clustered standard error", "judgements",
        "top (%)", "split (%)", "unique (%)", "unique judgements",
    ]  # fmt: skip
    layer: Name | None = None
    rater: Name | None = None
    without: tuple[Name, ...] = ()


class _OfStudy(Part):
    """Recipes of one study.

    Attributes:
        study: its file.
    """

    study: Study

    def files(self, row: str, column: str) -> Sequence[str]:
        """See `Part.files`."""
        return [self.study.file]

    def check(self, cells: Mapping[Cell, Printed | None]) -> Iterator[tuple[str, str]]:
        """See `Part.check`."""
        yield from ((f"study.{key}", problem) for key, problem in self.study.problems())
        yield from super().check(cells)


class RatingStatistics(_OfStudy):
    """Means and shares of ratings; columns are methods.

    Attributes:
        statistics: by row.
    """

    recipe: Literal["rating_statistics"]
    statistics: dict[Name, Judgements]

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.statistics)

    def columns_known(self) -> Sequence[str]:
        """See `Part.columns_known`."""
        return list(self.study.ratings)

    def check(self, cells: Mapping[Cell, Printed | None]) -> Iterator[tuple[str, str]]:
        """See `Part.check`."""
        yield from super().check(cells)
        for row, chosen in self.statistics.items():
            for problem in unnamed(self.study.flags, list(chosen.without)):
                yield f"statistics.{row}.without", problem
            for problem in unnamed(self.study.raters, [chosen.rater] if chosen.rater else []):
                yield f"statistics.{row}.rater", problem

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns the statistic of one method over the chosen judgements."""
        ratings = self.study.read(sources)
        chosen = self.statistics[row]
        kept = np.ones(ratings.values.shape[::2], np.bool_)  # [units, raters]
        if chosen.layer is not None:
            kept &= np.array([layer == chosen.layer for layer in ratings.layers])[:, None]
        if chosen.rater is not None:
            kept &= np.array([rater == chosen.rater for rater in self.study.raters])
        for flag in chosen.without:
            kept &= ~ratings.flags[flag]
        units, raters = np.nonzero(kept)
        if len(units) == 0:
            raise NotComputable("a judgement that is not left out; there is none")
        values = ratings.values[units, :, raters]  # [judgements, methods]
        method = ratings.methods.index(column)
        return Outcome(_statistic(chosen.statistic, values, method, units), units=len(units))


class RatingDifferences(_OfStudy):
    """Paired differences between two methods; each unit's difference is summed over raters.

    Attributes:
        pairs: by row, the two methods; the first minus the second is reported.
    """

    recipe: Literal["rating_differences"]
    pairs: dict[Name, tuple[Name, Name]]

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.pairs)

    def columns_known(self) -> Sequence[str]:
        """See `Part.columns_known`."""
        return _DIFFERENCES

    def check(self, cells: Mapping[Cell, Printed | None]) -> Iterator[tuple[str, str]]:
        """See `Part.check`."""
        yield from super().check(cells)
        for row, pair in self.pairs.items():
            for problem in unnamed(self.study.ratings, pair):
                yield f"pairs.{row}", problem
            if "same label" in self.cells.get(row, ()):
                for problem in unnamed(self.study.labels, pair):
                    yield "study.labels", problem

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns one statistic of the differences."""
        ratings = self.study.read(sources)
        first, second = (ratings.methods.index(name) for name in self.pairs[row])
        sums = (ratings.values[:, first] - ratings.values[:, second]).sum(axis=1)
        n_units, n_raters = len(sums), ratings.values.shape[2]
        if column == "same label":
            a, b = (ratings.labels[name] for name in self.pairs[row])
            same = sum(x.lower() == y.lower() for x, y in zip(a, b, strict=True))
            return Outcome(same, units=n_units)
        counts = {"wins": (sums > 0).sum(), "ties": (sums == 0).sum(), "losses": (sums < 0).sum()}
        if column in counts:
            return Outcome(int(counts[column]), units=n_units)
        if column == "p":
            if not np.array_equal(sums, np.round(sums)):
                raise NotComputable("ratings that are integers, for an exact p-value")
            return Outcome(exact_sign_flip_p(sums.astype(int).tolist()), units=n_units)
        differences = sums / n_raters
        result = summary(differences)
        values = {
            "difference": result.mean,
            "standard error": result.standard_error,
            "low": result.low,
            "high": result.high,
            "effect size": effect_size(differences),
            "detectable": smallest_detectable_difference(differences),
        }
        value = values[column]
        if value is None:
            raise NotComputable("more than one unit with different ratings")
        return Outcome(value, units=n_units)


_DIFFERENCES = (
    *("difference", "standard error", "low", "high", "p", "effect size", "detectable"),
    *("wins", "ties", "losses", "same label"),
)


class RaterAgreement(_OfStudy):
    """How far the first two raters agree, over all methods or on one; columns are measures.

    Attributes:
        methods: by row, the methods whose ratings are compared.
    """

    recipe: Literal["rater_agreement"]
    methods: dict[Name, Columns]

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.methods)

    def columns_known(self) -> Sequence[str]:
        """See `Part.columns_known`."""
        return MEASURES

    def check(self, cells: Mapping[Cell, Printed | None]) -> Iterator[tuple[str, str]]:
        """See `Part.check`."""
        yield from super().check(cells)
        if len(self.study.raters) < 2:
            yield "study.raters", "agreement needs two raters"
        for row, names in self.methods.items():
            for problem in unnamed(self.study.ratings, names):
                yield f"methods.{row}", problem

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns one measure of agreement."""
        ratings = self.study.read(sources)
        chosen = [ratings.methods.index(name) for name in self.methods[row]]
        values = ratings.values[:, chosen, :2].reshape(-1, 2)  # [things, raters]
        things, raters = np.indices(values.shape)
        value = agreement(values.ravel(), things.ravel(), raters.ravel())[column]
        if value is None:
            raise NotComputable("ratings that differ")
        return Outcome(value, units=len(values))


class FlagCounts(_OfStudy):
    """How many units each rater flags; columns are the raters and "both"."""

    recipe: Literal["flag_counts"]

    def rows_known(self) -> Sequence[str]:
        """See `Part.rows_known`."""
        return list(self.study.flags)

    def columns_known(self) -> Sequence[str]:
        """See `Part.columns_known`."""
        return [*self.study.raters, "both"]

    def value(self, row: str, column: str, sources: Sources) -> Outcome:
        """Returns a count."""
        flags = self.study.read(sources).flags[row]
        raised = flags.all(axis=1) if column == "both" else flags[:, self.study.raters.index(column)]
        return Outcome(int(raised.sum()), units=len(flags))


def _statistic(
    name: str, values: NDArray[np.float64], method: int, units: NDArray[np.int64]
) -> float | int:
    """Returns a statistic of one method.

    Args:
        name: see `Judgements.statistic`.
        values: [judgements, methods].
        method: index of the method.
        units: [judgements] the unit of each judgement, the cluster of the clustered standard error.
    """
    own = values[:, method]
    shares = top_shares(values)
    if name == "clustered standard error":
        # One resample: the interval is not used.
        error = clustered_summary(own, [units], n_resamples=1).standard_error
        if error is None:
            raise NotComputable("more than one unit")
        return error
    if name in ("standard deviation", "standard error") and len(own) < 2:
        raise NotComputable("more than one judgement")
    return {
        "mean": lambda: float(own.mean()),
        "standard deviation": lambda: float(own.std(ddof=1)),
        "standard error": lambda: float(own.std(ddof=1) / np.sqrt(len(own))),
        "judgements": lambda: len(own),
        "top (%)": lambda: 100 * (shares.counted[method] or 0.0),
        "split (%)": lambda: 100 * (shares.split[method] or 0.0),
        "unique (%)": lambda: 100 * (shares.single_share[method] or 0.0),
        "unique judgements": lambda: shares.single,
    }[name]()
