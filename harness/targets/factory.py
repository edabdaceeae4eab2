"""Makes targets from users' own functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ..errors import InputError
from .import_path import call_user, import_object
from .target import Loaded, Target

if TYPE_CHECKING:
    from .preprocess import Preprocess

# What a module that returns only a network calls its preprocessing.
PREPROCESS = "preprocess"


def from_factory(
    factory: str,
    name: str | None = None,
    device: str = "auto",
    classes: Sequence[str] | None = None,
    example_size: Sequence[int] = (224, 224),
    preprocess: str | None = None,
    **settings: Any,
) -> Target:
    """Builds a target from a user function.

    Args:
        factory: "package.module:function" or "path/to/file.py:function"; modules in the working
            directory are found too. The function returns the network, `(model, preprocess)`,
            `(model, preprocess, classes)` or a `Target`.
        name: name of the target in records; by default the function's name.
        device: device to run on.
        classes: names of the outputs; by default those that the function returns.
        example_size: (width, height) of the image that is preprocessed to learn the shapes of layers,
            for a preprocessing that does not resize.
        preprocess: the preprocessing: "function" of the same module, or "package.module:function". By
            default the one that the function returns, else the module's `preprocess`. It turns an RGB
            image into a float tensor [C, H, W] and can be pickled.
        settings: passed on to the function.
    """

    def load() -> Loaded:
        returned = call_user(factory, import_object(factory), **settings)
        loaded = _loaded(factory, returned, preprocess)
        names = loaded.classes if classes is None else classes
        identity = {"factory": factory, **settings, **loaded.identity}
        return Loaded(loaded.model, loaded.preprocess, names, identity, loaded.commit)

    return Target(name or factory.rpartition(":")[2], load, device, example_size)


def _loaded(factory: str, returned: Any, preprocess: str | None) -> Loaded:
    from torch import nn

    if isinstance(returned, Target):
        loaded = returned.loaded
        return (
            loaded if preprocess is None else replace(loaded, preprocess=_preprocess(factory, preprocess))
        )
    parts: list[Any] = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    if len(parts) == 1 and isinstance(parts[0], nn.Module):
        parts.append(_preprocess(factory, preprocess))
    elif preprocess is not None and len(parts) > 1:
        parts[1] = _preprocess(factory, preprocess)
    model, function, classes = (*parts, None, None, None)[:3]
    if not (2 <= len(parts) <= 3 and isinstance(model, nn.Module) and callable(function)):
        types = ", ".join(type(part).__name__ for part in parts)
        raise InputError(
            f"factory {factory} returned ({types})",
            "it must return the network, (model, preprocess), (model, preprocess, classes) or a Target",
        )
    return Loaded(model, cast("Preprocess", function), classes)


def _preprocess(factory: str, name: str | None) -> Callable[..., Any]:
    """Imports the preprocessing: the named one, or the one of the factory's module."""
    module = factory.rpartition(":")[0]
    if name is not None:
        return import_object(name if ":" in name else f"{module}:{name}")
    try:
        return import_object(f"{module}:{PREPROCESS}")
    except InputError as error:
        raise InputError(
            f"factory {factory} returned a network without preprocessing: {error.message}",
            f"define {PREPROCESS}(image) in the module, name a function with preprocess=, "
            "or return (model, preprocess)",
        ) from error
