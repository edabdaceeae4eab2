"""Places panels of a chart in a grid, with one legend below. All lengths are in points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .fonts import font, width, wrap
from .writing import FONT_SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = FONT_SIZE * 1.3
TITLE = 14.0  # room above a panel
_HEIGHT, _LEFT, _RIGHT = 110.0, 30.0, 6.0
_HANDLE = 28.0  # the marker of a legend entry, and the room between columns


class Panel(NamedTuple):
    """One panel: its title, and a function that draws it."""

    title: str
    draw: Callable[[Axes], None]


class Entry(NamedTuple):
    """One entry of a legend."""

    label: str
    color: str
    marker: str


def grid(count: int, most: int) -> tuple[int, int]:
    """Returns columns and rows for panels: at most `most` columns, as few rows, evenly filled."""
    down = -(-count // max(1, most))
    return -(-count // down), down


def across(count: int, total: float) -> int:
    """Returns how many panels of a figure are next to each other."""
    return grid(count, 3 if total > 300 else 1)[0]


def room(count: int, total: float) -> float:
    """Returns the width of the axes of a panel."""
    return total / across(count, total) - _LEFT - _RIGHT


def draw_panels(
    panels: Sequence[Panel], entries: Sequence[Entry], total: float, below: float = 30.0
) -> Figure:
    """Returns a figure with panels and a legend.

    Args:
        panels: the panels, in rows.
        entries: the legend.
        total: width of the figure.
        below: room below a panel, for the labels of its x axis.
    """
    from matplotlib.figure import Figure

    columns = across(len(panels), total)
    down = -(-len(panels) // columns)
    entries = [
        entry._replace(label="\n".join(wrap(entry.label, font(FONT_SIZE), total - _HANDLE)))
        for entry in entries
    ]
    legend_columns, legend = _legend_size(entries, total)
    height = down * (TITLE + _HEIGHT + below) + legend
    figure = Figure(figsize=(total / 72, height / 72))
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        top = row * (TITLE + _HEIGHT + below) + TITLE
        axes = figure.add_axes(
            (
                (column * total / columns + _LEFT) / total,
                1 - (top + _HEIGHT) / height,
                room(len(panels), total) / total,
                _HEIGHT / height,
            )
        )
        panel.draw(axes)
        axes.set_title(panel.title, fontsize=FONT_SIZE, pad=3)
        axes.tick_params(pad=2)
        axes.grid(axis="y", linewidth=0.3, color="#dddddd")
        axes.set_axisbelow(True)
    _draw_legend(figure, entries, legend_columns)
    return figure


def _legend_size(entries: Sequence[Entry], total: float) -> tuple[int, float]:
    """Returns the columns of the legend, as many as its longest label leaves room for, and its height."""
    plain = font(FONT_SIZE)
    longest = max(width(line, plain) for entry in entries for line in entry.label.split("\n"))
    columns = max(1, min(len(entries), int(total // (longest + _HANDLE))))
    rows, more = divmod(len(entries), columns)
    lines = [entry.label.count("\n") + 1 for entry in entries]
    # matplotlib fills the legend column by column; the first ones have one entry more.
    heights, start = [], 0
    for column in range(columns):
        end = start + rows + (column < more)
        heights.append(sum(lines[start:end]))
        start = end
    return columns, max(heights) * LINE + 8


def _draw_legend(figure: Figure, entries: Sequence[Entry], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=entry.color, marker=entry.marker, linestyle="none", label=entry.label)
        for entry in entries
    ]
    figure.legend(
        handles=handles,
        ncols=columns,
        loc="lower center",
        frameon=False,
        fontsize=FONT_SIZE,
        handletextpad=0.2,
        columnspacing=1.2,
        labelspacing=0.2,
        borderpad=0.1,
        borderaxespad=0.1,
    )
