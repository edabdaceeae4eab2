"""Which images lie in a folder, which of them are chosen, and what identifies them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np

from ..harness.errors import InputError, nearest
from ..harness.files import file_digest, fingerprint

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Endings of image files, in any case: those of torchvision's `ImageFolder`."""

Identity = Literal["stat", "content"]


def existing_folder(root: str | os.PathLike[str]) -> Path:
    """Returns `root` as a path, with `~` expanded.

    Raises:
        InputError: if it is not a folder.
    """
    path = Path(root).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(f"{path} is a file, not a folder", "give the folder that holds the data set")
    raise InputError(f"no such folder: {path}", "give the folder where the data set was unpacked")


def subfolders(folder: Path) -> list[str]:
    """Returns the names of the folders in `folder`, sorted; hidden ones are left out.

    Raises:
        InputError: if the folder cannot be read.
    """
    try:
        return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        _refuse(error)


def list_images(folder: Path, recursive: bool = True) -> list[str]:
    """Returns the images below `folder`, relative to it, with `/`, in the order of torchvision.

    That order is by folder, then by file name. Hidden files and folders are left out: archives
    made on a Mac carry a hidden `._name.jpg`, which is no image, beside each image.

    Raises:
        InputError: if a folder cannot be read, or a file name is not valid text.
    """
    found: list[tuple[str, str]] = []
    for where, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")] if recursive else []
        found += [(where, f) for f in files if f.lower().endswith(EXTENSIONS) and not f.startswith(".")]
    prefixes = {where: _prefix(Path(where).relative_to(folder)) for where, _ in found}
    return [_checked(prefixes[where] + file) for where, file in sorted(found)]


def _prefix(folder: Path) -> str:
    return f"{folder.as_posix()}/" if folder.parts else ""


def _checked(path: str) -> str:
    # Paths go into records and keys, which are UTF-8.
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"the file name {path!r} is not valid UTF-8", "rename the file") from None
    return path


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"cannot read the folder {error.filename}: {error.strerror}") from error


def choose(n: int, limit: int | None, seed: int | None) -> list[int]:
    """Returns which of `n` images are shown, in ascending order.

    Args:
        n: how many there are.
        limit: how many to take at most; None takes all.
        seed: of the random choice; a smaller limit takes a part of what a larger one takes. None
            takes the first images.

    Raises:
        InputError: if `limit` is not a positive integer.
    """
    if limit is None:
        return list(range(n))
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InputError(f"limit must be a positive integer or null, got {limit!r}")
    if seed is None or limit >= n:
        return list(range(min(n, limit)))
    return sorted(np.random.default_rng(seed).permutation(n)[:limit].tolist())


def identify(root: Path, paths: Iterable[str], identity: Identity) -> str:
    """Returns a hash of the files at `paths` below `root`, which itself has no part in it.

    Args:
        root: folder.
        paths: relative paths, with `/`. A missing file counts as missing.
        identity: "stat" hashes paths, sizes and modification times; "content" hashes paths and
            contents, which is slow but outlasts a copy.

    Raises:
        InputError: if `identity` is unknown or a file cannot be read.
    """
    if identity not in ("stat", "content"):
        hint = nearest(str(identity), ("stat", "content")) or None
        raise InputError(f"identity must be stat or content, got {identity!r}", hint)
    state = _stat if identity == "stat" else file_digest
    entries: list[tuple[str, object]] = []
    for path in paths:
        try:
            entries.append((path, state(f"{root}/{path}")))
        except FileNotFoundError:
            entries.append((path, None))
        except OSError as error:
            raise InputError(f"cannot read {root / path}: {error.strerror}") from error
    return fingerprint([identity, entries])


def _stat(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - called for every file; a Path would double the time
    return status.st_size, status.st_mtime_ns
