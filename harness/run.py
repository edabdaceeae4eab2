"""One run: the plan, the pass over the images, the descriptions, the scores, the tables.

`dissectbench run` calls `run`; each step below may be called by itself. Whatever a step has finished is
on the disk, so a run that was killed goes on from there (see `folder`, `records` and `activations`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.probing_set import ProbingSet
from .cache import Cache
from .config import Settings, build
from .describing import describe, remaining
from .errors import InputError
from .progress import Progress
from .run_folder import RunFolder
from .scores import write_scores
from .unit_selection import select_units

if TYPE_CHECKING:
    import pandas as pd

    from ..datasets.references import References
    from ..methods.method import Method
    from ..metrics.metric import Metric
    from .activations.settings import ActivationSettings
    from .activations.stored_layer import StoredLayer
    from .probe import ProbedLayer
    from .targets.layers import LayerInfo, Taps
    from .targets.target import Target


@dataclass(frozen=True)
class Parts:
    """The objects that a configuration describes. Making them loads no weights but the target's."""

    settings: Settings
    target: Target
    probe: ProbingSet
    taps: Taps
    activation_settings: ActivationSettings
    units: Mapping[str, list[int]]
    methods: Sequence[Method]
    metrics: Sequence[Metric]
    references: References | None

    @property
    def layers(self) -> Mapping[str, LayerInfo]:
        """How each layer is read, by name."""
        return self.taps.info

    @property
    def final_layer(self) -> str | None:
        """The layer whose descriptions are scored, if it is among those described."""
        name = self.settings.config.final_layer
        return name if name in self.layers else None


def assemble(settings: Settings) -> Parts:
    """Makes every component once and checks what can be checked before any work is done.

    Raises:
        InputError: for whatever the user has to mend, before anything is computed.
    """
    from .targets.layers import Taps

    config = settings.config
    methods = build_all(config.get("method"), "method")
    metrics = build_all(config.get("metric"), "metric")
    if not methods:
        raise InputError("no method is chosen", "choose some: method=[network_dissection,clip_dissect]")
    references = build(config.references, "references") if config.get("references") else None
    probe = build(config.probe, "probe")
    if len(probe) == 0:
        raise InputError(f"probing set {probe.name} holds no image")
    target = build(config.target, "target")
    taps = Taps(target, layer_specs(config.layers))
    settings_of_pass = build(config.activations, "activations")
    units = {
        name: select_units(_plain(config.units), name, info.n_units, config.seed)
        for name, info in taps.info.items()
    }
    parts = Parts(settings, target, probe, taps, settings_of_pass, units, methods, metrics, references)
    _check_references(parts)
    return parts


def build_all(node: Any, what: str) -> list[Any]:
    """Makes the components of a group that may hold several (`method`, `metric`).

    Raises:
        InputError: if two of them bear one name.
    """
    made = [build(child, f"{what}.{key}") for key, child in (node or {}).items()]
    names = [component.name for component in made]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"two {what}s are called {twice.pop()!r}", "give one of them another name")
    return made


def layer_specs(layers: Any) -> list[Any]:
    """Returns the `layers` setting (names or mappings) as `Taps` wants it."""
    from .targets.layers import LayerSpec

    plain = _plain(layers)
    plain = [plain] if isinstance(plain, str) else plain
    if not plain:
        raise InputError("layers is empty", "give at least one, such as layers=[layer4,fc]")
    return [LayerSpec.of(layer) for layer in plain]


def _plain(value: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _check_references(parts: Parts) -> None:
    if parts.final_layer is None or parts.references is None or not parts.metrics:
        return
    n_units, n_texts = parts.layers[parts.final_layer].n_units, len(parts.references.texts)
    if n_units != n_texts:
        raise InputError(
            f"layer {parts.final_layer} has {n_units} units, but references {parts.references.name} "
            f"name {n_texts}",
            "choose the references of this target (references=...), or final_layer=null for no scores",
        )


def open_folder(parts: Parts, runs: Path) -> RunFolder:
    """Opens `runs/<name>` and writes down the setting of the run."""
    settings = parts.settings
    folder = RunFolder(runs / run_name(parts))
    details = {
        "target": {"name": parts.target.name, "fingerprint": parts.target.fingerprint()},
        "probing_set": {"name": parts.probe.name, "images": len(parts.probe)},
        "seed": settings.config.seed,
    }
    folder.describe_setting(settings.text, str(parts.target.device), details)
    return folder


def run_name(parts: Parts) -> str:
    """Returns the `name` setting, or one made of target and probing set."""
    name = parts.settings.config.name or f"{parts.target.name}-{parts.probe.name}"
    if Path(name).name != name:
        raise InputError(f"name={name}: must be a plain folder name, without slashes")
    return name


def activations(
    taps: Taps, probe: ProbingSet, settings: ActivationSettings, runs: Path, progress: Progress
) -> dict[str, StoredLayer]:
    """Shows the probing set to the target, once for all layers, unless it is stored already."""
    from .activations.forward_pass import probe_layers

    store, cache = runs / ".activations", Cache(runs / ".cache")
    return probe_layers(
        taps.target, probe, taps, store=store, cache=cache, settings=settings, progress=progress
    )


def describe_all(
    parts: Parts,
    layers: Mapping[str, ProbedLayer],
    folder: RunFolder,
    progress: Progress,
    *,
    retry_failed: bool = False,
) -> None:
    """Lets every method describe the chosen units of every layer; what is on record is not repeated."""
    identity = {f"layer/{name}": layer.fingerprint for name, layer in layers.items()}
    identity |= {f"method/{method.name}": dict(method.identity()) for method in parts.methods}
    folder.bind({**identity, "seed": parts.settings.config.seed})
    for method in parts.methods:
        for name, layer in layers.items():
            todo = remaining(
                folder.journal, method.name, layer, parts.units[name], retry_failed=retry_failed
            )
            if not todo:
                continue
            with progress.task(f"{method.name} · {name}", len(todo)) as advance:
                describe(method, layer, todo, folder.journal, advance)


def score_final_layer(parts: Parts, folder: RunFolder) -> pd.DataFrame | None:
    """Scores the final layer and writes `scores.parquet`; None if there is nothing to score."""
    from ..metrics.scoring import Prediction, score_descriptions

    layer = parts.final_layer
    if layer is None or parts.references is None or not parts.metrics:
        return None
    chosen, names = set(parts.units[layer]), {method.name for method in parts.methods}
    predictions = [
        Prediction.of(record)
        for (unit, method), record in folder.journal.latest.items()
        if unit.layer == layer and unit.index in chosen and method in names
    ]
    scores = score_descriptions(
        predictions,
        parts.references,
        parts.metrics,
        units=parts.units[layer],
        control_text=parts.settings.config.table.control_text,
        seed=parts.settings.config.seed,
    )
    write_scores(scores, folder.path / "scores.parquet")
    return scores
