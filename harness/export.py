"""Exports the descriptions of a run in the file layouts of the original programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from .errors import InputError, one_of
from .finished_run import FinishedRun
from .records import Description

if TYPE_CHECKING:
    from ..results.exporters.descriptions import OriginalLayout

# Whose descriptions a layout is meant for, where a run has several methods.
_USUAL_METHODS: dict[str, tuple[str, ...]] = {
    "clip_dissect": ("clip_dissect",),
    "milan": ("milan", "milan_tinyworld"),
    "dnd": ("describe_and_dissect",),
    "netdissect": ("network_dissection",),
}
# These layouts have no column for the layer.
_ONE_LAYER_PER_FILE = ("dnd", "netdissect")


@dataclass(frozen=True)
class Exported:
    """One file that was written.

    Attributes:
        path: the file.
        units: how many units it has.
        left_out: how many selected units were left out, because the layout cannot represent a unit
            without a description.
    """

    path: Path
    units: int
    left_out: int


def export_run(
    run: FinishedRun,
    layout: OriginalLayout,
    folder: Path,
    *,
    method: str | None = None,
    layers: Sequence[str] = (),
) -> list[Exported]:
    """Writes the selected descriptions of one method in the layout of an original program.

    "clip_dissect" and "milan" name the layer in a column: one file, `<method>.csv`. "dnd" and
    "netdissect" do not: one file per layer, `<method>_<layer>.csv`. The layouts are described at
    `write_original_csv`.

    Args:
        run: a finished run.
        layout: whose layout.
        folder: where the files are written.
        method: whose descriptions; default: the layout's own method, or the only one of the run.
        layers: which layers; default: all of the run.

    Raises:
        InputError: if the run has no such method or layer, if the layout needs evidence that the
            method does not record, or if a file cannot be written.
    """
    from ..results.exporters.descriptions import OriginalLayout

    one_of("--layout", layout, get_args(OriginalLayout))
    selection = run.selection
    if selection is None:
        raise InputError(f"{run.path} has scores and no descriptions", "export the folder of a run")
    method = _method(layout, method, selection.methods)
    chosen = [one_of("--layer", layer, list(selection.units)) for layer in layers] or list(
        selection.units
    )
    records = [r for r in run.records if r.method == method and r.unit.layer in chosen]
    if layout not in _ONE_LAYER_PER_FILE:
        return [_export(records, layout, folder / f"{method}.csv")]
    return [
        _export([r for r in records if r.unit.layer == layer], layout, folder / f"{method}_{layer}.csv")
        for layer in chosen
    ]


def _method(layout: str, method: str | None, methods: Sequence[str]) -> str:
    if method is not None:
        return one_of("--method", method, methods)
    usual = [name for name in _USUAL_METHODS[layout] if name in methods] or list(methods)
    if len(usual) != 1:
        raise InputError(
            f"the run has several methods: {', '.join(methods)}", "choose one: --method NAME"
        )
    return usual[0]


def _export(records: Sequence[Description], layout: OriginalLayout, path: Path) -> Exported:
    from ..results.exporters.descriptions import write_original_csv

    left_out = write_original_csv(records, path, layout, leave_out_undescribed=True)
    return Exported(path, len(records) - len(left_out), len(left_out))
