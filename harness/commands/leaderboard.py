"""`dissectbench leaderboard`: submits runs as bundles, validates bundles, builds a leaderboard."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .. import exit_codes
from ..errors import InputError
from ..finished_run import FinishedRun
from .console import notices, show_json, terminal

if TYPE_CHECKING:
    from ...results.leaderboard.bundle import Bundle
    from ...results.leaderboard.validate import Recomputable


def submit_command(options: argparse.Namespace) -> int:
    """Writes the bundle of a finished run."""
    from ...results.leaderboard.bundle import bundle_of_run, write_bundle

    bundle = bundle_of_run(FinishedRun(options.folder))
    write_bundle(bundle, options.out)
    if options.json:
        show_json({"bundle": str(options.out), "id": bundle.id, "bytes": options.out.stat().st_size})
    else:
        _print(f"{options.out}: {options.out.stat().st_size:,} bytes, id {bundle.id[:12]}")
    return exit_codes.OK


def validate_command(options: argparse.Namespace) -> int:
    """Checks bundles and prints the result of each; exit code 2 if one is refused."""
    from ...results.leaderboard.reading import read_bundle
    from ...results.leaderboard.validate import validate

    results = []
    for path in options.files:
        try:
            bundle = read_bundle(path)
            report = validate(bundle, _exact_metrics())
            results.append({"bundle": str(path), "valid": True, "id": bundle.id, **asdict(report)})
        # All files are checked: the reasons of the others are needed too.
        except InputError as error:
            results.append({"bundle": str(path), "valid": False, "reason": str(error)})
    if options.json:
        show_json({"bundles": results})
    else:
        for result in results:
            _print(_sentence(result))
    return exit_codes.OK if all(result["valid"] for result in results) else exit_codes.INVALID_INPUT


def build_command(options: argparse.Namespace) -> int:
    """Writes a leaderboard of bundles and runs, prints the ranks and the path of its page."""
    from ...results.leaderboard.boards import build
    from ...results.leaderboard.formats import ranks, to_json
    from ...results.leaderboard.writing import write_leaderboard

    bundles = [_bundle(path) for path in options.sources]
    leaderboard = build(bundles, baseline=options.baseline)
    written = write_leaderboard(leaderboard, options.out)
    if options.json:
        show_json(to_json(leaderboard))
    else:
        for line in ranks(leaderboard):
            _print(line)
    notices(as_json=options.json).print(
        f"leaderboard: {written[-1]}", highlight=False, markup=False, soft_wrap=True
    )
    return exit_codes.OK


def write_leaderboard_of(runs: Sequence[FinishedRun], out: Path) -> Path:
    """Writes a leaderboard of finished runs; returns the path of its page."""
    from ...results.leaderboard.boards import build
    from ...results.leaderboard.bundle import bundle_of_run
    from ...results.leaderboard.writing import write_leaderboard

    return write_leaderboard(build([bundle_of_run(run) for run in runs]), out)[-1]


def _bundle(path: Path) -> Bundle:
    from ...results.leaderboard.bundle import bundle_of_run
    from ...results.leaderboard.reading import read_bundle
    from ...results.leaderboard.validate import validate

    bundle = bundle_of_run(FinishedRun(path)) if path.is_dir() else read_bundle(path)
    validate(bundle, _exact_metrics())
    return bundle


def _exact_metrics() -> list[Recomputable]:
    """Returns the metrics that need no model."""
    from ...metrics.accuracy import ExactAccuracy, SynonymAccuracy

    return [ExactAccuracy(), SynonymAccuracy()]


def _sentence(result: dict) -> str:
    if not result["valid"]:
        return f"refused: {result['reason']}"
    parts = [f"{result['descriptions']} descriptions, {result['scores']} scores"]
    if result["metrics"]:
        parts.append(f"computed again: {', '.join(result['metrics'])}")
    if result["not_recomputed"]:
        parts.append(f"needs a model: {', '.join(result['not_recomputed'])}")
    return f"valid: {result['bundle']}: {'; '.join(parts)}"


def _print(text: str) -> None:
    terminal().print(text, highlight=False, markup=False, soft_wrap=True)
