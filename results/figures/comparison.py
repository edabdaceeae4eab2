"""Draws units: a row of exemplars each, with the descriptions of all methods below.

The layout is that of Figure 1 of Describe-and-Dissect. All lengths are in points (1/72 inch), from the
top left corner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...harness.activations.stored_values import stored_images, stored_values
from ...harness.errors import InputError, at_least, one_of
from ...harness.finished_run import FinishedRun
from ...harness.probe import ProbedLayer
from ...harness.records import Description, UnitId
from ...harness.scores import score_rows
from ...harness.tinyworld_models import MADE_FOR_TINYWORLD
from .fonts import drawable, font, missing_note, width, wrap
from .names import color, method_name
from .unit_choice import UnitChoice, selected_records
from .writing import DPI, FONT_SIZE, PAGE_HEIGHT, WIDTHS, Drawn, Width

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

LINE = FONT_SIZE * 1.3
MARGIN, GUTTER = 2.0, 14.0
GAP = 2.0  # between exemplars
BETWEEN = 10.0  # between rows of units
LARGEST = 110.0  # side of an exemplar


@dataclass(frozen=True)
class _Line:
    """One line of text: the name of a method, or a part of a description."""

    left: float
    text: str
    color: str = "black"
    bold: bool = False
    italic: bool = False


@dataclass(frozen=True)
class _Block:
    """One unit: a heading, its exemplars, and lines of text with the number of their row."""

    heading: str
    images: Sequence[Image]
    values: Sequence[float]
    rows: Sequence[tuple[int, _Line]]
    n_rows: int

    def height(self, side: float) -> float:
        """Returns the height with images of this side length."""
        return LINE + GAP + side + GAP + self.n_rows * LINE


def draw_units(
    run: FinishedRun,
    choice: UnitChoice,
    *,
    exemplars: int = 5,
    columns: Width = "two",
    methods: Sequence[str] = (),
    layers: Mapping[str, ProbedLayer] | None = None,
) -> Drawn:
    """Draws units of a run, side by side in a figure of two columns. Call it from `write_figure`.

    Args:
        run: the run.
        choice: the units.
        exemplars: images per unit.
        columns: the width of the figure.
        methods: the methods to draw; default: all of the run.
        layers: the layers of the run; None: values and images are opened through the run.

    Raises:
        InputError: if the activations or the images of the run are no longer available.
    """
    one_of("--width", columns, list(WIDTHS))
    at_least("--exemplars", exemplars, 1)
    records = selected_records(run, methods)
    not_selected = [unit for unit in choice.units if unit not in records]
    if not_selected:
        raise InputError(
            f"the last command of {run.path} did not select unit {not_selected[0].index} of layer "
            f"{not_selected[0].layer}",
            "rerun the run with these layers, units and methods; nothing is described again",
        )
    assert run.selection is not None  # `selected_records` raises an error otherwise
    names = [name for name in run.selection.methods if not methods or name in methods]
    per_row = 2 if columns == "two" and len(choice.units) > 1 else 1
    total = WIDTHS[columns] * 72
    block = (total - 2 * MARGIN - (per_row - 1) * GUTTER) / per_row
    side = min(LARGEST, (block - (exemplars - 1) * GAP) / exemplars)
    missing: set[str] = set()
    shown = [_Unit(run, unit, records[unit], exemplars, layers) for unit in choice.units]
    blocks = [_block(unit, names, block, side, missing) for unit in shown]
    figure = _draw(blocks, per_row, total, block, side)
    notes = missing_note(missing)
    if figure.get_figheight() > PAGE_HEIGHT:
        notes.append(
            f"the figure is {figure.get_figheight():.1f} inches high, more than a page has: draw fewer "
            "units or methods"
        )
    content = {"units": [unit.to_json() for unit in shown]}
    title = f"Descriptions of {len(choice.units)} units of {run.selection.target}"
    return Drawn(figure, title, _caption(run, choice, names, exemplars), content, notes)


class _Unit:
    """A unit with what is drawn of it.

    Attributes:
        unit: the unit.
        records: its records by method.
        images: its exemplars, in descending order of value.
        reference: its true texts, "" if they are not known.
    """

    def __init__(
        self,
        run: FinishedRun,
        unit: UnitId,
        records: Mapping[str, Description],
        exemplars: int,
        layers: Mapping[str, ProbedLayer] | None,
    ) -> None:
        if layers is None:
            values = stored_values(run, unit.layer)
            probe = stored_images(run, values)
        else:
            values = layers[unit.layer]
            probe = values.probe
        strongest = values.exemplars(unit.index, exemplars)
        self.unit, self.records = unit, records
        self.indices, self.values = strongest.indices.tolist(), strongest.values.tolist()
        self.paths = [probe.locate(index) for index in self.indices]
        self.images = [probe.image(index) for index in self.indices]
        self.reference = " | ".join(_references(run, unit))

    def to_json(self) -> dict[str, Any]:
        """Returns what is drawn, JSON-able."""
        return {
            "layer": self.unit.layer,
            "unit": self.unit.index,
            "reference": self.reference or None,
            "exemplars": [
                {"image": image, "value": value, "path": path}
                for image, value, path in zip(self.indices, self.values, self.paths, strict=True)
            ],
            "descriptions": [
                {"method": method, "status": record.status, "text": record.text}
                for method, record in self.records.items()
            ],
        }


def _references(run: FinishedRun, unit: UnitId) -> Sequence[str]:
    rows = () if run.scores is None else score_rows(run.scores)
    of_unit = (r for r in rows if (r.target, r.layer, r.unit) == (unit.target, unit.layer, unit.index))
    return next((row.references for row in of_unit if row.references), ())


def _block(
    unit: _Unit, methods: Sequence[str], width_of_block: float, side: float, missing: set[str]
) -> _Block:
    """Lays the text of a unit out: each method's name, and its description with a hanging indent."""
    bold, plain = font(FONT_SIZE, bold=True), font(FONT_SIZE)
    labels = {method: f"{drawable(method_name(method), missing)}:" for method in methods}
    # Long names of methods get a line of their own, so that descriptions keep half of the width.
    indent = max(width(label, bold) for label in labels.values()) + 4
    own_line = indent > width_of_block / 2
    if own_line:
        indent = 8.0
    rows: list[tuple[int, _Line]] = []
    row = 0
    for number, method in enumerate(methods):
        for line in wrap(labels[method], bold, width_of_block):
            rows.append((row, _Line(0.0, line, color(number), bold=True)))
            row += 1
        row -= 0 if own_line else 1
        text, described = _text(unit.records.get(method))
        for line in wrap(drawable(text, missing), plain, width_of_block - indent):
            rows.append(
                (row, _Line(indent, line, "black" if described else "#777777", italic=not described))
            )
            row += 1
    heading = f"{unit.unit.layer}, unit {unit.unit.index}"
    if unit.reference:
        heading += f" (reference: {unit.reference})"
    heading = _cut(drawable(heading, missing), width_of_block)
    return _Block(heading, [_fitted(image, side) for image in unit.images], unit.values, rows, row)


