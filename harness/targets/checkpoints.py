"""Reads weights from files, without running code in them, and loads them into a network."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from ..errors import InputError
from ..weights import PACKAGE_PREFIX, package_path
from . import renaming

if TYPE_CHECKING:
    from torch import Tensor, nn

NESTED = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Keys under which training scripts save the weights, next to epoch, optimizer and so on."""

PREFIXES = ("module.", "model.", "_orig_mod.")
"""Prefixes that DataParallel, Lightning and torch.compile add to every name."""

# Torch's messages about a pickle that contains more than tensors; the group is the refused class.
_REFUSED = re.compile(
    r"(?:unsupported global:?(?: GLOBAL)?|unrecognized function|but got) (<.+?>|\S+)", re.I
)

# In DenseNet checkpoints from before torch 0.4, `norm1` is called `norm.1`, and so on.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")


def load_into(model: nn.Module, path: str, rename: str | None = None) -> None:
    """Loads the weights of a file into `model`.

    Args:
        model: the network.
        path: see `load_checkpoint`.
        rename: how to rename the tensors, see `renaming.rename`; None: not at all.

    Raises:
        InputError: if the file cannot be read, or does not fit the network.
    """
    state = load_checkpoint(path)
    # safetensors stores tensors sorted by type and name.
    ordered = not path.endswith(".safetensors")
    if rename is not None:
        state = renaming.rename(state, model.state_dict(), rename, ordered=ordered)
    apply(model, state, ordered=ordered)


def load_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Reads the weights of a `.pth`, `.pth.tar`, `.pt`, `.bin` or `.safetensors` file, on the CPU.

    The state dict may be nested under one of `NESTED`; `PREFIXES` that all names share are removed. No
    code in the file is run.

    Args:
        path: a file, or `package:<package>/<path>` for one that an installed package contains.

    Raises:
        InputError: if the file does not exist, is damaged, or contains no weights or more than tensors.
    """
    if str(path).startswith(PACKAGE_PREFIX):
        path = package_path(str(path))
    path = Path(path).expanduser()
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"checkpoint {path} {problem}", "set target.checkpoint= to a file with weights")
    content = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    return _without_prefixes(_state(content, path))


def apply(model: nn.Module, state: Mapping[str, Tensor], *, ordered: bool = True) -> None:
    """Loads `state` into `model`; every name and shape must agree.

    Args:
        model: the network.
        state: the tensors by name.
        ordered: whether `state` has the order in which the tensors were saved, for the hint.

    Raises:
        InputError: with the names that are missing, unexpected, or of another shape; the model is then
            unchanged.
    """
    expected = model.state_dict()
    state = {_OLD_DENSENET.sub(r"\1", name): tensor for name, tensor in state.items()}
    missing = [n for n in expected if n not in state and not n.endswith(renaming.COUNTER)]
    unexpected = [n for n in state if n not in expected]
    mismatched = [n for n in state if n in expected and state[n].shape != expected[n].shape]
    if not (missing or unexpected or mismatched):
        model.load_state_dict(dict(state), strict=False)
        return
    shapes = [f"{n} {list(state[n].shape)} instead of {list(expected[n].shape)}" for n in mismatched]
    problems = [
        _few("missing", missing),
        _few("unexpected", unexpected),
        _few("of another shape", shapes),
    ]
    raise InputError(
        "the checkpoint does not fit the network: " + "; ".join(filter(None, problems)),
        _hint(missing + unexpected, mismatched, state, expected, ordered=ordered),
    )


def hub_file(url: str) -> Path:
    """Returns the file of `url` in torch's hub cache; downloads it if it is missing.

    Raises:
        InputError: if it cannot be downloaded; gives the URL and the path where the file belongs.
    """
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if path.is_file():
        return path
    digest = re.search(r"-([a-f0-9]+)\.", path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digest and digest.group(1))
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"cannot download {url}: {error}",
            f"download it elsewhere and put it at {path}, or set target.checkpoint= to a local file; "
            "target=efficientnet_lite0 needs no download",
        ) from error
    return path


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from error


def _pickled(path: Path) -> Any:
    import numpy as np
    import torch

    # Training scripts save scores as NumPy numbers, and their options; neither can run code. The
    # function that unpickles NumPy numbers has no public name.
    number = np.float64(0).__reduce__()[0]
    harmless = [argparse.Namespace, np.dtype, number, *{type(np.dtype(t)) for t in "?bhilqefd"}]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = _REFUSED.search(str(error))
        if refused is None:
            raise damaged(path, error) from error
        raise InputError(
            f"checkpoint {path} was not opened, because that could run code: besides tensors it contains "
            f"{refused.group(1)}",
            "save the weights alone: torch.save(model.state_dict(), ...) or a .safetensors file",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> InputError:
    """Returns the error for a file of weights that cannot be read."""
    first = (str(error).splitlines() or [""])[0]
    return InputError(
        f"checkpoint {path} cannot be read: {first or type(error).__name__}",
        "the file is damaged, incomplete or not a checkpoint; download it again",
    )


def _state(content: Any, path: Path) -> dict[str, Tensor]:
    """Returns the tensors of the state dict, which may be nested."""
    import torch

    if isinstance(content, Mapping):
        for key in NESTED:
            if isinstance(content.get(key), Mapping):
                return _state(content[key], path)
        state = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
        if state:
            return state
        contents = f"a mapping of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    else:
        contents = f"a {type(content).__name__}"
    raise InputError(
        f"checkpoint {path} contains no weights but {contents}",
        f"expected a mapping from names to tensors, or one under {', '.join(NESTED)}",
    )


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _without_prefixes({name[len(prefix) :]: value for name, value in state.items()})
    return state


def _few(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f", ... ({len(names)} in total)" if len(names) > 3 else ""
    return f"{what}: {', '.join(names[:3])}{more}"


def _hint(
    unmatched: list[str],
    mismatched: list[str],
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    ordered: bool,
) -> str | None:
    """Guesses the mistake: another number of classes, other names, or another architecture."""
    modules = {name.rpartition(".")[0] for name in mismatched}
    if not unmatched and len(modules) == 1 and len(mismatched) <= 2:  # weight and bias of a linear layer
        return f"the last layer has another size: set num_classes={state[mismatched[0]].shape[0]}"
    if names_differ := renaming.suggestion(state, expected, ordered=ordered):
        return names_differ
    if len(mismatched) + len(unmatched) > len(expected) / 2:
        return "these look like the weights of another architecture"
    return None
