"""Zip archives of data sets: checked, and unpacked whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ..harness.errors import InputError
from ..harness.files import explained


def is_archive(path: Path) -> bool:
    """Whether a path is a file that claims to be a zip archive."""
    return path.is_file() and path.suffix.lower() == ".zip"


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    again = "download it again, and compare its size with the published one"
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path} is no zip archive, or is cut off: {error}", again) from error
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or an unknown compression
        raise InputError(f"{path} cannot be unpacked: {error}") from error


def _root(archive: zipfile.ZipFile, file: str, path: Path) -> PurePosixPath:
    """Returns the folder in the archive that holds `file`; archives may have one around everything."""
    found = [PurePosixPath(n) for n in archive.namelist() if PurePosixPath(n).name == file]
    found = [inside for inside in found if "__MACOSX" not in inside.parts]
    if not found:
        raise InputError(f"{path} holds no {file}", "is it the right archive?")
    return min(found, key=lambda inside: len(inside.parts)).parent


def extract_one(path: Path, file: str, into: Path) -> Path:
    """Unpacks one file, wherever it lies in the archive, and returns its path.

    Raises:
        InputError: if the archive is damaged or holds no such file.
    """
    with _opened(path) as archive:
        _copy(archive, str(_root(archive, file, path) / file), into / file)
    return into / file


def unpack(path: Path, marker: str, folder: Path) -> None:
    """Unpacks an archive; `folder` appears when everything is in it.

    Args:
        path: the archive.
        marker: a file that says which folder of the archive is wanted.
        folder: what to make of it.

    Raises:
        InputError: if the archive is damaged, holds no `marker` or names files outside of itself, or
            the disk is full; nothing is left behind then.
    """
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            with _opened(path) as archive:
                root = _root(archive, marker, path)
                for entry in archive.infolist():
                    inside = PurePosixPath(entry.filename)
                    if inside.is_absolute() or ".." in inside.parts:
                        raise InputError(f"{path} names a file outside of itself: {entry.filename}")
                    if not entry.is_dir() and inside.is_relative_to(root):
                        _copy(archive, entry.filename, temporary / inside.relative_to(root))
            temporary.chmod(0o755)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _copy(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
