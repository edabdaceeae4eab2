"""Reads several layers of a target in one forward pass, which stops after the deepest of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import InputError, nearest
from .forward_events import Observation, version
from .output_layouts import LayerInfo, LayerSpec, canonical, first_tensor

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .target import Target

__all__ = ["LayerInfo", "LayerListing", "LayerSpec", "Taps", "list_layers"]


@dataclass(frozen=True)
class LayerListing:
    """One line of the list of a target's layers.

    Attributes:
        name: dotted path.
        module: class name of the module.
        shape: shape of the output without the batch; None if the module never runs or returns no tensor.
        info: how it is read without further settings; None if that is not possible.
        note: why `info` is None, and which setting helps; else "".
    """

    name: str
    module: str
    shape: tuple[int, ...] | None
    info: LayerInfo | None
    note: str = ""

    @property
    def kind(self) -> str:
        """One of "spatial", "tokens", "vector"; "?" where `info` is None."""
        return self.info.kind if self.info else "?"

    @property
    def n_units(self) -> int | str:
        """Number of units; "?" where `info` is None."""
        return self.info.n_units if self.info else "?"

    @property
    def map_shape(self) -> tuple[int, int]:
        """Height and width of the maps; (1, 1) where `info` is None."""
        return self.info.map_shape if self.info else (1, 1)


class _StopForward(BaseException):
    """Ends a forward pass. Not an `Exception`, so that no `except Exception` in a network catches it."""


@dataclass(frozen=True)
class _Observed:
    """What one forward pass on an example shows about the layers.

    Attributes:
        info: how each layer is read, by name.
        order: position of each layer's output among all outputs, in order of execution.
        overwritten: layers whose output a later operation overwrites in place.
        outputs: layers whose output is the network's.
    """

    info: dict[str, LayerInfo]
    order: dict[str, int]
    overwritten: frozenset[str]
    outputs: frozenset[str]

    def only(self, names: Sequence[str]) -> _Observed:
        """Returns the part about these layers."""
        return _Observed(
            {name: self.info[name] for name in names},
            {name: self.order[name] for name in names},
            self.overwritten & set(names),
            self.outputs & set(names),
        )


class Taps:
    """Reads layers of a target in one forward pass, which stops after the deepest of them.

    A context manager that hooks the layers on entry and removes the hooks on exit.

    One forward pass on two blank images, at the first use, finds the shapes, the order of execution, and
    which outputs are overwritten in place later on (only those are cloned).

    Tracers of other packages give the raw outputs: the layout, the run of a module that runs several
    times, and in-place operations would still have to be handled here.

    Args:
        target: the network.
        layers: names, mappings or `LayerSpec` objects; each name once.
        example: preprocessed images [n, C, H, W] to learn the shapes from, instead of the target's own
            example input.

    Attributes:
        target: the network.

    Raises:
        InputError: if there is no layer, or a layer twice.

    Example:
        >>> with Taps(target, ["layer3", "layer4"]) as taps:                         # doctest: +SKIP
        ...     maps = taps.read(batch)
        >>> maps["layer4"]  # float32 [B, units, h, w]                               # doctest: +SKIP
    """

    def __init__(
        self,
        target: Target,
        layers: Sequence[str | int | Mapping[str, Any] | LayerSpec],
        example: Tensor | None = None,
    ) -> None:
        self.target = target
        self._specs = [LayerSpec.of(layer) for layer in layers]
        if not self._specs:
            raise InputError("no layers to read", "name at least one layer")
        for name, count in Counter(spec.name for spec in self._specs).items():
            if count > 1:
                raise InputError(f"layer {name} is given {count} times", "name each layer once")
        self._example = example
        self._handles: list[Any] = []
        self._cloned: set[str] = set()

    @property
    def info(self) -> dict[str, LayerInfo]:
        """How each layer is read, by name, in the order asked for.

        Raises:
            InputError: if a layer is unknown, never run, or ambiguous.
        """
        return self._observed.info

    @property
    def output(self) -> str | None:
        """The first of the layers whose output is what the target returns; None if there is none."""
        return next((name for name in self.info if name in self._observed.outputs), None)

    def only(self, names: Sequence[str]) -> Taps:
        """Returns taps for some of the layers, without observing the network again."""
        part = Taps(self.target, [spec for spec in self._specs if spec.name in names], self._example)
        part._observed = self._observed.only([spec.name for spec in part._specs])
        return part

    @cached_property
    def _modules(self) -> dict[str, nn.Module]:
        return {spec.name: _module(self.target.model, spec.name) for spec in self._specs}

    @cached_property
    def _observed(self) -> _Observed:
        observation = Observation(self.target, self._modules, self._example, keep=True)
        info = {spec.name: observation.recognise(spec) for spec in self._specs}
        events = {spec.name: observation.choose(spec) for spec in self._specs}
        return _Observed(
            info,
            {name: observation.events.index(event) for name, event in events.items()},
            frozenset(name for name, event in events.items() if event.overwritten()),
            frozenset(name for name, event in events.items() if observation.is_output(event)),
        )

    def __enter__(self) -> Taps:
        order = self._observed.order
        self._last = max(order, key=order.__getitem__)
        self._cloned |= self._observed.overwritten
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def read(self, batch: Tensor) -> dict[str, Tensor]:
        """Returns the maps of every layer for a batch of preprocessed images.

        Args:
            batch: [B, C, H, W], on any device.

        Returns:
            By layer name, float32 [B, units, h, w] on the target's device; h = w = 1 for vectors.
            They may be views of the network's own tensors: do not write to them.

        Raises:
            RuntimeError: outside of the `with` block.
        """
        if not self._handles:
            raise RuntimeError("read Taps inside their `with` block")
        values = self._forward(batch)
        views = values.keys() - self._cloned
        overwritten = {name for name in views if version(values[name][0]) != values[name][1]}
        if overwritten:  # by an operation that the example input did not reach: repeat with clones
            self._cloned |= overwritten
            values = self._forward(batch)
        return {name: values[name][0] for name in self.info}

    def _forward(self, batch: Tensor) -> dict[str, tuple[Tensor, int | None]]:
        import torch

        self._runs: Counter[str] = Counter()
        self._values: dict[str, tuple[Tensor, int | None]] = {}
        try:
            with torch.no_grad():
                self.target.model(batch.to(self.target.device, non_blocking=True))
        except _StopForward:
            pass
        values, self._values = self._values, {}
        missing = [name for name in self.info if name not in values]
        if missing:
            raise InputError(
                f"layer {missing[0]} does not run for this batch, but it does for the example input",
                "choose a layer that runs for every input",
            )
        return values

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        info = self.info[name]

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._runs[name] += 1
            if self._runs[name] - 1 != info.call:
                return
            value = canonical(first_tensor(output)[0], info)
            if name in self._cloned:
                value = value.clone()
            self._values[name] = value, version(value)
            if name == self._last:
                raise _StopForward

        return hook


def list_layers(target: Target) -> list[LayerListing]:
    """Lists every module of a target in the order of definition, and how it is read.

    Raises:
        InputError: if the target cannot be loaded or does not accept its example input.
    """
    modules = {name: module for name, module in target.model.named_modules() if name}
    observation = Observation(target, modules, None, keep=False)
    return [_listing(name, type(module).__name__, observation) for name, module in modules.items()]


def _listing(name: str, module: str, observation: Observation) -> LayerListing:
    shape = next((event.shape[1:] for event in observation.runs(name) if event.shape), None)
    try:
        return LayerListing(name, module, shape, observation.recognise(LayerSpec(name)))
    except InputError as error:
        return LayerListing(name, module, shape, None, str(error).replace("\n  ", "; "))


def _module(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        close = nearest(name, [path for path, _ in model.named_modules()])
        hint = "`dissectbench list layers target=...` lists all layers"
        raise InputError(f"no layer named {name!r}", f"{close} {hint}".strip()) from None
