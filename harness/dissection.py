"""What `dissect` returns: descriptions, activations, units to look at, the report and figures."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import InputError, one_of
from .finished_run import FinishedRun
from .records import Description, UnitId
from .report import report_run, unit_html
from .run_folder import Selection

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from .activations.stored_layer import StoredLayer
    from .probe import Exemplars
    from .progress import Progress

_COLUMNS = ("layer", "unit", "method", "description", "status", "score")


@dataclass(frozen=True, repr=False)
class Dissection:
    """The descriptions of a model in memory, with its activations. A notebook shows a summary.

    Attributes:
        run: the run, read from its folder: records with evidence, time and cost, settings.
        layers: the layers by name. A layer has `values` [images, units], `exemplars(unit, k)` and
            `maps(images)`, see `ProbedLayer`.

    Example:
        >>> result["layer4", 17]                                                     # doctest: +SKIP
        >>> result.report()                                                          # doctest: +SKIP
    """

    run: FinishedRun
    layers: Mapping[str, StoredLayer]

    @property
    def descriptions(self) -> pd.DataFrame:
        """One row per method, layer and unit: layer, unit, method, description, status, score."""
        return _frame(self.run.records)

    def unit(self, layer: str, index: int) -> DissectedUnit:
        """Returns one unit, also written as `result[layer, index]`. A notebook shows its section.

        Raises:
            InputError: if the unit was not asked for.
        """
        units = self._selection.units
        one_of("layer", layer, list(units))
        if index not in units[layer]:
            chosen = units[layer]
            near = sorted(sorted(chosen, key=lambda unit: abs(unit - index))[:5])
            raise InputError(
                f"unit {index} of layer {layer} is not one of the {len(chosen)} that were asked for",
                f"the nearest are {', '.join(map(str, near))}; describe it too: units=[{index}]",
            )
        return DissectedUnit(self.run, self.layers[layer], int(index))

    def __getitem__(self, unit: tuple[str, int]) -> DissectedUnit:
        return self.unit(*unit)

    def __iter__(self) -> Iterator[DissectedUnit]:
        for layer, units in self._selection.units.items():
            for index in units:
                yield self.unit(layer, index)

    def __len__(self) -> int:
        return sum(map(len, self._selection.units.values()))

    def report(
        self, folder: str | os.PathLike[str] | None = None, *, progress: Progress | None = None
    ) -> Path:
        """Writes the page of the run, with images also of a model and images in memory.

        Args:
            folder: the folder to write; None: `report` in the folder of the run.
            progress: shows the pass over the maps, if they are not in the cache.

        Returns:
            The path of the page, to open in a browser.
        """
        return report_run(
            self.run, None if folder is None else Path(folder), layers=self.layers, progress=progress
        )

    def figure(
        self,
        units: Sequence[tuple[str, int]] | Literal["random", "best", "worst", "disagree"],
        path: str | os.PathLike[str],
        *,
        per_layer: int = 2,
        seed: int = 0,
        exemplars: int = 5,
        width: Literal["one", "two"] = "two",
        methods: Sequence[str] = (),
    ) -> Path:
        """Writes a figure of units for a paper, and its caption next to it as `.txt`.

        Args:
            units: pairs of layer and unit, or the rule by which they are chosen, see `choose_units`.
            path: the file; its suffix is .pdf, .svg or .png.
            per_layer: how many units of each layer a rule chooses.
            seed: of a rule.
            exemplars: images per unit.
            width: as wide as one or both columns of a page of two columns.
            methods: the methods to draw; default: all.

        Returns:
            The path of the file.
        """
        from ..results.figures import choose_units, chosen_by_hand, draw_units, write_figure

        if isinstance(units, str):
            choice = choose_units(self.run, units, per_layer=per_layer, seed=seed, methods=methods)
        else:
            choice = chosen_by_hand([self.unit(*unit).id for unit in units])
        write_figure(
            lambda: draw_units(
                self.run,
                choice,
                exemplars=exemplars,
                columns=width,
                methods=methods,
                layers=self.layers,
            ),
            Path(path),
        )
        return Path(path)

    @property
    def _selection(self) -> Selection:
        selection = self.run.selection
        assert selection is not None  # `dissect` describes units
        return selection

    def _summary(self) -> tuple[str, list[tuple[str, str, str]]]:
        """Returns the first line, and of each layer its name, its units and the shape of its maps."""
        selection = self._selection
        images = len(next(iter(self.layers.values())).probe)
        line = f"{selection.target}, {images} images, {', '.join(selection.methods)}; run {self.run.path}"
        rows = []
        for name, units in selection.units.items():
            layer = self.layers[name]
            shape = "x".join(map(str, layer.map_shape))
            rows.append((name, f"{len(units)} of {layer.n_units} units", f"maps {shape}"))
        return line, rows

    def __repr__(self) -> str:
        line, rows = self._summary()
        return "\n".join([f"Dissection of {line}", *(f"  {'  '.join(row)}" for row in rows)])

    def _repr_html_(self) -> str:
        from html import escape

        line, rows = self._summary()
        cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<p>Dissection of {escape(line)}</p><table><tbody>{body}</tbody></table>"


@dataclass(frozen=True, repr=False)
class DissectedUnit:
    """One unit of a `Dissection`: printed as text, and shown in a notebook as its section of the report.

    Attributes:
        run: the run.
        layer: its layer.
        index: the index of the unit, 0-based.
    """

    run: FinishedRun
    layer: StoredLayer
    index: int

    @property
    def id(self) -> UnitId:
        """The identifier of the unit in records."""
        return self.layer.unit(self.index)

    @property
    def descriptions(self) -> pd.DataFrame:
        """One row per method, as in `Dissection.descriptions`."""
        return _frame([record for record in self.run.records if record.unit == self.id])

    @property
    def values(self) -> NDArray[np.float32]:
        """The value of each image, float32 [images]."""
        return self.layer.values[:, self.index]

    def exemplars(self, k: int = 10) -> Exemplars:
        """Returns the (at most) `k` images with the highest values."""
        return self.layer.exemplars(self.index, k)

    def to_html(self) -> str:
        """Returns the section of the unit: images with regions, histogram, descriptions and evidence.

        It can be a part of any page: it has its images and a style of its own, and no script.
        """
        return unit_html(self.run, self.id, layers={self.layer.name: self.layer})

    def to_json(self) -> dict[str, Any]:
        """Returns everything that is recorded about the unit, JSON-able; see `UnitView`."""
        from ..results.unit_view import unit_view

        return unit_view(self.run, self.id, layer=self.layer).to_json()

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        from rich.console import Console

        from ..results.unit_text import print_unit
        from ..results.unit_view import unit_view

        text = io.StringIO()
        # Rich would display each line in a notebook, instead of writing it to the file.
        console = Console(file=text, width=100, color_system=None, force_jupyter=False)
        print_unit(unit_view(self.run, self.id, layer=self.layer), console, self.run.metrics)
        # Wrapped lines are padded with spaces.
        return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())


def _frame(records: Sequence[Description]) -> pd.DataFrame:
    import pandas as pd

    rows = [(d.unit.layer, d.unit.index, d.method, d.text, d.status, d.score) for d in records]
    return pd.DataFrame(rows, columns=list(_COLUMNS))
