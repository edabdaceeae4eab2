"""Targets: the networks under study, each with its own preprocessing.

Making a target is cheap: nothing is read before its network is first used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from .. import devices
from ..errors import InputError
from ..files import fingerprint
from ..probe import Region
from .fingerprints import architecture, describe, weights_digest
from .preprocess import Preprocess, RegionGauge

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class Loaded:
    """A network in memory.

    Attributes:
        model: the network.
        preprocess: from an RGB image to the network's input [C, H, W]; sent to worker processes.
        classes: names of the final layer's units, or None; stored as a tuple.
        identity: what the outputs depend on besides modules, weights and preprocessing; JSON-able.
        commit: commit of the weights on the Hugging Face Hub; None for weights from elsewhere.
    """

    model: nn.Module
    preprocess: Preprocess
    classes: Sequence[str] | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    commit: str | None = None

    def __post_init__(self) -> None:
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(map(str, self.classes)))


class Target:
    """A network under study; loads itself when first used.

    For a network that is already in memory, use `Target.of`.

    Args:
        name: name of the target in records and tables.
        load: returns the network; raises `InputError` if that is not possible.
        device: device to run on: "auto", "cpu", "cuda", "cuda:1".
        example_size: (width, height) of the blank image that `example_input` preprocesses.
        load_untrained: returns the same network with any weights, if that needs no files.

    Raises:
        InputError: if an argument has the wrong type.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Loaded],
        device: str = "auto",
        example_size: Sequence[int] = (224, 224),
        load_untrained: Callable[[], Loaded] | None = None,
    ) -> None:
        _check_name(name)
        if not callable(load) or _is_module(load):
            raise _wrong_role("load", load, "a function that returns `Loaded`")
        self.name = name
        self._load = load
        self._load_untrained = load_untrained or load
        self._device = device
        self._example_size = (int(example_size[0]), int(example_size[1]))

    @classmethod
    def of(
        cls,
        model: nn.Module,
        preprocess: Preprocess,
        *,
        name: str | None = None,
        classes: Sequence[str] | None = None,
        device: str = "auto",
        example_size: Sequence[int] = (224, 224),
    ) -> Target:
        """Returns the target of a network that is already in memory.

        Args:
            model: the network.
            preprocess: from an RGB image (PIL) to the network's input, float [C, H, W].
            name: name of the target in records and tables; by default the network's class.
            classes: names of the outputs, if they are known.
            device: device to run on: "auto", "cpu", "cuda", "cuda:1".
            example_size: (width, height) of the image that is preprocessed to learn the shapes of
                layers, for a preprocessing that does not resize.

        Raises:
            InputError: if an argument has the wrong type.
        """
        if not _is_module(model):
            raise _wrong_role("model", model, "a torch.nn.Module")
        if not callable(preprocess):
            raise _wrong_role("preprocess", preprocess, "a function from an image to a tensor")
        name = type(model).__name__ if name is None else name
        return cls(name, lambda: Loaded(model, preprocess, classes), device, example_size)

    def untrained(self) -> Target:
        """Returns the same network with any weights, for looking at its layers.

        No file of weights is read if the architecture alone can be built; else this target is returned
        in a new object.
        """
        return Target(self.name, self._load_untrained, self._device, self._example_size)

    def __repr__(self) -> str:
        return f"Target({self.name!r})"

    @cached_property
    def device(self) -> torch.device:
        """Device that the network runs on."""
        return devices.resolve(self._device)

    @cached_property
    def loaded(self) -> Loaded:
        """The network in memory, with what belongs to it."""
        loaded = self._load()
        loaded.model.eval().requires_grad_(False).to(self.device)
        return loaded

    @property
    def model(self) -> nn.Module:
        """The network: in evaluation mode, on `device`, without gradients."""
        return self.loaded.model

    @property
    def preprocess(self) -> Preprocess:
        """From an RGB image to the network's input [C, H, W]."""
        return self.loaded.preprocess

    @property
    def classes(self) -> Sequence[str] | None:
        """Names of the final layer's units, where they are known."""
        return self.loaded.classes

    @property
    def commit(self) -> str | None:
        """Commit of weights from the Hugging Face Hub, a value for `revision`; None for other weights."""
        return self.loaded.commit

    def fingerprint(self) -> str:
        """Hash of architecture, weights (every byte) and preprocessing; not of name or device."""
        return fingerprint(self._components)

    def fingerprints(self) -> dict[str, str]:
        """Hash of each part of `fingerprint`: architecture, settings, preprocessing and weights."""
        names = {"identity": "settings", "preprocess": "preprocessing"}
        return {names.get(key, key): fingerprint(value) for key, value in self._components.items()}

    @cached_property
    def _components(self) -> dict[str, Any]:
        return {
            "architecture": architecture(self.model),
            "identity": describe(dict(self.loaded.identity)),
            "preprocess": describe(self.preprocess),
            "weights": weights_digest(self.model),
        }

    def region(self, image_size: tuple[int, int]) -> Region:
        """Returns the part of an image of (width, height) that the preprocessing shows; measured.

        Raises:
            InputError: if the preprocessing is not a plain resize and crop.
        """
        return self._gauge.region(image_size)

    @cached_property
    def _gauge(self) -> RegionGauge:
        return RegionGauge(self.preprocess)

    def example_input(self) -> Tensor:
        """Returns [C, H, W]: a preprocessed grey image.

        Raises:
            InputError: if the preprocessing does not return a floating-point tensor of three dimensions.
        """
        import torch
        from PIL import Image

        example = self.preprocess(Image.new("RGB", self._example_size, (127, 127, 127)))
        if not isinstance(example, torch.Tensor) or example.ndim != 3 or not example.is_floating_point():
            returned = (
                f"{example.dtype} {list(example.shape)}" if hasattr(example, "shape") else type(example)
            )
            raise InputError(
                f"the preprocessing of {self.name} returns {returned}",
                "it must return a float tensor [channels, height, width] for one image",
            )
        return example


def _is_module(value: Any) -> bool:
    # Without importing torch, which takes seconds: where it is not imported, there is no module.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise _wrong_role("name", name, "a text")


def _wrong_role(argument: str, value: Any, expected: str) -> InputError:
    return InputError(
        f"Target: the argument `{argument}` must be {expected}, got {type(value).__name__}",
        "for a network in memory: Target.of(model, preprocess, name=...)",
    )


def build_seeded(seed: int, build: Callable[..., T], *args: Any, **settings: Any) -> T:
    """Builds a network with random weights of `seed`; restores the global generator afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build(*args, **settings)
