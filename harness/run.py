"""Runs a job: one pass over the images, descriptions by every method, scores, tables.

`run` does all of it; the functions below are its steps. Each step writes what it completes, so a run that
was interrupted or killed resumes from there (see `run_folder`, `journal` and `activations`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.probing_set import ProbingSet
from .cache import Cache
from .config import Settings
from .describing import Todo, describe_all, read_maps, remaining
from .files import write_json
from .finished_run import FinishedRun
from .parts import Parts, assemble, check_models, run_name
from .progress import Progress
from .report import report_consumers, report_run
from .run_folder import (
    METRICS,
    MODELS,
    PROBING_SET,
    SCORES,
    SKIPPED,
    TARGET,
    OtherSettingsError,
    RunFolder,
    Selection,
)
from .scores import write_metrics, write_scores
from .tinyworld_models import MADE_FOR_TINYWORLD

if TYPE_CHECKING:
    import pandas as pd

    from ..methods.method import Method
    from ..metrics.activation import ActivationMetric
    from ..metrics.metric import Metric
    from .activations.settings import ActivationSettings
    from .activations.stored_layer import StoredLayer
    from .journal import Journal
    from .probe import ProbedLayer
    from .records import Description
    from .targets.layers import Taps


def run(
    settings: Settings,
    *,
    runs: str | os.PathLike[str] = "runs",
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> FinishedRun:
    """Describes the selected units by every method, scores the descriptions, and writes the tables.

    Nothing is printed unless `progress` is given. Work that the folder already holds is not repeated.

    Args:
        settings: a composed configuration, see `compose`.
        runs: the folder of all runs; activations and caches, which runs share, are stored in it too.
        retry_failed: describe units again whose record has the status "failed".
        progress: shows progress bars, for example `Progress()`.

    Returns:
        The run, read from its folder. `status` is "finished"; single units may have failed, and their
        records say why.

    Raises:
        InputError: for invalid settings or input, with what to do about it; `status.json` then says
            "failed".

    Example:
        >>> from dissectbench.harness import compose, run
        >>> finished = run(compose(["name=demo", "units=4", "layers=[fc]"]))    # doctest: +SKIP
        >>> finished.records[0].text                                             # doctest: +SKIP
        'red'
    """
    return execute(assemble(settings), runs=runs, retry_failed=retry_failed, progress=progress)


def execute(
    parts: Parts,
    *,
    runs: str | os.PathLike[str] = "runs",
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> FinishedRun:
    """Runs assembled parts; see `run`. For callers that show the plan first."""
    from ..results.exporters.descriptions import write_descriptions
    from ..results.tables.render import write_tables
    from ..results.tables.run_tables import run_tables

    check_models(parts)
    runs, progress = Path(runs), progress or Progress("none")
    with RunFolder(runs / run_name(parts)) as folder, folder.tracked():
        check_inputs(parts, folder)
        layers = activations(parts.taps, parts.probe, parts.activation_settings, runs, progress)
        bind(parts, layers, folder)
        skipped = skipped_images(layers)
        write_json(folder.path / SKIPPED, skipped)
        todo = to_describe(parts, layers, folder.journal, retry_failed=retry_failed)
        # In the same pass over the images as the maps that methods need.
        report = parts.settings.config.report
        of_report = report_consumers(layers, parts.units, parts.methods) if report else ()
        describe_all(read_maps(todo, progress, others=of_report), folder.journal, progress)
        score(parts, folder, held_out_layers(parts, layers, runs, progress))
        write_models(parts, folder, skipped=len(skipped))
        # The tables are made from the files, so that `dissectbench table` prints the same ones.
        finished = FinishedRun(folder.path)
        write_descriptions(finished.records, folder.path / "descriptions.csv")
        write_tables(run_tables(finished), folder.path / "tables")
        folder.finish(sum(record.status == "failed" for record in finished.records))
        if report:
            report_run(FinishedRun(folder.path), layers=layers, methods=parts.methods)
    return FinishedRun(folder.path)


def select(parts: Parts) -> Selection:
    """Returns what the settings ask for: units by layer, methods, and the layer to score."""
    scored = parts.final_layer if parts.scored else None
    units = {name: parts.units[name] for name in parts.layers}
    return Selection(parts.target.name, units, [method.name for method in parts.methods], scored)


def inputs(parts: Parts) -> dict[str, Any]:
    """Returns what all activations depend on, in parts that a message can name."""
    probe, share = parts.probe, parts.settings.config.get("held_out")
    # Absent without held-out images, so that folders of earlier versions stay valid.
    split = {"held_out": share} if share else {}
    return {
        TARGET: parts.target.fingerprints(),
        PROBING_SET: {"images": len(probe), "fingerprint": probe.fingerprint(), **split},
    }


def check_inputs(parts: Parts, folder: RunFolder) -> None:
    """Refuses other weights or images than those of the folder, before the pass over the images.

    Nothing is written: the folder is bound once its activations exist.

    Raises:
        OtherSettingsError: if the folder holds descriptions from other inputs.
    """
    try:
        folder.check(inputs(parts))
    except OtherSettingsError as error:
        path = _changed_image(parts.probe, folder.bound) if error.entry == PROBING_SET else None
        if path is not None:
            error.hint = f"{path} was changed after the descriptions were made; {error.hint}"
        raise


def _changed_image(probe: ProbingSet, since: float) -> Path | None:
    """Returns the image file that was changed last, if that was after the time `since`."""
    files = (Path(probe.locate(index)) for index in range(len(probe)))
    changed = {file: file.stat().st_mtime for file in files if file.is_file()}
    last = max(changed, key=changed.__getitem__, default=None)
    return last if last is not None and changed[last] > since else None


def bind(parts: Parts, layers: Mapping[str, ProbedLayer], folder: RunFolder) -> None:
    """Binds the folder to what its descriptions depend on, and writes the settings.

    Raises:
        OtherSettingsError: if the folder holds descriptions made under other settings.
    """
    settings = parts.settings
    identity = inputs(parts)
    identity |= {f"layer/{name}": layer.fingerprint for name, layer in layers.items()}
    identity |= {f"method/{method.name}": dict(method.identity()) for method in parts.methods}
    folder.bind({**identity, "seed": settings.config.seed})
    target = parts.target
    details = {
        "target": {
            "name": target.name,
            "fingerprint": target.fingerprint(),
            "commit": target.commit,
        },
        "probing_set": {"name": parts.probe.name, "images": len(parts.probe)},
        "references": {"name": parts.references.name, "fingerprint": parts.references.fingerprint()}
        if parts.references
        else None,
        "seed": settings.config.seed,
    }
    folder.write_settings(settings.text, select(parts), str(target.device), details)


def activations(
    taps: Taps, probe: ProbingSet, settings: ActivationSettings, runs: Path, progress: Progress
) -> dict[str, StoredLayer]:
    """Shows the probing set to the target, once for all layers, unless it is stored already."""
    from .activations.forward_pass import probe_layers

    store, cache = runs / ".activations", Cache(runs / ".cache")
    return probe_layers(
        taps.target, probe, taps, store=store, cache=cache, settings=settings, progress=progress
    )


def skipped_images(layers: Mapping[str, StoredLayer]) -> dict[str, str]:
    """Returns the images that could not be read (on_error=skip): the reason by path."""
    # All layers are computed in one pass, but a layer may have been stored by an earlier one.
    return dict(sorted({image for layer in layers.values() for image in layer.skipped}))


def to_describe(
    parts: Parts, layers: Mapping[str, ProbedLayer], journal: Journal, *, retry_failed: bool
) -> list[Todo]:
    """Returns what has no record yet: each method with each layer and the selected units."""
    todo = [
        Todo(
            method,
            layer,
            remaining(journal, method.name, layer, parts.units[name], retry_failed=retry_failed),
        )
        for method in parts.methods
        for name, layer in layers.items()
    ]
    return [part for part in todo if part.units]


def held_out_layers(
    parts: Parts, layers: Mapping[str, StoredLayer], runs: Path, progress: Progress
) -> Mapping[str, StoredLayer]:
    """Returns the layers over the held-out images; empty without metrics on activations."""
    if parts.held_out is None:
        return {}
    if parts.held_out is parts.probe:
        return layers
    return activations(parts.taps, parts.held_out, parts.activation_settings, runs, progress)


def score(parts: Parts, folder: RunFolder, held_out: Mapping[str, ProbedLayer]) -> None:
    """Scores descriptions and writes `scores.parquet`: against references, and against activations.

    Where there is nothing to score, scores of an earlier command are removed: they would be about
    descriptions that the tables do not show.
    """
    import pandas as pd

    chosen = select(parts).choose(folder.journal.latest)
    frames = [
        _scored_layer(parts, name, [record for record in chosen if record.unit.layer == name], held_out)
        for name in parts.layers
    ]
    frames = [frame for of_layer in frames for frame in of_layer]
    if not frames:
        (folder.path / SCORES).unlink(missing_ok=True)
        return
    write_scores(pd.concat(frames, ignore_index=True), folder.path / SCORES)


def _scored_layer(
    parts: Parts, name: str, records: Sequence[Description], held_out: Mapping[str, ProbedLayer]
) -> list[pd.DataFrame]:
    """Returns the scores of the descriptions of one layer: one table by kind of metric."""
    from ..metrics.activation import score_on_activations
    from ..metrics.scoring import score_descriptions
    from ..metrics.unscored import Prediction

    config = parts.settings.config
    predictions = [Prediction.of(record) for record in records]
    settings: dict[str, Any] = {
        "units": parts.units[name],
        "control_text": config.table.control_text,
        "seed": config.seed,
    }
    frames = []
    # References without metrics of texts are not part of the tables.
    references = parts.references if parts.scored and name == parts.final_layer else None
    if references is not None:
        frames.append(score_descriptions(predictions, references, parts.metrics, **settings))
    if name in held_out:
        texts = references.texts if references else ()
        layer, metrics = held_out[name], parts.activation_metrics
        frames.append(score_on_activations(predictions, layer, metrics, references=texts, **settings))
    return frames


def write_models(parts: Parts, folder: RunFolder, *, skipped: int = 0) -> None:
    """Writes `models.json` (names, for the tables) and `metrics.json` (see `MetricInfo`)."""
    models = models_used(parts, skipped=skipped)
    write_json(folder.path / MODELS, models, sort_keys=False)  # in the order of the tables
    # Metrics that score nothing are not asked: their weights may not even be installed.
    write_metrics({metric.name: metric.info() for metric in parts.used_metrics}, folder.path / METRICS)


def models_used(parts: Parts, *, skipped: int = 0) -> dict[str, str]:
    """Returns the target, the probing set and the models of methods and metrics, by what they are.

    Args:
        parts: the parts of the run.
        skipped: number of images that could not be read and were left out.
    """
    left_out = f" ({skipped} unreadable, left out)" if skipped else ""
    models = {
        "target": parts.target.name,
        "probing set": f"{parts.probe.name}, {len(parts.probe) - skipped} images{left_out}",
    }
    if parts.held_out is not None:
        same = parts.held_out is parts.probe
        models["held-out images"] = "none (held_out=0)" if same else f"{len(parts.held_out)} images"
    for component in (*parts.methods, *parts.used_metrics):
        models |= named_models(component)
    if parts.tinyworld:
        # In the footer of every table: nothing in a description shows it.
        models[MADE_FOR_TINYWORLD] = ", ".join(parts.tinyworld)
    return models


def named_models(component: Method | Metric | ActivationMetric) -> dict[str, str]:
    """Returns the models of a component by what they are: "clip_dissect, image-text model", ...

    A model that is named like its component, such as MILAN's, is listed under that name alone.
    """
    return {
        component.name if what == component.name else f"{component.name}, {what}": model
        for what, model in component.models().items()
    }
