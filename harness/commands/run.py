"""`dissectbench run`: prints the plan, runs the job, prints its tables."""

from __future__ import annotations

import argparse

from .. import exit_codes
from ..config import compose
from ..finished_run import FinishedRun
from ..parts import assemble, check_models
from ..plan import print_plan
from ..progress import Progress
from ..run import execute
from ..run_folder import SKIPPED
from .console import notices, show, show_json, terminal


def run_command(options: argparse.Namespace) -> int:
    """Runs a job, see `dissectbench.harness.run.run`. Exit code 3 if some units failed."""
    from ...results.tables.json_format import to_json
    from ...results.tables.run_tables import run_tables

    settings = compose(options.settings, config_dir=options.config_dir)
    console = notices(as_json=options.json)
    parts = assemble(settings)
    if options.dry_run:
        console.print(settings.text, highlight=False, markup=False)
    print_plan(parts, options.runs, console, retry_failed=options.retry_failed)
    if options.dry_run:
        check_models(parts)
        return exit_codes.OK
    finished = execute(parts, runs=options.runs, retry_failed=options.retry_failed, progress=Progress())
    tables = run_tables(finished)
    if options.json:
        show_json({**summary(finished), "tables": [to_json(table) for table in tables]})
    else:
        show(tables, "terminal", terminal())
        console.print(f"results: {finished.path}", highlight=False, markup=False)
    skipped = finished.skipped_images
    if skipped:
        console.print(
            f"[yellow]unreadable images left out: {len(skipped)}[/]; see {finished.path / SKIPPED}",
            highlight=False,
        )
    failed = finished.details.failed_units
    if failed:
        console.print(
            f"[red]{failed} units failed[/]: their records say why; rerun with --retry-failed to try "
            "them again"
        )
    return exit_codes.FAILED_UNITS if failed else exit_codes.OK


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
