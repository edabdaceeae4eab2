"""Where the weights of a foundation model lie, and the hash that names them.

A model is given as a local folder, as `package:<package>/<path>` (shipped inside an installed package)
or as a name on the Hugging Face hub, looked up in the local cache before the network is tried.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import importlib.util
import os
import re
from collections.abc import Sequence
from pathlib import Path

from .errors import InputError
from .files import file_digest

PACKAGE_PREFIX = "package:"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz")
SETTING_SUFFIXES = (".json", ".txt", ".model", ".jinja")
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
# Copies of the same weights for other frameworks: never needed here, and often the larger download.
_OTHER_FRAMEWORKS = (
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.onnx*",
    "*.tflite",
    "*.gguf",
    "*openvino*",
    "*.mlpackage/*",
)


def snapshot(name_or_path: str, *, patterns: Sequence[str] | None = None) -> Path:
    """Returns the folder that holds a model, downloading it only if it is not on this machine.

    Looked up in this order: an existing local folder; `package:<package>/<path>`; the Hugging Face
    cache; the hub.

    Args:
        name_or_path: a folder, `package:<package>/<path>`, or a hub name such as `org/model`.
        patterns: file names or wildcards that are needed; None: all but other frameworks' weights.

    Raises:
        InputError: if it cannot be had; says what to download and where to put it.
    """
    if name_or_path.startswith(PACKAGE_PREFIX):
        return _in_package(name_or_path)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    shown = _without_secrets(name_or_path)
    if path.exists():
        raise InputError(f"{shown} is a file; a model is given as the folder around it, or by hub name")
    if shown != name_or_path or not _HUB_NAME.fullmatch(name_or_path):
        raise InputError(
            f"no such folder: {shown}", "give an existing folder, or a hub name as org/model"
        )
    return _from_cache(name_or_path, patterns) or _from_hub(name_or_path, patterns)


def _in_package(name: str) -> Path:
    package, _, inner = name.removeprefix(PACKAGE_PREFIX).partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{name}: no package {package!r} is installed", "install the package that ships it"
        )
    for root in spec.submodule_search_locations:
        folder = Path(root, inner)
        if folder.is_dir():
            return folder
    raise InputError(f"{name}: the installed package {package!r} has no folder {inner!r}")


def _from_cache(name: str, patterns: Sequence[str] | None) -> Path | None:
    """Returns the cached snapshot, or None where there is none or a part of it is missing."""
    try:
        folder = _download(name, patterns, local_files_only=True)
    except OSError:
        return None
    return folder if _is_complete(folder, patterns) else None


def _download(name: str, patterns: Sequence[str] | None, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        name,
        local_files_only=local_files_only,
        allow_patterns=None if patterns is None else list(patterns),
        ignore_patterns=list(_OTHER_FRAMEWORKS) if patterns is None else None,
    )
    return Path(folder)


def _is_complete(folder: Path, patterns: Sequence[str] | None) -> bool:
    """Whether the needed files are there: a cache filled file by file may hold only a few of them."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    if patterns is None:
        return any(name.endswith(WEIGHT_SUFFIXES) for name in names)
    literal = [pattern for pattern in patterns if not set(pattern) & set("*?[")]
    found = any(fnmatch.fnmatch(name, pattern) for name in names for pattern in patterns)
    return found and set(literal) <= set(names)


def _from_hub(name: str, patterns: Sequence[str] | None) -> Path:
    from huggingface_hub import errors

    # The library's own messages are left out: they may carry signed addresses.
    try:
        folder = _download(name, patterns, local_files_only=False)
    except errors.GatedRepoError:
        raise InputError(
            f"the model {name} is gated: its owner asks for an agreement first",
            f"accept it on the model's page and run `hf auth login`, or {_by_hand(name)}",
        ) from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"the hub has no model {name}, or it is private",
            f"check the spelling; for a private one run `hf auth login`, or {_by_hand(name)}",
        ) from None
    except Exception as error:  # network errors have no common base over the client's versions
        raise InputError(_unreachable(name, error), _by_hand(name)) from None
    if not _is_complete(folder, patterns):
        wanted = "weights" if patterns is None else ", ".join(patterns)
        raise InputError(
            f"the model {name} is not complete in {folder}: it lacks {wanted}", _by_hand(name)
        )
    return folder


def _unreachable(name: str, error: Exception) -> str:
    from huggingface_hub import constants

    cache = constants.HF_HUB_CACHE
    if constants.HF_HUB_OFFLINE:
        return f"the model {name} is not in {cache}, and HF_HUB_OFFLINE forbids to download it"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot download the model {name} to {cache}: {os.strerror(error.errno)}"
    return f"the model {name} is not in {cache}, and the hub cannot be reached ({type(error).__name__})"


def _by_hand(name: str) -> str:
    return (
        f"on a machine with network run `hf download {name} --local-dir FOLDER`, "
        f"copy FOLDER here and give its path instead of {name}"
    )


def _without_secrets(text: str) -> str:
    """Strips what may be a secret from a name that was pasted whole, such as an address with a token."""
    return re.sub(r"hf_\w{8,}", "hf_***", re.sub(r"//[^/@\s]*@", "//***@", text))


def weights_digest(folder_or_file: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 (hex) over the weight files of a model, by name and content.

    A file is read once per process as long as its size and modification time stay the same.

    Raises:
        InputError: if there is no weight file.
    """
    return _digest(Path(folder_or_file), WEIGHT_SUFFIXES, "weights")


def settings_digest(folder: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 (hex) over the configuration, tokenizer and preprocessing files of a model.

    Raises:
        InputError: if there is none.
    """
    return _digest(Path(folder), SETTING_SUFFIXES, "configuration")


def _digest(path: Path, suffixes: tuple[str, ...], what: str) -> str:
    if path.is_file():
        return _file_digest(path)
    files = sorted(
        file for file in path.rglob("*") if file.suffix in suffixes and _is_content(file, path)
    )
    if not files:
        raise InputError(f"no {what} in {path}", f"expected a file ending in {', '.join(suffixes)}")
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(path).as_posix()} {_file_digest(file)}\n".encode())
    return total.hexdigest()


def _is_content(file: Path, root: Path) -> bool:
    """Whether a file belongs to the model; hidden folders hold a downloader's own notes."""
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(root).parts)


def _file_digest(file: Path) -> str:
    file = file.resolve()
    state = file.stat()
    return _known_digest(file, state.st_size, state.st_mtime_ns)


@functools.cache
def _known_digest(file: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001 - parts of the key
    return file_digest(file)
