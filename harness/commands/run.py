"""`dissectbench run`: prints the plan, runs the job, prints its tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.markup import escape

from ...results.tables.json_format import to_json
from ...results.tables.run_tables import run_tables
from .. import exit_codes
from ..config import compose
from ..errors import InputError
from ..finished_run import FinishedRun
from ..parts import assemble, check_models, run_name
from ..plan import print_plan
from ..progress import Progress
from ..report import REPORT
from ..run import execute
from ..run_folder import SKIPPED
from ..sweeps import expand
from .console import notices, show, show_json, terminal
from .leaderboard import write_leaderboard_of

LEADERBOARD = "leaderboard"
"""Folder, in that of all runs, of the leaderboard of the last sweep."""


def run_command(options: argparse.Namespace) -> int:
    """Runs a job, see `dissectbench.harness.run.run`. Exit code 3 if some units failed."""
    if options.multirun:
        return _sweep(options)
    finished = _run(options.settings, options)
    if finished is None:
        return exit_codes.OK
    if options.json:
        show_json(_content(finished))
    return _code(finished)


def _sweep(options: argparse.Namespace) -> int:
    """Runs every combination of settings with several values; a run that cannot start ends no other."""
    console = notices(as_json=options.json)
    combinations = expand(options.settings)
    runs, errors = [], 0
    for number, combination in enumerate(combinations, 1):
        title = " ".join(combination.overrides)
        console.print(f"[bold]run {number} of {len(combinations)}:[/] {escape(title)}", highlight=False)
        try:
            finished = _run(combination.overrides, options, suffix=combination.suffix)
        except InputError as error:
            print(f"dissectbench: {error}", file=sys.stderr)  # noqa: T201
            errors += 1
        else:
            runs += [finished] if finished else []
    page = write_leaderboard_of(runs, options.runs / LEADERBOARD) if runs else None
    if options.json:
        show_json({"runs": [_content(run) for run in runs], "failed": errors, "leaderboard": str(page)})
    elif page:
        console.print(f"leaderboard: {page}", highlight=False, markup=False, soft_wrap=True)
    if errors:
        console.print(f"[red]{errors} of {len(combinations)} runs failed[/]", highlight=False)
        return exit_codes.INVALID_INPUT
    return max(map(_code, runs), default=exit_codes.OK)


def _run(
    overrides: Sequence[str], options: argparse.Namespace, *, suffix: str = ""
) -> FinishedRun | None:
    """Prints the plan, runs one job and prints its tables; None after `--dry-run`."""
    settings = compose(overrides, config_dir=options.config_dir)
    console = notices(as_json=options.json)
    parts = assemble(settings)
    if suffix:
        parts = replace(parts, settings=settings.renamed(f"{run_name(parts)}-{suffix}"))
    if options.dry_run:
        console.print(parts.settings.text, highlight=False, markup=False)
    print_plan(parts, options.runs, console, retry_failed=options.retry_failed)
    if options.dry_run:
        check_models(parts)
        return None
    finished = execute(parts, runs=options.runs, retry_failed=options.retry_failed, progress=Progress())
    if not options.json:
        show(run_tables(finished), "terminal", terminal())
        console.print(f"results: {finished.path}", highlight=False, markup=False)
        if settings.config.report:
            page = finished.path / REPORT / "index.html"
            console.print(f"report:  {page}", highlight=False, markup=False, soft_wrap=True)
    _print_gaps(finished, console)
    return finished


def _print_gaps(finished: FinishedRun, console: Console) -> None:
    """Prints how many images and units the results lack, and where the reasons are."""
    skipped, failed = finished.skipped_images, finished.details.failed_units
    if skipped:
        console.print(
            f"[yellow]unreadable images left out: {len(skipped)}[/]; see {finished.path / SKIPPED}",
            highlight=False,
        )
    if failed:
        console.print(
            f"[red]{failed} units failed[/]: their records say why; rerun with --retry-failed to try "
            "them again"
        )


def _code(finished: FinishedRun) -> int:
    return exit_codes.FAILED_UNITS if finished.details.failed_units else exit_codes.OK


def _content(finished: FinishedRun) -> dict[str, object]:
    tables = [to_json(table) for table in run_tables(finished)]
    return {**summary(finished), "tables": tables}


def summary(run: FinishedRun) -> dict[str, object]:
    """Returns what identifies a run and how it ended, JSON-able."""
    details = run.details
    return {
        "run": str(run.path),
        "status": details.state,
        "started": details.started,
        "ended": details.ended,
        "failed_units": details.failed_units,
        "error": details.error,
    }
