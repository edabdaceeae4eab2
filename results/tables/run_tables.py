"""Builds the tables of a run, at its end and whenever they are printed again."""

from __future__ import annotations

from ...harness.finished_run import FinishedRun
from ...harness.scores import references_by_unit
from .examples import examples_table
from .overview import overview_table
from .scores import score_tables
from .table import Table


def run_tables(run: FinishedRun) -> list[Table]:
    """Returns the overview, examples of the scored layer, comparisons, and the leaderboard last.

    They contain only what the last command selected, even if the folder contains more. A folder that
    `dissectbench score --out` wrote has scores and no descriptions: only its score tables are returned.
    """
    config, selection, scores = run.settings, run.selection, run.scores
    sampling = {"seed": config.seed, "n_resamples": config.table.resamples}
    tables: list[Table] = []
    if selection is not None:
        tables.append(overview_table(run.records, spent=run.spent, models=run.models, **sampling))
        if scores is not None and selection.scored_layer is not None:
            tables.append(examples_table(run.records, references_by_unit(scores), selection.scored_layer))
    if scores is not None:
        tables += score_tables(scores, run.metrics, models=run.models, **sampling)
    return tables
