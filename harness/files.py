"""Writes files atomically, and computes fingerprints of files and values."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .errors import InputError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`; on success it replaces `path` atomically.

    For writers that need a path (`np.save`, `safetensors`, `DataFrame.to_parquet`). The content is
    flushed to disk before the rename: a reader sees the old file or the new file, never a partial one.
    On any exception the temporary file is removed and `path` is unchanged.

    Raises:
        InputError: if the disk is full or the folder is not writable.
    """
    path = Path(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder: a rename is atomic only within one file system.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            # mkstemp creates files that only the owner may read; other files follow the umask.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()


@contextmanager
def atomic_open(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a file for atomic writing: `"w"` for UTF-8 text with Unix line ends, `"wb"` for bytes."""
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with atomic_path(path) as temporary, temporary.open(mode, **text) as file:
        yield file


@contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Converts OS errors about `path` that a user can fix into an `InputError` with a hint."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: "the disk is full: free some space and rerun the same command",
            errno.EDQUOT: "the disk quota is used up: free some space and rerun the same command",
            errno.EACCES: "no permission: choose another folder or change its permissions",
            errno.EPERM: "no permission: choose another folder or change its permissions",
            errno.EROFS: "the file system is read-only: choose another folder",
            errno.ENOTDIR: "a part of this path is a file, not a folder",
            errno.EEXIST: "a part of this path is a file, not a folder",
            errno.EISDIR: "this is a folder, a file was expected",
        }
        if error.errno not in hints:
            raise
        raise InputError(f"cannot write {path}: {error.strerror}", hints[error.errno]) from error


def _umask() -> int:
    # The mask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | os.PathLike[str], value: Any, *, sort_keys: bool = True) -> None:
    """Writes `value` as indented JSON, atomically. Raises ValueError for NaN and infinities."""
    with atomic_open(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys)
        file.write("\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: if it is missing or not valid JSON, with line and column.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error


def fingerprint(value: Any) -> str:
    """Returns the SHA-256 (hex) of the canonical JSON of `value`; it is the same on every machine."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 (hex) of a file's content."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
