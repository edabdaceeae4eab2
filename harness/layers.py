"""Reading several layers of a target in one forward pass that stops after the deepest of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import InputError, nearest
from .layouts import Geometry, LayerInfo, LayerSpec, canonical, first_tensor, recognise

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .targets import Target

__all__ = ["LayerInfo", "LayerListing", "LayerSpec", "Taps", "list_layers"]


@dataclass(frozen=True)
class LayerListing:
    """One line of the list of a target's layers.

    Attributes:
        name: dotted path.
        module: class name of the module.
        shape: shape of the output without the batch; None if it was never run or gives no tensor.
        info: how it would be read without further settings; None if that is not possible.
        note: why `info` is None, and which setting would help; else "".
    """

    name: str
    module: str
    shape: tuple[int, ...] | None
    info: LayerInfo | None
    note: str = ""


@dataclass(frozen=True, eq=False)
class _Event:
    """One run of a module: its tensor, and the tensor's version then (in-place operations count up)."""

    name: str
    output: Tensor | None
    shape: tuple[int, ...]
    part: str
    version: int | None

    def overwritten(self) -> bool:
        return self.output is None or self.version is None or _version(self.output) != self.version


class _StopForward(BaseException):
    """Ends a forward pass. Not an `Exception`, lest a model's own `except Exception` catches it."""


class Taps:
    """Reads layers of a target; a context manager that hooks on entry and unhooks on exit.

    Entry runs one forward pass on two blank pictures to learn shapes, the order of execution, and
    which outputs are overwritten in place later on (only those are cloned).

    Args:
        target: the network.
        layers: names, mappings or `LayerSpec`s; each name once.
        example: preprocessed pictures [n, C, H, W] to learn the shapes from, if the target's own
            example input does not suit.

    Attributes:
        info: how each layer is read, by name, in the order asked for; there after entry.

    Raises:
        InputError: on entry, if a layer is unknown, never run, or ambiguous.
    """

    info: dict[str, LayerInfo]

    def __init__(
        self,
        target: Target,
        layers: Sequence[str | Mapping[str, Any] | LayerSpec],
        example: Tensor | None = None,
    ) -> None:
        self._target = target
        self._specs = [LayerSpec.of(layer) for layer in layers]
        if not self._specs:
            raise InputError("no layers to read", "name at least one layer")
        for name, count in Counter(spec.name for spec in self._specs).items():
            if count > 1:
                raise InputError(f"layer {name} is asked for {count} times", "name each layer once")
        self._example = example
        self._handles: list[Any] = []
        self.info = {}

    def __enter__(self) -> Taps:
        model = self._target.model
        modules = {spec.name: _module(model, spec.name) for spec in self._specs}
        example = _example(self._target, self._example)
        events = _observe(self._target, modules, example, keep=True)
        geometry = Geometry.of(model, (example.shape[-2], example.shape[-1]))
        chosen = {spec.name: _choose(spec, events) for spec in self._specs}
        self.info = {
            spec.name: _recognise(spec, modules[spec.name], chosen[spec.name], len(example), geometry)
            for spec in self._specs
        }
        self._cloned = {name for name, event in chosen.items() if event.overwritten()}
        self._last = max(chosen, key=lambda name: events.index(chosen[name]))
        for name, module in modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def read(self, batch: Tensor) -> dict[str, Tensor]:
        """Returns the maps of every layer for a batch of preprocessed pictures.

        Args:
            batch: [B, C, H, W], on any device.

        Returns:
            By layer name, float32 [B, units, h, w] on the target's device; h = w = 1 for vectors.
            They may be views of what the network computed: not to be written to.

        Raises:
            RuntimeError: outside of the `with` block.
        """
        if not self._handles:
            raise RuntimeError("Taps are read inside their `with` block")
        values = self._forward(batch)
        views = values.keys() - self._cloned
        overwritten = {name for name in views if _version(values[name][0]) != values[name][1]}
        if overwritten:  # by an operation that the example input did not reach
            self._cloned |= overwritten
            values = self._forward(batch)
        return {name: values[name][0] for name in self.info}

    def _forward(self, batch: Tensor) -> dict[str, tuple[Tensor, int | None]]:
        import torch

        self._runs: Counter[str] = Counter()
        self._values: dict[str, tuple[Tensor, int | None]] = {}
        try:
            with torch.no_grad():
                self._target.model(batch.to(self._target.device, non_blocking=True))
        except _StopForward:
            pass
        values, self._values = self._values, {}
        missing = [name for name in self.info if name not in values]
        if missing:
            raise InputError(f"layer {missing[0]} was not run for this batch, but for the example input")
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
            self._values[name] = value, _version(value)
            if name == self._last:
                raise _StopForward

        return hook


