"""Draws charts of scores with intervals: by layer, by ablation, and against cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ...harness.errors import InputError, one_of
from ...harness.finished_run import FinishedRun
from ...harness.scores import MetricInfo
from ...harness.tinyworld_models import MADE_FOR_TINYWORLD
from .fonts import drawable, font, missing_note, width, wrap
from .names import CONTROL_COLOR, color, marker, method_name
from .panels import LINE, TITLE, Entry, Panel, draw_panels, grid, room
from .score_points import Point, metric_infos, score_points
from .writing import FONT_SIZE, WIDTHS, Drawn, Width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["layers", "ablation", "cost"]
KINDS: tuple[Kind, ...] = ("layers", "ablation", "cost")
"""The kinds of figures of scores."""

_WIDE_RANGE = 20.0  # of costs; a wider one is drawn on a logarithmic axis


def draw_scores(
    kind: Kind,
    runs: Sequence[FinishedRun],
    *,
    metrics: Sequence[str] = (),
    layers: Sequence[str] = (),
    methods: Sequence[str] = (),
    columns: Width = "two",
) -> Drawn:
    """Draws the scores of runs, one panel per metric. Call it from `write_figure`.

    Args:
        kind: "layers": scores by layer; "ablation": one row per run and method; "cost": scores against
            seconds and, where something was paid, dollars per unit.
        runs: the runs, or folders that `dissectbench score --out` wrote.
        metrics: the metrics; default: all.
        layers: the layers; default: all with scores.
        methods: the methods; default: all.
        columns: the width of the figure.

    Raises:
        InputError: if there is nothing to draw.
    """
    one_of("--kind", kind, KINDS)
    one_of("--width", columns, list(WIDTHS))
    points = score_points(runs, metrics=metrics, layers=layers, methods=methods)
    several = len({point.run for point in points}) > 1
    if kind == "cost":
        points = [point for point in points if point.seconds is not None and not point.control]
        if not points:
            raise InputError("no run has both scores and times", "give runs, not folders of scores")
    missing: set[str] = set()
    chart = _Chart(points, metric_infos(runs), _series(points, several, missing), missing)
    figure = {"layers": _by_layer, "ablation": _by_row, "cost": _by_cost}[kind](
        chart, WIDTHS[columns] * 72
    )
    content = {"points": [point.to_json() for point in points]}
    return Drawn(figure, _TITLES[kind], _caption(kind, runs, points), content, missing_note(missing))


_TITLES: Mapping[Kind, str] = {
    "layers": "Scores by layer",
    "ablation": "Scores by ablation",
    "cost": "Scores against cost",
}

Key = tuple[str, str]  # run and method; the run is "" where it does not tell series apart


@dataclass(frozen=True)
class _Series:
    """One entry of a legend.

    Attributes:
        label: its text.
        color: its colour.
        marker: its marker.
        control: whether it is a control.
    """

    label: str
    color: str
    marker: str
    control: bool


@dataclass(frozen=True)
class _Chart:
    points: Sequence[Point]
    infos: Mapping[str, MetricInfo]
    series: Mapping[Key, _Series]
    missing: set[str]

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(point.metric for point in self.points))

    @property
    def legend(self) -> list[Entry]:
        return [Entry(series.label, series.color, series.marker) for series in self.series.values()]

    def percent(self, metric: str) -> bool:
        return metric in self.infos and self.infos[metric].percent

    def title(self, metric: str) -> str:
        lower = metric in self.infos and not self.infos[metric].higher_is_better
        return drawable(metric, self.missing) + (" (%)" if self.percent(metric) else "") + " ↓" * lower

    def value(self, point: Point) -> tuple[float, float, float] | None:
        """Returns mean and lengths of the interval below and above; None without a score."""
        scale, summary = 100.0 if self.percent(point.metric) else 1.0, point.summary
        if summary.mean is None:
            return None
        low = summary.mean if summary.low is None else summary.low
        high = summary.mean if summary.high is None else summary.high
        return (
            scale * summary.mean,
            scale * max(0.0, summary.mean - low),
            scale * max(0.0, high - summary.mean),
        )

    def of(self, metric: str, key: Key) -> list[Point]:
        return [p for p in self.points if p.metric == metric and _key(p, self.series) == key]


def _key(point: Point, series: Mapping[Key, _Series]) -> Key:
    return (point.run, point.method) if (point.run, point.method) in series else ("", point.method)


def _series(points: Sequence[Point], several: bool, missing: set[str]) -> dict[Key, _Series]:
    """Returns the series: methods, then controls; one per run where runs score the same layer."""
    seen: dict[tuple[str, str, str], str] = {}
    # Runs of different layers are parts of one series.
    by_run = any(
        seen.setdefault((point.layer, point.method, point.metric), point.run) != point.run
        for point in points
    )
    keys = list(dict.fromkeys((p.control, p.run if by_run else "", p.method) for p in points))
    keys.sort(key=lambda key: key[0])  # stable: controls last
    methods = list(dict.fromkeys(method for control, _, method in keys if not control))
    result: dict[Key, _Series] = {}
    for number, (control, run, method) in enumerate(keys):
        kind, colon, rest = method.partition(": ") if control else ("", "", method)
        name = kind + colon + method_name(rest)
        text = (
            name
            if not (by_run and several)
            else run
            if len(methods) == 1 and not control
            else f"{run}: {name}"
        )
        result[run, method] = _Series(
            drawable(text, missing), CONTROL_COLOR if control else color(number), marker(number), control
        )
    return result


def _by_layer(chart: _Chart, total: float) -> Figure:
    layers = list(dict.fromkeys(point.layer for point in chart.points))
    labels = [drawable(layer, chart.missing) for layer in layers]
    longest = max(width(label, font(FONT_SIZE)) for label in labels)
    upright = longest + 6 > room(len(chart.metrics), total) / len(layers)
    spread = 0.7 / max(1, len(chart.series))

    def draw(axes: Axes, metric: str) -> None:
        for number, (key, series) in enumerate(chart.series.items()):
            shift = (number - (len(chart.series) - 1) / 2) * spread
            known = [(p, value) for p in chart.of(metric, key) if (value := chart.value(p)) is not None]
            known.sort(key=lambda item: layers.index(item[0].layer))
            x = [layers.index(point.layer) + shift for point, _ in known]
            _errorbar(axes, series, x, [value for _, value in known])
        axes.set_xticks(range(len(layers)), labels, rotation=90 if upright else 0)
        axes.set_xlim(-0.5, len(layers) - 0.5)
        axes.set_xlabel("layer")

    panels = [Panel(chart.title(metric), partial(draw, metric=metric)) for metric in chart.metrics]
    return draw_panels(panels, chart.legend, total, below=22 + longest if upright else 30)


def _errorbar(
    axes: Axes, series: _Series, x: Sequence[float], values: Sequence[tuple[float, float, float]]
) -> None:
    axes.errorbar(
        x,
        [mean for mean, _, _ in values],
        yerr=[[below for _, below, _ in values], [above for _, _, above in values]],
        color=series.color,
        marker=series.marker,
        markersize=2.5 if series.control else 3.5,
        linestyle=":" if series.control else "-",
        elinewidth=0.7,
        linewidth=0.5,
    )


def _by_cost(chart: _Chart, total: float) -> Figure:
    paid = any(point.cost_usd for point in chart.points)
    costs: list[tuple[str, Callable[[Point], float]]] = [
        ("seconds per unit", lambda point: point.seconds or 0.0)
    ]
    if paid:
        costs.append(("US dollars per unit", lambda point: point.cost_usd or 0.0))

    def draw(axes: Axes, metric: str, label: str, of: Callable[[Point], float]) -> None:
        for key, series in chart.series.items():
            for point in chart.of(metric, key):
                value = chart.value(point)
                if value is not None:
                    _errorbar(axes, series, [of(point)], [value])
        amounts = [of(point) for point in chart.points if of(point) > 0]
        if amounts and max(amounts) > _WIDE_RANGE * min(amounts):
            # Linear around zero: what costs nothing has a place too.
            free = any(of(point) == 0 for point in chart.points)
            axes.set_xscale("symlog", linthresh=min(amounts)) if free else axes.set_xscale("log")
            # Plain numbers: the powers of ten that matplotlib writes are formulas.
            axes.xaxis.set_major_formatter(lambda value, _position: f"{value:g}")
            axes.xaxis.set_minor_formatter(lambda _value, _position: "")
        else:
            axes.set_xlim(left=0)
        axes.margins(x=0.1)
        axes.set_xlabel(label)

    panels = [
        Panel(chart.title(metric), partial(draw, metric=metric, label=label, of=of))
        for metric in chart.metrics
        for label, of in costs
    ]
    return draw_panels(panels, chart.legend, total)


def _by_row(chart: _Chart, total: float) -> Figure:
    """Draws one row per series, with the metrics next to each other."""
    from matplotlib.figure import Figure

    plain = font(FONT_SIZE)
    room = min(total * 0.35, max(width(s.label, plain) for s in chart.series.values()) + 2)
    labels = ["\n".join(wrap(series.label, plain, room)) for series in chart.series.values()]
    lines = [label.count("\n") + 1 for label in labels]
    # Each row is as high as its label; its y is the middle of it, counted downwards in lines.
    starts = [sum(lines[:number]) + 0.4 * number for number in range(len(lines))]
    middles = [start + count / 2 for start, count in zip(starts, lines, strict=True)]
    end = starts[-1] + lines[-1] + 0.2
    title = max(width(chart.title(metric), plain) for metric in chart.metrics)
    across, down = grid(len(chart.metrics), int((total - room - 8) // max(title + 10, 70)))
    panel = end * LINE
    height = down * (TITLE + panel + 18)
    cell = (total - room - 8) / across
    figure = Figure(figsize=(total / 72, height / 72))
    for number, metric in enumerate(chart.metrics):
        row, column = divmod(number, across)
        top = row * (TITLE + panel + 18) + TITLE
        axes = figure.add_axes(
            (
                (room + 8 + column * cell) / total,
                1 - (top + panel) / height,
                (cell - 10) / total,
                panel / height,
            )
        )
        _draw_rows(axes, chart, metric, middles)
        axes.set_ylim(end, -0.2)
        axes.set_yticks(middles, labels if column == 0 else [""] * len(labels))
        axes.set_title(chart.title(metric), fontsize=FONT_SIZE, pad=3)
        axes.tick_params(pad=2)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=4)
        axes.grid(axis="x", linewidth=0.3, color="#dddddd")
        axes.set_axisbelow(True)
    return figure


def _draw_rows(axes: Axes, chart: _Chart, metric: str, middles: Sequence[float]) -> None:
    reference: float | None = None
    for y, (key, series) in zip(middles, chart.series.items(), strict=True):
        points = [value for p in chart.of(metric, key) if (value := chart.value(p)) is not None]
        for mean, below, above in points:
            axes.errorbar(
                [mean],
                [y],
                xerr=[[below], [above]],
                color=series.color,
                marker=series.marker,
                markersize=2.5 if series.control else 3.5,
                elinewidth=0.7,
            )
            reference = mean if reference is None else reference
    if reference is not None:
        # The first row is what the others are compared with.
        axes.axvline(reference, color="#aaaaaa", linewidth=0.6, linestyle="--", zorder=0)


def _caption(kind: Kind, runs: Sequence[FinishedRun], points: Sequence[Point]) -> str:
    layers = list(dict.fromkeys(point.layer for point in points))
    subject = {
        "layers": "Mean score by layer",
        "ablation": f"Mean score on {', '.join(layers)}; the dashed line is the first row",
        "cost": "Mean score against the mean cost of a unit, as the run measured it",
    }[kind]
    resamples = sorted({int(run.settings.table.resamples) for run in runs if run.settings.get("table")})
    intervals = "Bars are 95 % bootstrap intervals over units"
    if resamples:
        intervals += f" ({', '.join(map(str, resamples))} resamples)"
    sentences = [f"{subject}. {intervals}.", f"Runs: {', '.join(dict.fromkeys(p.run for p in points))}."]
    sentences += _targets(runs)
    sentences += _coverage([point for point in points if not point.control])
    if any(point.control for point in points):
        sentences.append("Grey: controls, which give every unit the same text or another unit's text.")
    return " ".join(sentences)


def _targets(runs: Sequence[FinishedRun]) -> list[str]:
    names: dict[str, list[str]] = {}
    for run in runs:
        for key in ("target", "probing set", MADE_FOR_TINYWORLD):
            if key in run.models:
                names.setdefault(key, []).append(run.models[key])
    return [
        f"{key[0].upper()}{key[1:]}: {', '.join(dict.fromkeys(values))}." for key, values in names.items()
    ]


def _coverage(points: Sequence[Point]) -> list[str]:
    """Says how many units each mean is over, where that is not the same for all."""
    counts: dict[str, Any] = {}
    for point in points:
        total = point.summary.n + point.summary.n_missing
        counts.setdefault(f"{point.summary.n} of {total}", []).append(
            f"{point.run}, {point.layer}, {method_name(point.method)}"
        )
    if len(counts) == 1:
        return [f"Each mean is over {next(iter(counts))} units."]
    parts = [f"{count} ({'; '.join(dict.fromkeys(of))})" for count, of in counts.items()]
    return [f"Units with a score, which means of different methods may not share: {', '.join(parts)}."]
