"""Leaderboards: bundles grouped into boards, one per target, layer, probing set and references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...harness.errors import InputError
from ...harness.files import fingerprint
from ...harness.scores import MetricInfo, ScoreRow, score_frame, shuffled_control
from ..statistics import RESAMPLES, summary
from ..tables.layer_scores import LayerScores
from ..tables.table import Coverage
from .board import Board, Cell, Entry, Example
from .bundle import Bundle, MethodInfo
from .labels import labelled, method_labels
from .ranking import Across, Ranking, across_targets, rank
from .sources import short_names

_EXAMPLES = 6
"""Described units that an entry shows."""


@dataclass(frozen=True)
class Leaderboard:
    """The boards of some bundles.

    Attributes:
        boards: one per target, layer, probing set and references.
        across: mean ranks over targets, by metric; empty for a single target.
        submissions: the bundles, by their id.
        baseline: the method that the others are compared with; None without one.
        duplicates: sentences that name the sources of every method that was submitted twice.
        seed: seed of all resampling.
        n_resamples: number of bootstrap resamples and of drawn sign patterns.
    """

    boards: list[Board]
    across: list[Across]
    submissions: dict[str, Bundle]
    baseline: str | None
    duplicates: list[str]
    seed: int
    n_resamples: int


def build(
    bundles: Sequence[Bundle],
    *,
    baseline: str | None = None,
    seed: int = 0,
    n_resamples: int = RESAMPLES,
) -> Leaderboard:
    """Groups the methods of bundles into boards and ranks them. The order of the bundles has no effect.

    A method that was submitted twice with the same settings is on its board twice; the earliest run
    counts in the ranks.

    Args:
        bundles: the bundles.
        baseline: name or label of the method that the others are compared with.
        seed: seed of all resampling.
        n_resamples: number of bootstrap resamples and of drawn sign patterns.

    Raises:
        InputError: without a bundle; if two bundles have different texts under the same references; if no
            method, or several methods, have the name of the baseline.
    """
    if not bundles:
        raise InputError("a leaderboard needs at least one bundle or run")
    names = short_names([(bundle.source, bundle.id) for bundle in bundles])
    # The earliest first; equal runs by their names, so that the order of the arguments has no effect.
    ordered = sorted(
        zip(bundles, names, strict=True), key=lambda pair: (pair[0].info.ended, pair[0].id, pair[1])
    )
    labels = method_labels([bundle for bundle, _ in ordered])
    baseline = None if baseline is None else labelled(baseline, sorted(set(labels.values())))
    groups: dict[tuple[str, ...], list[_Submission]] = {}
    for bundle, source in ordered:
        for layer in bundle.info.layers:
            submission = _Submission(bundle, source, layer, labels)
            groups.setdefault(submission.board, []).append(submission)
    boards = [_board(group, baseline, seed, n_resamples) for group in groups.values()]
    boards.sort(key=lambda board: board.key)
    return Leaderboard(
        boards,
        across_targets(boards, seed=seed, n_resamples=n_resamples),
        {bundle.id: bundle for bundle, _ in ordered},
        baseline,
        [note for board in boards for note in board.duplicates],
        seed,
        n_resamples,
    )


@dataclass(frozen=True)
class _Submission:
    """What one bundle contributes to one board."""

    bundle: Bundle
    source: str
    layer: str
    labels: Mapping[tuple[str, str], str]

    @property
    def scored(self) -> bool:
        references = self.bundle.info.references
        return references is not None and references.layer == self.layer

    @property
    def board(self) -> tuple[str, ...]:
        """What the submissions of one board have in common."""
        info = self.bundle.info
        probing_set = info.probing_set
        references = info.references.fingerprint if self.scored and info.references else ""
        # Unreadable images are left out of the activations, but are part of the fingerprint.
        images = f"{probing_set.fingerprint}/{probing_set.skipped}"
        return info.target.fingerprint, self.layer, images, references

    def label(self, method: str) -> str:
        return self.labels[method, self.bundle.info.methods[method].fingerprint]


@dataclass(frozen=True)
class _Row:
    """A method or control of a submission, with the label that is unique on its board."""

    submission: _Submission
    method: str
    label: str
    control: bool
    duplicate_of: str | None


def _board(group: Sequence[_Submission], baseline: str | None, seed: int, n_resamples: int) -> Board:
    rows = list(_rows(group))
    scores = _Scores(group, rows)
    ranking = rank(scores.ranked, scores.metrics, baseline=baseline, seed=seed, n_resamples=n_resamples)
    entries = [_entry(row, scores, ranking, seed, n_resamples) for row in rows]
    first = group[0].bundle.info
    references = first.references if group[0].scored else None
    duplicates = [
        f"{row.method} was submitted with the same settings by {row.duplicate_of} and "
        f"{row.submission.source}: {first.target.name}, layer {group[0].layer}."
        for row in rows
        if row.duplicate_of
    ]
    return Board(
        target=first.target,
        layer=group[0].layer,
        probing_set=first.probing_set,
        references=references and references.name,
        references_fingerprint=references and references.fingerprint,
        metrics=scores.metrics,
        detectable=ranking.detectable,
        scores=ranking.columns,
        entries=_ordered(entries, scores.metrics),
        duplicates=duplicates,
    )


def _rows(group: Sequence[_Submission]) -> Iterator[_Row]:
    """Yields the methods of a board, then its controls."""
    sources: dict[str, str] = {}
    for submission in group:
        for method in submission.bundle.info.methods:
            label = submission.label(method)
            first = sources.setdefault(label, submission.source)
            if first == submission.source:
                yield _Row(submission, method, label, control=False, duplicate_of=None)
            else:
                label = f"{label} [{submission.source}]"
                yield _Row(submission, method, label, control=False, duplicate_of=first)
    controls: dict[tuple[str, str], str] = {}
    for submission in group:
        for method, content in _controls(submission).items():
            # Every run has the same constant control: repeating it would say nothing.
            if (method, content) in controls:
                continue
            names = {
                shuffled_control(name): submission.label(name) for name in submission.bundle.info.methods
            }
            label = shuffled_control(names[method]) if method in names else method
            if label in controls.values():
                label = f"{label} [{submission.source}]"
            controls[method, content] = label
            yield _Row(submission, method, label, control=True, duplicate_of=None)


def _controls(submission: _Submission) -> dict[str, str]:
    """Returns the controls of a submission, with a hash of their scores."""
    if not submission.scored:
        return {}
    scores: dict[str, list[object]] = {}
    for row in submission.bundle.scores:
        if row.control:
            scores.setdefault(row.method, []).append([row.unit, row.metric, row.score])
    return {method: fingerprint(rows) for method, rows in scores.items()}


class _Scores:
    """The score tables of a board's submissions in one, with the labels of methods and metrics.

    Attributes:
        metrics: properties of the metrics, by label.
        all: the scores of all rows; None without scores.
        ranked: those that can be ranked, without duplicates; None without scores.
    """

    def __init__(self, group: Sequence[_Submission], rows: Sequence[_Row]) -> None:
        self.metrics, names = _metric_labels(
            [submission.bundle for submission in group if submission.scored]
        )
        self.all = self.ranked = None
        scored = [row for row in rows if row.submission.scored]
        if not scored:
            return
        _check_references([submission for submission in group if submission.scored])
        target = group[0].bundle.info.target.name
        frames = {row.label: list(_score_rows(row, target, names)) for row in scored}
        duplicates = {row.label for row in scored if row.duplicate_of}
        everything = [score for scores in frames.values() for score in scores]
        self.all = LayerScores(score_frame(everything))
        self.ranked = LayerScores(
            score_frame([score for score in everything if score.method not in duplicates])
        )


def _metric_labels(
    bundles: Sequence[Bundle],
) -> tuple[dict[str, MetricInfo], dict[tuple[str, str], str]]:
    """Returns the metrics by label, and the labels by name and hash of the definition."""
    definitions: dict[str, dict[str, MetricInfo]] = {}
    for bundle in bundles:
        for name, info in bundle.info.metrics.items():
            definitions.setdefault(name, {})[fingerprint(info.identity)] = info
    labels = {
        (name, identity): name if len(by_identity) == 1 else f"{name} ({identity[:8]})"
        for name, by_identity in sorted(definitions.items())
        for identity in sorted(by_identity)
    }
    return {label: definitions[name][identity] for (name, identity), label in labels.items()}, labels


def _score_rows(row: _Row, target: str, metrics: Mapping[tuple[str, str], str]) -> Iterator[ScoreRow]:
    info = row.submission.bundle.info
    labels = {name: metrics[name, fingerprint(metric.identity)] for name, metric in info.metrics.items()}
    for score in row.submission.bundle.score_table():
        if score.method == row.method:
            yield score._replace(target=target, method=row.label, metric=labels[score.metric])


def _check_references(group: Sequence[_Submission]) -> None:
    texts: dict[int, tuple[list[str], str]] = {}
    for submission in group:
        references = submission.bundle.info.references
        assert references is not None
        for unit, expected in references.texts.items():
            known, source = texts.setdefault(unit, (expected, submission.source))
            if known != expected:
                raise InputError(
                    f"{source} and {submission.source} have different texts for unit {unit} under the "
                    f"same references {references.name}",
                    "one of the two was changed: leave it out",
                )


def _entry(row: _Row, scores: _Scores, ranking: Ranking, seed: int, n_resamples: int) -> Entry:
    submission = row.submission
    info = submission.bundle.info
    counts = submission.bundle.summary["descriptions"][submission.layer].get(row.method)
    if scores.all is not None:
        coverage, distinct = scores.all.coverage(row.label), scores.all.distinct(row.label)
    else:
        assert counts is not None
        coverage = Coverage(
            counts["described"],
            counts["units"],
            *(counts[name] for name in ("below_threshold", "dead", "failed", "missing")),
        )
        distinct = counts["distinct"]
    return Entry(
        label=row.label,
        method=row.method,
        control=row.control,
        source=submission.source,
        submission=submission.bundle.id,
        date=info.ended[:10],
        version=info.environment.packages.get("dissectbench", ""),
        coverage=coverage,
        distinct=distinct,
        seconds=counts and counts["seconds"],
        cost_usd=counts and counts["cost_usd"],
        duplicate_of=row.duplicate_of,
        cells={
            metric: _cell(row, scores, ranking, metric, seed, n_resamples) for metric in scores.metrics
        },
        details=info.methods.get(row.method, MethodInfo({}, {})),
        examples=list(_examples(row)),
    )


def _cell(row: _Row, scores: _Scores, ranking: Ranking, metric: str, seed: int, n_resamples: int) -> Cell:
    assert scores.all is not None
    by_unit = scores.all.by_unit(row.label, metric)
    estimate = summary([score.score for score in by_unit.values()], seed=seed, n_resamples=n_resamples)
    place = ranking.places[metric].get(row.label)
    reason = None
    if place is None and not row.control:
        if row.duplicate_of:
            reason = f"duplicate of {row.duplicate_of}"
        elif not by_unit:
            reason = "not computed"
        elif ranking.places[metric]:
            reason = "scored on other units than the ranked methods"
        elif len(scores.all.methods) < 2:
            reason = "no other method"
        else:
            reason = "the methods were scored on different units"
    return Cell(estimate, place, reason, ranking.differences.get((row.label, metric)))


def _examples(row: _Row) -> Iterator[Example]:
    submission = row.submission
    references = submission.bundle.info.references
    texts = references.texts if references and submission.scored else {}
    described = [
        record
        for record in submission.bundle.descriptions
        if (record.layer, record.method) == (submission.layer, row.method) and record.text is not None
    ]
    for record in sorted(described, key=lambda record: record.unit)[:_EXAMPLES]:
        yield Example(record.unit, record.text or "", texts.get(record.unit, []))


def _ordered(entries: Sequence[Entry], metrics: Mapping[str, MetricInfo]) -> list[Entry]:
    """Sorts by the first metric: ranked methods, then the others, then controls."""

    def place(entry: Entry) -> tuple[object, ...]:
        for metric, info in metrics.items():
            cell = entry.cells[metric]
            mean = cell.estimate.mean
            signed = 0.0 if mean is None else -mean if info.higher_is_better else mean
            return entry.control, cell.rank is None, mean is None, signed, entry.label
        return entry.control, entry.duplicate_of is not None, False, 0.0, entry.label

    return sorted(entries, key=place)
