"""Unpacks zip archives of data sets: either completely or not at all."""

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
    """Whether a path is a file with the ending of a zip archive."""
    return path.is_file() and path.suffix.lower() == ".zip"


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    hint = "download it again, and compare its size with the published one"
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path} is not a zip archive, or is truncated: {error}", hint) from error
    except (NotImplementedError, RuntimeError) as error:  # unknown compression, or encrypted
        raise InputError(f"{path} cannot be unpacked: {error}") from error


def _root(archive: zipfile.ZipFile, file: str, path: Path) -> PurePosixPath:
    """Returns the folder of the archive that contains `file`: the top level, or one folder below it."""
    members = [PurePosixPath(n) for n in archive.namelist() if PurePosixPath(n).name == file]
    # macOS adds a folder __MACOSX that repeats the names of all files.
    members = [member for member in members if "__MACOSX" not in member.parts]
    if not members:
        raise InputError(f"{path} contains no {file}", "check that it is the right archive")
    return min(members, key=lambda member: len(member.parts)).parent


def extract_one(path: Path, file: str, into: Path) -> Path:
    """Unpacks one file from any folder of the archive, and returns the path of the copy.

    Raises:
        InputError: if the archive is damaged or contains no such file.
    """
    with _opened(path) as archive:
        _copy(archive, str(_root(archive, file, path) / file), into / file)
    return into / file


def unpack(path: Path, marker: str, folder: Path) -> None:
    """Unpacks a folder of an archive; `folder` is created only when it is complete.

    Args:
        path: the archive.
        marker: name of a file that the folder to unpack contains.
        folder: folder to create.

    Raises:
        InputError: if the archive is damaged, contains no `marker`, names files outside of itself, or
            the disk is full. Nothing is left on disk then.
    """
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # In the same file system, so that the rename is atomic.
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            with _opened(path) as archive:
                root = _root(archive, marker, path)
                for entry in archive.infolist():
                    member = PurePosixPath(entry.filename)
                    # "zip slip": such a name would write outside of the folder.
                    if member.is_absolute() or ".." in member.parts:
                        raise InputError(f"{path} names a file outside of itself: {entry.filename}")
                    if not entry.is_dir() and member.is_relative_to(root):
                        _copy(archive, entry.filename, temporary / member.relative_to(root))
            temporary.chmod(0o755)  # mkdtemp creates folders that only their owner may read
            temporary.rename(folder)
        finally:
            # After the rename nothing is left to remove, which is not an error.
            shutil.rmtree(temporary, ignore_errors=True)


def _copy(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        # On disk before the rename of the folder, so that a power cut cannot leave empty files.
        file.flush()
        os.fsync(file.fileno())
