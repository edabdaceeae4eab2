"""Scores files of descriptions against references. No vision model is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .config import Settings, build
from .errors import InputError
from .files import atomic_open, write_json
from .finished_run import FinishedRun
from .parts import build_all
from .records import UnitId
from .run import named_models
from .run_folder import CONFIG, METRICS, MODELS, SCORES, RunFolder
from .scores import MetricInfo, write_metrics, write_scores

if TYPE_CHECKING:
    import pandas as pd

    from ..datasets.references import References
    from ..metrics.metric import Metric
    from ..metrics.unscored import Prediction
    from ..results.importers.description_file import DescriptionFile
    from ..results.importers.layout_files import Layout

Reduce = Literal["best", "mean", "both"]


@dataclass(frozen=True)
class ScoredFiles:
    """Description files and their scores.

    Attributes:
        settings: the configuration they were scored with.
        files: the files as read, with their layouts and oddities.
        scores: the score table, see `harness.scores`.
        models: the references and the models of the metrics, for tables.
        metrics: the properties of the metrics, by name.
    """

    settings: Settings
    files: Sequence[DescriptionFile]
    scores: pd.DataFrame
    models: dict[str, str]
    metrics: Mapping[str, MetricInfo]

    def write(self, folder: Path) -> FinishedRun:
        """Writes scores and tables to a folder, which `dissectbench table` reads like a run's.

        Raises:
            InputError: if the folder is a run with descriptions, or cannot be written to.
        """
        from ..results.tables.render import write_tables
        from ..results.tables.run_tables import run_tables

        # `RunFolder` creates an empty descriptions.jsonl for scores too; only a run has a
        # selection.json.
        if (folder / "descriptions.jsonl").exists() and (folder / "selection.json").exists():
            raise InputError(f"{folder} is the folder of a run", "choose another folder: --out DIR")
        with RunFolder(folder) as opened, opened.tracked():
            write_scores(self.scores, folder / SCORES)
            with atomic_open(folder / CONFIG) as file:
                file.write(self.settings.text)
            write_json(folder / MODELS, self.models, sort_keys=False)
            write_metrics(self.metrics, folder / METRICS)
            write_tables(run_tables(FinishedRun(folder)), folder / "tables")
            opened.finish(failed_units=0)
        return FinishedRun(folder)


def score_files(
    paths: Sequence[Path],
    settings: Settings,
    *,
    layer: str,
    reduce: Reduce = "best",
    layout: Layout | None = None,
) -> ScoredFiles:
    """Scores the descriptions of one layer in one or several files, in one table.

    Args:
        paths: CSV files in any layout that `read_descriptions_csv` recognises.
        settings: a composed configuration of the root "score".
        layer: the layer whose rows are scored.
        reduce: how the scores of several references of a unit become one: the "best", their "mean", or
            "both", in separate columns.
        layout: the layout of the files; by default recognised by the header of each file.

    Raises:
        InputError: for files or settings that cannot be used, or a unit beyond the references.
    """
    from ..metrics.activation import ActivationMetric
    from ..metrics.scoring import score_descriptions
    from ..metrics.unscored import Prediction
    from ..results.importers.descriptions_csv import read_descriptions_csv

    config = settings.config
    references: References = build(config.references, "references")
    files = [read_descriptions_csv(path, layer=layer, layout=layout) for path in paths]
    predictions = [
        # Files do not name the target that they describe.
        Prediction(UnitId("files", row.layer, row.unit), row.method, row.text, row.status)
        for file in files
        for row in file.rows
    ]
    _check_units(predictions, references)
    metrics = build_all(config.get("metric"), "metric")
    for metric in metrics:
        if isinstance(metric, ActivationMetric):
            raise InputError(
                f"{metric.name} needs the activations of a target, which files do not have",
                "choose it in `dissectbench run`",
            )
    if not metrics:
        raise InputError("no metric is chosen", "choose some: metric=[minilm_cosine,synonym_accuracy]")
    metrics, rule = _over_references(metrics, reduce, references)
    scores = score_descriptions(
        predictions, references, metrics, control_text=config.table.control_text, seed=config.seed
    )
    models = {"references": references.name + rule}
    for metric in metrics:
        models |= named_models(metric)
    return ScoredFiles(settings, files, scores, models, {m.name: m.info() for m in metrics})


def _over_references(
    metrics: list[Metric], reduce: Reduce, references: References
) -> tuple[list[Metric], str]:
    """Returns the metrics for units with several references, and the rule in words for the tables."""
    from ..metrics.over_references import MeanOverReferences

    most = max(len(texts) for texts in references.texts)
    averaged: list[Metric] = [MeanOverReferences(metric) for metric in metrics]
    chosen = {"best": metrics, "mean": averaged, "both": [*metrics, *averaged]}[reduce]
    rules = {
        "best": "the best counts",
        "mean": "their mean counts",
        "both": "the best counts, and their mean in columns that end in _mean",
    }
    return chosen, f", up to {most} texts per unit: {rules[reduce]}" if most > 1 else ""


def _check_units(predictions: Sequence[Prediction], references: References) -> None:
    outside = [p for p in predictions if p.unit.index >= len(references.texts)]
    if outside:
        first, last = outside[0], max(p.unit.index for p in outside)
        raise InputError(
            f"{first.method} describes unit {first.unit.index} of {first.unit.layer}, but "
            f"{references.name} names {len(references.texts)} units (0 to {len(references.texts) - 1})",
            "give the references of this layer: --references FILE with one line per unit; for a layer "
            f"of MILANNOTATIONS with more units than were annotated: references.units={last + 1}",
        )
