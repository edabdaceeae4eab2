"""Observes one whole forward pass: which layers run, in which order, with which outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .output_layouts import Geometry, LayerInfo, LayerSpec, Layout, first_tensor, recognise

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .target import Target


@dataclass(frozen=True, eq=False)
class Event:
    """One run of a module.

    Attributes:
        name: path of the module.
        output: the (first) tensor of its output, if outputs are kept.
        shape: the tensor's shape; empty if the output has no tensor.
        part: which part of the output the tensor is; the output's type if it has no tensor.
        version: the tensor's `version` when the module returned.
    """

    name: str
    output: Tensor | None
    shape: tuple[int, ...]
    part: str
    version: int | None

    def overwritten(self) -> bool:
        """Whether the output was, or may have been, written to after the module returned it."""
        return self.output is None or self.version is None or version(self.output) != self.version


def version(tensor: Tensor) -> int | None:
    """Returns the number of in-place operations on a tensor's memory; None if torch counts none."""
    return None if tensor.is_inference() else tensor._version


class Observation:
    """One forward pass over two blank images, or two copies of an example.

    Args:
        target: the network.
        modules: the modules to observe, by path.
        example: preprocessed images [n, C, H, W] instead of the target's own example input.
        keep: whether to keep the outputs (and not only their shapes).

    Attributes:
        events: the runs of the modules, in order of completion.
        output: the (first) tensor that the network returns; None if it returns none.

    Raises:
        InputError: if the network does not accept the example.
    """

    def __init__(
        self, target: Target, modules: Mapping[str, nn.Module], example: Tensor | None, *, keep: bool
    ) -> None:
        import torch

        image = target.example_input() if example is None else example[0]
        # With one image, any dimension of size one would look like the batch.
        self._batch = torch.stack([image, image]).to(target.device)
        self._target, self._modules = target, modules
        self._geometry = Geometry.of(target.model, (image.shape[-2], image.shape[-1]))
        self.output: Tensor | None = None
        try:
            self.events, self.output = self._observe(self._batch, keep=keep)
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
            raise InputError(
                f"{target.name} does not accept a batch of shape {list(self._batch.shape)}: {error}",
                "check that the preprocessing returns the size that the network needs (example_size=)",
            ) from error

    def runs(self, name: str) -> list[Event]:
        """Returns the runs of a module, in order."""
        return [event for event in self.events if event.name == name]

    def choose(self, spec: LayerSpec) -> Event:
        """Returns the run of the layer that the spec selects.

        Raises:
            InputError: if the layer never runs, has no such run, or has several and `call` is not set.
        """
        runs = self.runs(spec.name)
        if not runs:
            raise InputError(
                f"layer {spec.name} is never run in the forward pass",
                "its parent may use its weights directly: choose the parent or another layer",
            )
        if spec.call is None and len(runs) > 1:
            raise InputError(
                f"layer {spec.name} runs {len(runs)} times in one forward pass",
                f"set call=0 to call={len(runs) - 1} for it, or choose the layer that contains it",
            )
        if (spec.call or 0) >= len(runs):
            raise InputError(
                f"layer {spec.name} has no call={spec.call}: it runs {len(runs)} times",
                "calls are counted from 0",
            )
        return runs[spec.call or 0]

    def recognise(self, spec: LayerSpec) -> LayerInfo:
        """Determines how a layer is read.

        Raises:
            InputError: if this is ambiguous; names the setting that resolves it.
        """
        event = self.choose(spec)
        if not event.shape:
            raise InputError(
                f"layer {spec.name} returns no tensor but a {event.part}", "choose another layer"
            )
        if event.shape[0] != len(self._batch):
            raise InputError(
                f"layer {spec.name} mixes images: for {len(self._batch)} images its output is "
                f"{list(event.shape)}",
                "its first dimension is not the batch: choose the layer that contains it",
            )
        if len(event.shape) == 4 and spec.layout is None and self._geometry.layout(event.shape) is None:
            spec = replace(spec, layout=self._layout_by_widening(event))
        module = type(self._modules[spec.name]).__name__
        return recognise(spec, module, event.shape, event.part, self._geometry)

    def _layout_by_widening(self, event: Event) -> Layout | None:
        """Finds the dimension of the units: the one that an image twice as wide does not change.

        Returns None if the network does not accept such an image, or the shapes leave doubt.
        """
        number = self.runs(event.name).index(event)
        wide = [other.shape for other in self._wide_events if other.name == event.name]
        if number >= len(wide) or len(wide[number]) != 4:
            return None
        (_, a, b, c), (_, wide_a, wide_b, wide_c) = event.shape, wide[number]
        if (wide_a, wide_b) == (a, b) and wide_c > c:
            return "nchw"
        if (wide_a, wide_c) == (a, c) and wide_b > b:
            return "nhwc"
        return None

    @cached_property
    def _wide_events(self) -> list[Event]:
        import torch

        events: list[Event] = []
        # A network may accept one size only; the layers that ran before it failed have their outputs.
        with suppress(Exception):
            self._observe(torch.cat([self._batch, self._batch], dim=-1), keep=False, events=events)
        return events

    def is_output(self, event: Event) -> bool:
        """Whether a run's output is what the network returns, up to its shape. Needs kept outputs."""
        # The same memory: a module may compute equal values that the network does not return.
        return (
            self.output is not None
            and event.output is not None
            and event.output.data_ptr() == self.output.data_ptr()
            and event.output.numel() == self.output.numel()
            and not event.overwritten()
        )

    def _observe(
        self, batch: Tensor, *, keep: bool, events: list[Event] | None = None
    ) -> tuple[list[Event], Tensor | None]:
        import torch

        observed: list[Event] = [] if events is None else events

        def observe(name: str, output: Any) -> None:
            try:
                tensor, part = first_tensor(output)
            except InputError:
                observed.append(Event(name, None, (), type(output).__name__, None))
                return
            kept = tensor if keep else None
            observed.append(Event(name, kept, tuple(tensor.shape), part, version(tensor)))

        with _hooked(self._modules, observe), torch.no_grad():
            returned = self._target.model(batch)
        try:
            return observed, first_tensor(returned)[0]
        except InputError:
            return observed, None


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
