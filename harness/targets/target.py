"""Targets: the networks under study, each with its own preprocessing.

Making a target is cheap: nothing is read before its network is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .. import devices
from ..errors import InputError
from ..files import fingerprint
from ..probe import Region
from .fingerprints import architecture, describe, weights_digest
from .import_path import call_user, import_object
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

    Args:
        name: name of the target in records and tables.
        load: returns the network; raises `InputError` if that is not possible.
        device: device to run on: "auto", "cpu", "cuda", "cuda:1".
        example_size: (width, height) of the blank image that `example_input` preprocesses.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Loaded],
        device: str = "auto",
        example_size: Sequence[int] = (224, 224),
    ) -> None:
        self.name = name
        self._load = load
        self._device = device
        self._example_size = (int(example_size[0]), int(example_size[1]))

    @classmethod
    def of(
        cls,
        name: str,
        model: nn.Module,
        preprocess: Preprocess,
        *,
        classes: Sequence[str] | None = None,
        device: str = "auto",
        example_size: Sequence[int] = (224, 224),
    ) -> Target:
        """Returns the target of a network that is already in memory."""
        return cls(name, lambda: Loaded(model, preprocess, classes), device, example_size)

    def __repr__(self) -> str:
        return f"Target({self.name!r})"

    @cached_property
    def device(self) -> torch.device:
        """Device that the network runs on."""
        return devices.resolve(self._device)

    @cached_property
    def _loaded(self) -> Loaded:
        loaded = self._load()
        loaded.model.eval().requires_grad_(False).to(self.device)
        return loaded

    @property
    def model(self) -> nn.Module:
        """The network: in evaluation mode, on `device`, without gradients."""
        return self._loaded.model

    @property
    def preprocess(self) -> Preprocess:
        """From an RGB image to the network's input [C, H, W]."""
        return self._loaded.preprocess

    @property
    def classes(self) -> Sequence[str] | None:
        """Names of the final layer's units, where they are known."""
        return self._loaded.classes

    @property
    def commit(self) -> str | None:
        """Commit of weights from the Hugging Face Hub, a value for `revision`; None for other weights."""
        return self._loaded.commit

    def fingerprint(self) -> str:
        """Hash of architecture, weights (every byte) and preprocessing; not of name or device."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(
            {
                "architecture": architecture(self.model),
                "identity": describe(dict(self._loaded.identity)),
                "preprocess": describe(self.preprocess),
                "weights": weights_digest(self.model),
            }
        )

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


def from_factory(
    factory: str,
    name: str | None = None,
    device: str = "auto",
    classes: Sequence[str] | None = None,
    example_size: Sequence[int] = (224, 224),
    **settings: Any,
) -> Target:
    """Builds a target from a user function.

    Args:
        factory: "package.module:function"; modules in the working directory are found too. The
            function returns `(model, preprocess)`, `(model, preprocess, classes)` or a `Target`;
            `preprocess` turns an RGB image into a float tensor [C, H, W] and can be pickled.
        name: name of the target in records; by default the function's name.
        device: device to run on.
        classes: names of the outputs; by default those that the function returns.
        example_size: (width, height) of the image that is preprocessed to learn the shapes of layers,
            for a preprocessing that does not resize.
        settings: passed on to the function.
    """

    def load() -> Loaded:
        returned = call_user(factory, import_object(factory), **settings)
        loaded = _from_user(factory, returned)
        names = loaded.classes if classes is None else classes
        identity = {"factory": factory, **settings, **loaded.identity}
        return Loaded(loaded.model, loaded.preprocess, names, identity, loaded.commit)

    return Target(name or factory.rpartition(":")[2], load, device, example_size)


def _from_user(factory: str, returned: Any) -> Loaded:
    from torch import nn

    if isinstance(returned, Target):
        return returned._loaded
    parts: list[Any] = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    model, preprocess, classes = (*parts, None, None, None)[:3]
    if not (2 <= len(parts) <= 3 and isinstance(model, nn.Module) and callable(preprocess)):
        types = ", ".join(type(part).__name__ for part in parts)
        raise InputError(
            f"factory {factory} returned ({types})",
            "it must return (model, preprocess), (model, preprocess, classes) or a Target",
        )
    return Loaded(model, cast("Preprocess", preprocess), classes)


def build_seeded(seed: int, build: Callable[..., T], *args: Any, **settings: Any) -> T:
    """Builds a network with random weights of `seed`; restores the global generator afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build(*args, **settings)
