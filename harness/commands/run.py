"""`dissectbench run`, `score` and `table`: from settings to tables on the terminal and on the disk."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..config import build, compose
from ..errors import InputError
from ..files import read_json, write_json
from ..journal import read_descriptions
from ..progress import Progress
from ..records import Description, UnitId
from ..run import (
    Parts,
    activations,
    assemble,
    build_all,
    describe_all,
    open_folder,
    score_final_layer,
)
from ..scores import (
    MetricInfo,
    read_metrics,
    read_scores,
    references_by_unit,
    write_metrics,
    write_scores,
)

if TYPE_CHECKING:
    import pandas as pd

    from ...datasets.references import References
    from ...methods.method import Method
    from ...metrics.metric import Metric
    from ...results.tables.table import Table

# Wide enough for a leaderboard where the output goes to a file.
WIDTH = 160


def run_command(options: argparse.Namespace) -> int:
    """Runs the main job; see `run`. Exit code 3 if some units failed."""
    from ...results.exporters.descriptions import write_descriptions
    from ...results.tables.render import write_tables
    from ..plan import print_plan

    settings = compose(options.settings, config_dir=options.config_dir)
    console = terminal()
    parts = assemble(settings)
    if options.dry_run:
        console.print(settings.text, highlight=False, markup=False)
        print_plan(parts, options.runs, console, retry_failed=options.retry_failed)
        return 0
    print_plan(parts, options.runs, console, retry_failed=options.retry_failed)
    progress = Progress()
    with open_folder(parts, options.runs) as folder:
        layers = activations(parts.taps, parts.probe, parts.activation_settings, options.runs, progress)
        describe_all(parts, layers, folder, progress, retry_failed=options.retry_failed)
        records = _chosen(parts, folder.journal.latest)
        scores = score_final_layer(parts, folder)
        models = models_behind(parts)
        write_json(folder.path / "models.json", models)
        # Without scores no metric was used, and its model may not be installed.
        infos = {metric.name: metric.info() for metric in parts.metrics if scores is not None}
        write_metrics(infos, folder.path / "metrics.json")
        tables = _tables(parts, records, scores, infos, models)
        write_descriptions(records, folder.path / "descriptions.csv")
        write_tables(tables, folder.path / "tables")
        show(tables, "terminal", console)
        console.print(f"everything is in {folder.path}", highlight=False)
    failed = sum(record.status == "failed" for record in records)
    if failed:
        console.print(
            f"[red]{failed} units failed[/]: their records say why; --retry-failed tries them again"
        )
    return 3 if failed else 0


def _chosen(parts: Parts, latest: Mapping[tuple[UnitId, str], Description]) -> list[Description]:
    """Returns the records that the settings ask for, in the order of methods, layers and units."""
    keys = [
        (UnitId(parts.target.name, layer, unit), method.name)
        for method in parts.methods
        for layer in parts.layers
        for unit in parts.units[layer]
    ]
    return [latest[key] for key in keys if key in latest]


def models_behind(parts: Parts) -> dict[str, str]:
    """Returns what stands behind the numbers: target, probing set, models of methods and metrics."""
    named = {"target": parts.target.name, "probing set": f"{parts.probe.name}, {len(parts.probe)} images"}
    for component in (*parts.methods, *(parts.metrics if parts.final_layer else ())):
        named |= _named_models(component)
    return named


def _named_models(component: Method | Metric) -> dict[str, str]:
    """Names the models of a component; one that bears the component's own name needs no second one."""
    return {
        component.name if what == component.name else f"{component.name}, {what}": model
        for what, model in component.models().items()
    }


def _tables(
    parts: Parts,
    records: Sequence[Description],
    scores: pd.DataFrame | None,
    metrics: Mapping[str, MetricInfo],
    models: Mapping[str, str],
) -> list[Table]:
    """Returns the tables of a run, the scores last."""
    from ...results.tables.examples import examples_table
    from ...results.tables.overview import overview_table
    from ...results.tables.scores import score_tables

    config = parts.settings.config
    sampling = {"seed": config.seed, "n_resamples": config.table.resamples}
    tables: list[Table] = [overview_table(records, models=models, **sampling)]
    if scores is not None and parts.references is not None and parts.final_layer is not None:
        tables.append(examples_table(records, parts.references.texts, parts.final_layer))
        tables += score_tables(scores, metrics, models=models, **sampling)
    return tables


def score_command(options: argparse.Namespace) -> int:
    """Scores description files against references, in one table; runs no vision model."""
    from ...metrics.scoring import Prediction, score_descriptions
    from ...results.tables.render import write_tables
    from ...results.tables.scores import score_tables

    files = [Path(word) for word in options.settings if "=" not in word or Path(word).exists()]
    overrides = [word for word in options.settings if "=" in word and not Path(word).exists()]
    if not files:
        raise InputError("no file of descriptions is given", "dissectbench score FILE.csv --layer fc ...")
    settings = compose(
        [*_reference_overrides(options), *overrides], root="score", config_dir=options.config_dir
    )
    config, console = settings.config, terminal()
    references: References = build(config.references, "references")
    predictions = [
        Prediction(UnitId("files", row.layer, row.unit), row.method, row.text, row.status)
        for file in files
        for row in _rows(file, options.layer, console)
    ]
    _check_units(predictions, references, options.references)
    metrics = build_all(config.get("metric"), "metric")
    if not metrics:
        raise InputError("no metric is chosen", "choose some: metric=[minilm_cosine,synonym_accuracy]")
    metrics, rule = _over_references(metrics, options.over, references)
    scores = score_descriptions(
        predictions, references, metrics, control_text=config.table.control_text, seed=config.seed
    )
    models = {"references": references.name + rule}
    for metric in metrics:
        models |= _named_models(metric)
    sampling = {"seed": config.seed, "n_resamples": config.table.resamples}
    infos = {metric.name: metric.info() for metric in metrics}
    tables = score_tables(scores, infos, models=models, **sampling)
    if options.out:
        write_scores(scores, options.out / "scores.parquet")
        write_metrics(infos, options.out / "metrics.json")
        write_json(options.out / "models.json", models)
        write_tables(tables, options.out / "tables")
    show(tables, "terminal", console)
    return 0


