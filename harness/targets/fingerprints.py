"""Describes a target's architecture, weights and preprocessing in JSON, for the keys of caches."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

# Objects of these are described by class and settings; a hash of their source would change with every
# release.
LIBRARIES = ("torch", "torchvision", "timm", "transformers", "open_clip", "PIL", "numpy", "builtins")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def architecture(model: nn.Module) -> list[list[Any]]:
    """Returns [path, class, settings, source hash] of every module; the hash for users' classes only."""
    return [
        [name, _name(type(module)), _ADDRESS.sub("", module.extra_repr()), _source(type(module))]
        for name, module in model.named_modules()
    ]


def weights_digest(model: nn.Module) -> str:
    """Returns the SHA-256 (hex) of every tensor of the state: name, type, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def describe(value: Any) -> Any:
    """Returns a JSON-able value that differs for callables and settings whose behaviour may differ.

    An object with an attribute `identity` is described by that alone. Objects of `LIBRARIES` are
    described by their class and public settings; functions and classes of users by name and source, with
    the values they close over. Memory addresses are removed: they differ between processes.
    """
    return _describe(value, ())


def _describe(value: Any, above: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return repr(float(value))  # JSON has no infinities and no NaN
    if id(value) in above:  # an object that contains itself
        return "recursion"
    inner = functools.partial(_describe, above=(*above, id(value)))
    explicit = getattr(value, "identity", None)
    if explicit is not None and not isinstance(value, type):
        return [_name(value), inner(explicit() if callable(explicit) else explicit)]
    if isinstance(value, Mapping):
        return {str(key): inner(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [inner(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)) or _is_tensor(value):
        return [str(value.dtype), list(value.shape), hashlib.sha256(_bytes(value)).hexdigest()]
    return _describe_object(value, inner)


def _describe_object(value: Any, inner: Callable[[Any], Any]) -> Any:
    if isinstance(value, functools.partial):
        return ["partial", *map(inner, (value.func, value.args, value.keywords))]
    if isinstance(value, types.MethodType):
        return [value.__func__.__qualname__, inner(value.__self__)]
    if isinstance(value, types.FunctionType):
        return _function(value, inner)
    if isinstance(value, (set, frozenset)):
        return [_name(value), sorted(_ADDRESS.sub("", repr(item)) for item in value)]
    if isinstance(value, (type, Enum)) or not hasattr(value, "__dict__"):
        return [_name(value), _ADDRESS.sub("", repr(value)), _source(value)]
    return [_name(value), _source(type(value)), inner(_settings(value))]


def _function(function: types.FunctionType, inner: Callable[[Any], Any]) -> list[Any]:
    closed = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
    defaults = [function.__defaults__, function.__kwdefaults__]
    return [_name(function), _source(function), *map(inner, (closed, defaults))]


def _settings(value: Any) -> dict[str, Any]:
    """Returns the attributes of an object; of a library's object, the public ones.

    The private names below contain the submodules and tensors of a `torch.nn.Module`.
    """
    private = {"_modules", "_parameters", "_buffers"}
    users = not _is_library(type(value))
    return {
        key: item
        for key, item in sorted(vars(value).items())
        if users or not key.startswith("_") or key in private
    }


def _is_library(value: Any) -> bool:
    return (getattr(value, "__module__", None) or "builtins").partition(".")[0] in LIBRARIES


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _name(value: Any) -> str:
    """Returns module and qualified name of a class or function, or of an object's class."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _source(value: Any) -> str | None:
    """Returns the hash of the source of a user's class or function; None for libraries or no source."""
    if _is_library(value):
        return None
    try:
        return hashlib.sha256(inspect.getsource(value).encode()).hexdigest()
    except (OSError, TypeError):
        return None


def _bytes(value: Any) -> bytes:
    """Returns the content of a tensor or array, in C order."""
    import torch

    if isinstance(value, torch.Tensor):
        flat: Tensor = value.detach().cpu().contiguous().reshape(-1)
        return flat.view(torch.uint8).numpy().tobytes()
    return np.ascontiguousarray(value).tobytes()