def _text(record: Description | None) -> tuple[str, bool]:
    """Returns the description, or why there is none; and whether there is one."""
    if record is None:
        return "(no record)", False
    if record.text is None:
        return f"({record.status.replace('_', ' ')})", False
    return record.text or '""', True


def _cut(line: str, limit: float) -> str:
    """Returns a heading that fits its line."""
    bold = font(FONT_SIZE, bold=True)
    if width(line, bold) <= limit:
        return line
    return wrap(line, bold, limit - width("…", bold))[0] + "…"


def _fitted(image: Image, side: float) -> Image:
    """Returns the whole image, reduced to the resolution at which it is printed."""
    pixels = max(1, round(side / 72 * DPI))
    reduced = image.convert("RGB")
    reduced.thumbnail((pixels, pixels))  # keeps the aspect ratio and never enlarges
    return reduced


def _draw(blocks: Sequence[_Block], per_row: int, total: float, block: float, side: float) -> Figure:
    from matplotlib.figure import Figure

    rows = [blocks[start : start + per_row] for start in range(0, len(blocks), per_row)]
    heights = [max(one.height(side) for one in row) for row in rows]
    height = 2 * MARGIN + sum(heights) + BETWEEN * (len(rows) - 1)
    figure = Figure(figsize=(total / 72, height / 72))
    top = MARGIN
    for row, row_height in zip(rows, heights, strict=True):
        for column, one in enumerate(row):
            _draw_block(figure, one, MARGIN + column * (block + GUTTER), top, side)
        top += row_height + BETWEEN
    return figure


def _draw_block(figure: Figure, block: _Block, left: float, top: float, side: float) -> None:
    total, height = (72 * size for size in figure.get_size_inches())

    def write(line: _Line, y: float) -> None:
        figure.text(
            (left + line.left) / total,
            1 - (y + FONT_SIZE) / height,  # the baseline
            line.text,
            color=line.color,
            fontproperties=font(FONT_SIZE, bold=line.bold, italic=line.italic),
            parse_math=False,
        )

    write(_Line(0.0, block.heading, bold=True), top)
    for number, image in enumerate(block.images):
        bottom = top + LINE + GAP + side
        axes = figure.add_axes(
            ((left + number * (side + GAP)) / total, 1 - bottom / height, side / total, side / height)
        )
        axes.set_axis_off()
        axes.imshow(image, interpolation="none")
    for row, line in block.rows:
        write(line, top + LINE + GAP + side + GAP + row * LINE)


def _caption(run: FinishedRun, choice: UnitChoice, methods: Sequence[str], exemplars: int) -> str:
    target = run.models.get("target", choice.units[0].target)
    probe = run.models.get("probing set")
    count = len(choice.units)
    images = (
        f"the {exemplars} images with the highest values"
        if exemplars > 1
        else "the image with the highest value"
    )
    sentences = [
        f"Descriptions of {count} unit{'s' if count > 1 else ''} of {target} by "
        f"{', '.join(method_name(method) for method in methods)}.",
        f"Above the descriptions: {images}{f' in {probe}' if probe else ''}, in descending order.",
        choice.sentence,
    ]
    if MADE_FOR_TINYWORLD in run.models:
        sentences.append(f"{MADE_FOR_TINYWORLD}: {run.models[MADE_FOR_TINYWORLD]}.")
    return " ".join(sentences)