def _reference_overrides(options: argparse.Namespace) -> list[str]:
    """Returns the overrides for `--references`: a choice, a file of lines, or annotations."""
    name = options.references
    kind, _, path = name.partition(":")
    if kind == "milannotations" and path:
        chosen = ["references=milannotations", f"references.path='{path}'"]
        chosen += [f"references.layer='{options.layer}'"]
    elif Path(name).is_file():
        chosen = ["references=file", f"references.path='{name}'"]
    elif Path(name).suffix or "/" in name:
        raise InputError(f"--references {name}: no such file")
    else:
        chosen = [f"references={name}"]
    return [*chosen, *(["++references.alternatives=true"] if options.alternatives else [])]


def _over_references(
    metrics: list[Metric], over: str, references: References
) -> tuple[list[Metric], str]:
    """Returns the metrics for units with several references, and how a table says what was done."""
    from ...metrics.over_references import MeanOverReferences

    most = max(len(texts) for texts in references.texts)
    averaged = [MeanOverReferences(metric) for metric in metrics]
    chosen = {"maximum": metrics, "mean": averaged, "both": [*metrics, *averaged]}[over]
    rules = {
        "maximum": "the best counts",
        "mean": "their mean counts",
        "both": "the best counts, in columns that end in _mean their mean",
    }
    return chosen, f", up to {most} texts a unit: {rules[over]}" if most > 1 else ""


def _rows(file: Path, layer: str, console: Console) -> list[Any]:
    """Reads the rows of one file and says what is unusual in it."""
    from ...results.importers.descriptions_csv import read_descriptions_csv

    found = read_descriptions_csv(file, layer=layer)
    oddities = "".join(f"; {what}: {count}" for what, count in found.oddities.items())
    console.print(
        f"{file}: {found.layout}, {len(found.rows)} rows{oddities}", highlight=False, markup=False
    )
    return list(found.rows)


def _check_units(predictions: Sequence[Any], references: References, given: str) -> None:
    outside = [p for p in predictions if p.unit.index >= len(references.texts)]
    if not outside:
        return
    hint = "give the references of this layer: --references FILE with one line per unit"
    if given.startswith("milannotations:"):
        most = max(p.unit.index for p in outside) + 1
        hint = f"check the layer; if it has more units than were annotated, add references.units={most}"
    raise InputError(
        f"{outside[0].method} describes unit {outside[0].unit.index} of {outside[0].unit.layer}, but "
        f"{references.name} names {len(references.texts)} units (0 to {len(references.texts) - 1})",
        hint,
    )


def table_command(options: argparse.Namespace) -> int:
    """Prints the tables of finished runs again, in any format; the scores are not computed again."""
    from omegaconf import OmegaConf

    from ...results.tables.examples import examples_table
    from ...results.tables.overview import overview_table
    from ...results.tables.scores import score_tables

    tables: list[Table] = []
    for folder in options.folders:
        if not (folder / "models.json").exists():
            raise InputError(
                f"{folder} is not the folder of a finished run", "see dissectbench list runs"
            )
        models = read_json(folder / "models.json")
        config: Any = (
            OmegaConf.load(folder / "config.yaml")
            if (folder / "config.yaml").exists()
            else compose(root="score").config
        )
        sampling = {"seed": config.seed, "n_resamples": config.table.resamples}
        if (folder / "descriptions.jsonl").exists():
            latest = {(r.unit, r.method): r for r in read_descriptions(folder / "descriptions.jsonl")}
            tables.append(overview_table(latest.values(), models=models, **sampling))
            if config.get("final_layer") and (folder / "scores.parquet").exists():
                references = references_by_unit(read_scores(folder / "scores.parquet"))
                tables.append(examples_table(latest.values(), references, config.final_layer))
        if (folder / "scores.parquet").exists():
            scores, infos = (
                read_scores(folder / "scores.parquet"),
                read_metrics(folder / "metrics.json"),
            )
            tables += score_tables(scores, infos, models=models, **sampling)
    show(_only(tables, options.only), options.format, terminal())
    return 0


def _only(tables: Sequence[Table], names: Sequence[str] | None) -> Sequence[Table]:
    known = [table.name for table in tables]
    for name in names or ():
        if name not in known:
            raise InputError(f"no table is called {name!r}", f"there are {', '.join(known)}")
    return [table for table in tables if not names or table.name in names]


def show(tables: Sequence[Table], style: str, console: Console) -> None:
    """Prints tables as "terminal", "csv", "markdown", "latex" or "svg" (a picture of the terminal)."""
    from ...results.tables.latex import to_latex
    from ...results.tables.render import print_table, to_csv, to_markdown

    if style == "svg":
        picture = Console(record=True, file=io.StringIO(), width=WIDTH)
        show(tables, "terminal", picture)
        sys.stdout.write(picture.export_svg(title="dissectbench"))
        return
    convert = {"csv": to_csv, "markdown": to_markdown, "latex": to_latex}
    for number, table in enumerate(tables):
        if style == "terminal":
            # What stands behind the numbers is said once, below the last table.
            last = number + 1 == len(tables)
            print_table(table if last else replace(table, footer={}), console)
            console.print()
        else:
            sys.stdout.write(convert[style](table) + "\n")


def terminal() -> Console:
    """Returns the console of standard output, of a readable width where that is a file."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)
