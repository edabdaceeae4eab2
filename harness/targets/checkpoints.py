"""Weights from files: read without running code, matched to a network with errors that help."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from ..errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

NESTED = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Keys under which training scripts keep the weights beside epoch, optimizer and so on."""

PREFIXES = ("module.", "model.", "_orig_mod.")
"""What DataParallel, Lightning and torch.compile put before every name."""

# What torch says of a pickle that asks for more than tensors.
_REFUSED = re.compile(
    r"(?:unsupported global:?(?: GLOBAL)?|unrecognized function|but got) (<.+?>|\S+)", re.I
)

# DenseNet checkpoints from before torch 0.4 name `norm.1` what is `norm1` now.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")


def load_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Reads the weights of a `.pth`, `.pth.tar`, `.pt`, `.bin` or `.safetensors` file, on the CPU.

    A state dict nested under one of `NESTED` is found, and prefixes that all names share are dropped.
    No code in the file is ever run.

    Raises:
        InputError: if there is no such file, it is damaged, holds more than plain tensors, or no weights.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"checkpoint {path} {found}", "set checkpoint= to a file with weights")
    content = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    return _without_prefixes(_state(content, path))


def apply(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads `state` into `model`; every name and shape must agree.

    Raises:
        InputError: counting and naming what is missing, left over, or of another shape; the model is
            then unchanged.
    """
    expected = model.state_dict()
    state = {_OLD_DENSENET.sub(r"\1", name): tensor for name, tensor in state.items()}
    # Files from before torch 0.4 do not count batches; only training ever reads the count.
    missing = [n for n in expected if n not in state and not n.endswith("num_batches_tracked")]
    left_over = [n for n in state if n not in expected]
    other = [n for n in state if n in expected and state[n].shape != expected[n].shape]
    if not (missing or left_over or other):
        model.load_state_dict(dict(state), strict=False)
        return
    shapes = [f"{n} {list(state[n].shape)} instead of {list(expected[n].shape)}" for n in other]
    problems = [_few("missing", missing), _few("left over", left_over), _few("of another shape", shapes)]
    raise InputError(
        "the checkpoint does not fit the network: " + "; ".join(filter(None, problems)),
        _hint(missing + left_over, other, state, len(expected)),
    )


def hub_file(url: str) -> Path:
    """Returns the file of `url` in torch's hub cache, downloading it if it is not there.

    Raises:
        InputError: if it cannot be downloaded; names the address and where the file belongs.
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
            f"download it elsewhere and put it at {path}, or set checkpoint= to a local file",
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

    # Training scripts log scores as numpy numbers and keep their options; neither can run code.
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
            f"checkpoint {path} was not opened, since that could run code: besides tensors it holds "
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
        "the file is damaged, incomplete or no checkpoint; get it again",
    )


def _state(content: Any, path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a state dict, wherever in the file it is."""
    import torch

    if isinstance(content, Mapping):
        for key in NESTED:
            if isinstance(content.get(key), Mapping):
                return _state(content[key], path)
        state = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
        if state:
            return state
        found = f"a mapping of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    else:
        found = f"a {type(content).__name__}"
    raise InputError(
        f"checkpoint {path} holds no weights but {found}",
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
    more = f", ... ({len(names)} in all)" if len(names) > 3 else ""
    return f"{what}: {', '.join(names[:3])}{more}"


def _hint(
    unmatched: Iterable[str], other: list[str], state: Mapping[str, Tensor], total: int
) -> str | None:
    """Guesses the mistake: another number of classes, or another architecture."""
    if not list(unmatched) and len(other) <= 2 and len({n.rpartition(".")[0] for n in other}) == 1:
        return f"the last layer has another size: set num_classes={state[other[0]].shape[0]}"
    if len(other) + len(list(unmatched)) > total / 2:
        return "these look like the weights of another architecture"
    return None
