"""`dissectbench figure`: writes figures of finished runs for papers, with their captions."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import exit_codes
from ..errors import InputError, one_of
from ..finished_run import FinishedRun
from .console import notices, show_json, terminal

if TYPE_CHECKING:
    from ...results.figures.writing import Drawn


def figure_command(options: argparse.Namespace) -> int:
    """Draws units or scores, see `dissectbench.results.figures`, and prints the caption."""
    from ...results.figures import KINDS, write_figure

    one_of("--kind", options.kind, ("units", *KINDS))
    runs = [FinishedRun(folder).require_finished() for folder in options.folders]
    draw = _units(options, runs) if options.kind == "units" else _scores(options, runs)
    path = options.out or runs[0].path / "figures" / f"{options.kind}.pdf"
    drawn = write_figure(draw, path)
    for note in drawn.notes:
        notices(as_json=True).print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    if options.json:
        show_json(_content(path, options, drawn))
        return exit_codes.OK
    for line in (drawn.caption, f"figure: {path}", f"caption: {path.with_suffix('.txt')}"):
        terminal().print(line, highlight=False, markup=False, soft_wrap=True)
    return exit_codes.OK


def _units(options: argparse.Namespace, runs: list[FinishedRun]) -> Callable[[], Drawn]:
    from ...results.figures import choose_units, chosen_by_hand, draw_units
    from ...results.unit_view import find_units

    if len(runs) > 1:
        raise InputError(f"{len(runs)} runs are given", "--kind units draws the units of one run")
    if (options.units is None) == (options.select is None):
        raise InputError("give either --units or --select", "such as --units layer4:17,fc:3")
    if options.units is not None:
        names = [name.strip() for name in options.units.split(",") if name.strip()]
        if not names:
            raise InputError("--units names no unit", "such as --units layer4:17,fc:3")
        choice = chosen_by_hand(find_units(runs[0], names))
    else:
        if len(options.metric) > 1:
            raise InputError("--select uses one metric", "give --metric once")
        choice = choose_units(
            runs[0],
            options.select,
            per_layer=options.per_layer,
            seed=options.seed,
            layers=options.layer,
            methods=options.method,
            metric=next(iter(options.metric), None),
        )
    return lambda: draw_units(
        runs[0], choice, exemplars=options.exemplars, columns=options.width, methods=options.method
    )


def _scores(options: argparse.Namespace, runs: list[FinishedRun]) -> Callable[[], Drawn]:
    from ...results.figures import draw_scores

    if options.units is not None or options.select is not None:
        raise InputError("--units and --select choose units of --kind units", "leave them out")
    return lambda: draw_scores(
        options.kind,
        runs,
        metrics=options.metric,
        layers=options.layer,
        methods=options.method,
        columns=options.width,
    )


def _content(path: Path, options: argparse.Namespace, drawn: Drawn) -> dict[str, object]:
    width, height = drawn.figure.get_size_inches().tolist()
    return {
        "figure": str(path),
        "caption_file": str(path.with_suffix(".txt")),
        "kind": options.kind,
        "size_inches": [width, height],
        "caption": drawn.caption,
        "notes": list(drawn.notes),
        **drawn.content,
    }