def list_layers(target: Target) -> list[LayerListing]:
    """Lists every module of a target in the order of definition, and how it would be read."""
    model = target.model
    modules = {name: module for name, module in model.named_modules() if name}
    example = _example(target, None)
    events = _observe(target, modules, example, keep=False)
    geometry = Geometry.of(model, (example.shape[-2], example.shape[-1]))
    return [_listing(name, module, events, len(example), geometry) for name, module in modules.items()]


def _listing(
    name: str, module: nn.Module, events: Sequence[_Event], batch: int, geometry: Geometry
) -> LayerListing:
    shape = next((event.shape[1:] for event in events if event.name == name and event.shape), None)
    try:
        spec = LayerSpec(name)
        info, note = _recognise(spec, module, _choose(spec, events), batch, geometry), ""
    except InputError as error:
        info, note = None, str(error).replace("\n  ", "; ")
    return LayerListing(name, type(module).__name__, shape, info, note)


def _module(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        close = nearest(name, [known for known, _ in model.named_modules()])
        hint = "`dissectbench list layers target=...` lists all of them"
        raise InputError(f"no layer named {name!r}", f"{close} {hint}".strip()) from None


def _example(target: Target, example: Tensor | None) -> Tensor:
    """Two pictures: with one, a dimension of size one could pass for the batch."""
    import torch

    picture = target.example_input() if example is None else example[0]
    return torch.stack([picture, picture]).to(target.device)


@contextmanager
def _hooked(modules: Mapping[str, nn.Module], hook: Callable[[str, Any], None]) -> Iterator[None]:
    handles = []
    try:
        for name, module in modules.items():
            handles.append(
                module.register_forward_hook(lambda _m, _i, output, name=name: hook(name, output))
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


def _observe(
    target: Target, modules: Mapping[str, nn.Module], example: Tensor, *, keep: bool
) -> list[_Event]:
    """Runs the whole forward pass once and returns the runs of `modules` in order of execution."""
    import torch

    events: list[_Event] = []

    def note(name: str, output: Any) -> None:
        try:
            tensor, part = first_tensor(output)
        except InputError:
            events.append(_Event(name, None, (), type(output).__name__, None))
            return
        kept = tensor if keep else None
        events.append(_Event(name, kept, tuple(tensor.shape), part, _version(tensor)))

    with _hooked(modules, note), torch.no_grad():
        try:
            target.model(example)
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
            raise InputError(
                f"{target.name} does not accept a batch of shape {list(example.shape)}: {error}",
                "check that the preprocessing gives the size that the network needs (example_size=)",
            ) from error
    return events


def _choose(spec: LayerSpec, events: Sequence[_Event]) -> _Event:
    """Returns the run of the layer that is to be read."""
    runs = [event for event in events if event.name == spec.name]
    if not runs:
        raise InputError(
            f"layer {spec.name} is never run in the forward pass",
            "its parent may use its weights directly; choose the parent or another layer",
        )
    if spec.call is None and len(runs) > 1:
        raise InputError(
            f"layer {spec.name} runs {len(runs)} times in one forward pass",
            f"set call=0 to call={len(runs) - 1} for this layer, or choose the layer around it",
        )
    if (spec.call or 0) >= len(runs):
        raise InputError(
            f"layer {spec.name} has no call={spec.call}: it runs {len(runs)} times",
            "calls are counted from 0",
        )
    return runs[spec.call or 0]


def _recognise(
    spec: LayerSpec, module: nn.Module, event: _Event, batch: int, geometry: Geometry
) -> LayerInfo:
    if not event.shape:
        raise InputError(f"layer {spec.name} gives no tensor but a {event.part}", "choose another layer")
    if event.shape[0] != batch:
        raise InputError(
            f"layer {spec.name} mixes pictures: {batch} pictures give an output of {list(event.shape)}",
            "its first dimension is not the picture; choose the layer around it",
        )
    return recognise(spec, type(module).__name__, event.shape, event.part, geometry)


def _version(tensor: Tensor) -> int | None:
    """Counts the in-place operations on a tensor's memory; None where torch does not count them."""
    return None if tensor.is_inference() else tensor._version
