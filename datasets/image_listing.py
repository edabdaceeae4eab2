"""Lists the images of a folder, selects some of them, and fingerprints files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np

from ..harness.errors import InputError, one_of
from ..harness.files import file_digest, fingerprint

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Endings of image files (case-insensitive), the same as in torchvision's `ImageFolder`."""

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
        raise InputError(f"{path} is a file, not a folder", "give the folder that contains the data set")
    raise InputError(f"no such folder: {path}", "give the folder that the data set was unpacked into")


def subfolders(folder: Path) -> list[str]:
    """Returns the sorted names of the folders in `folder`, without hidden ones.

    Raises:
        InputError: if the folder cannot be read.
    """
    try:
        return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        _raise_unreadable(error)


def list_images(folder: Path, recursive: bool = True) -> list[str]:
    """Returns the images below `folder` as relative paths with `/`, in torchvision's order.

    That order is by folder, then by file name. Hidden files and folders are skipped: archives
    made on a Mac contain a hidden `._name.jpg`, which is not an image, for each image.

    Raises:
        InputError: if a folder cannot be read, or a file name is not valid text.
    """
    images: list[tuple[str, str]] = []
    # Without onerror, os.walk skips folders that it cannot read, and images would be missing silently.
    for parent, folders, files in os.walk(folder, onerror=_raise_unreadable, followlinks=True):
        # In place: os.walk descends into the folders that are left in its list.
        folders[:] = [name for name in folders if not name.startswith(".")] if recursive else []
        images += [(parent, f) for f in files if f.lower().endswith(EXTENSIONS) and not f.startswith(".")]
    # One prefix per folder: building a Path for every one of a million images is slow.
    prefixes = {parent: _prefix(Path(parent).relative_to(folder)) for parent, _ in images}
    return [_checked(prefixes[parent] + file) for parent, file in sorted(images)]


def _prefix(folder: Path) -> str:
    return f"{folder.as_posix()}/" if folder.parts else ""


def _checked(path: str) -> str:
    # Paths are written into records and hashed, both as UTF-8.
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"the file name {path!r} is not valid UTF-8", "rename the file") from None
    return path


def _raise_unreadable(error: OSError) -> NoReturn:
    raise InputError(f"cannot read the folder {error.filename}: {error.strerror}") from error


def choose(n: int, limit: int | None, seed: int | None) -> list[int]:
    """Returns the indices of the images to use, out of `n`, in ascending order.

    Args:
        n: number of images available.
        limit: maximum number to use; None: all.
        seed: seed of the random choice; a smaller limit chooses a subset of a larger one's images.
            None takes the first images.

    Raises:
        InputError: if `limit` is not a positive integer.
    """
    if limit is None:
        return list(range(n))
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InputError(f"limit must be a positive integer or null, got {limit!r}")
    if seed is None or limit >= n:
        return list(range(min(n, limit)))
    # The start of one permutation, not rng.choice: this makes smaller choices subsets of larger ones.
    return sorted(np.random.default_rng(seed).permutation(n)[:limit].tolist())


def identify(root: Path, paths: Iterable[str], identity: Identity) -> str:
    """Returns a hash of the files at `paths` below `root`; it does not depend on `root` itself.

    Args:
        root: folder.
        paths: relative paths, with `/`. A missing file is hashed as missing.
        identity: "stat" hashes paths, sizes and modification times; "content" hashes paths and
            contents, which is slow but the same for a copy with other times.

    Raises:
        InputError: if `identity` is unknown or a file cannot be read.
    """
    one_of("probe.identity", identity, ("stat", "content"))
    state = _stat if identity == "stat" else file_digest
    entries: list[tuple[str, object]] = []
    for path in paths:
        try:
            entries.append((path, state(f"{root}/{path}")))
        except FileNotFoundError:
            entries.append((path, None))  # reported when the image is decoded, if it is used at all
        except OSError as error:
            raise InputError(f"cannot read {root / path}: {error.strerror}") from error
    return fingerprint([identity, entries])


def _stat(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - runs for every file; a Path would double the time
    return status.st_size, status.st_mtime_ns
