"""Builds the tables of a run, at its end and whenever they are printed again."""

from __future__ import annotations

from dataclasses import replace

from ...harness.finished_run import FinishedRun
from ...harness.scores import references_by_unit
from ...harness.tinyworld_models import MADE_FOR_TINYWORLD
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
    # The examples need no list of models, except of those whose descriptions mean nothing here.
    warning = {key: value for key, value in run.models.items() if key == MADE_FOR_TINYWORLD}
    tables: list[Table] = []
    if selection is not None:
        tables.append(overview_table(run.records, spent=run.spent, models=run.models, **sampling))
        if scores is not None and selection.scored_layer is not None:
            final = scores.loc[scores["layer"] == selection.scored_layer]
            examples = examples_table(run.records, references_by_unit(final), selection.scored_layer)
            tables.append(replace(examples, footer=warning))
    if scores is not None:
        tables += score_tables(scores, run.metrics, models=run.models, **sampling)
    return tables
