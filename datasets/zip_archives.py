"""Unpacks zip archives of data sets: either completely or not at all.

An archive is refused before anything is written if its content is larger than `UNCHECKED_SIZE` and more
than `MOST_COMPRESSED` times as large as the archive (a "zip bomb"), or larger than the free space.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ..harness.errors import InputError
from ..harness.files import explained

UNCHECKED_SIZE = 100_000_000
"""Bytes that may be unpacked whatever the size of the archive."""
MOST_COMPRESSED = 500
"""How many times larger than the archive its content may be. Deflate reaches 1032 for constant bytes.
Masks of units compress best of all arrays: 400 times if one percent of their pixels is set."""


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
        InputError: if the archive is damaged or contains no such file, or the file is too large.
    """
    with explained(into), _opened(path) as archive:
        entry = archive.getinfo(str(_root(archive, file, path) / file))
        _check_size(path, [entry], into)
        _copy(archive, entry, into / file)
    return into / file


def unpack(path: Path, marker: str, folder: Path) -> None:
    """Unpacks a folder of an archive; `folder` is created only when it is complete.

    Args:
        path: the archive.
        marker: name of a file that the folder to unpack contains.
        folder: folder to create.

    Raises:
        InputError: if the archive is damaged, contains no `marker`, names files outside of itself, is too
            large when unpacked, or the disk is full. Nothing is left on disk then.
    """
    # Of the files too: with the times of unpacking, a second copy would count as another data set.
    modified = path.stat().st_mtime_ns if path.exists() else 0
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # In the same file system, so that the rename is atomic.
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            with _opened(path) as archive:
                root = _root(archive, marker, path)
                entries = [entry for entry in archive.infolist() if _is_file_in(entry, root, path)]
                _check_size(path, entries, temporary)
                for entry in entries:
                    target = temporary / PurePosixPath(entry.filename).relative_to(root)
                    _copy(archive, entry, target)
                    os.utime(target, ns=(modified, modified))
            temporary.chmod(0o755)  # mkdtemp creates folders that only their owner may read
            temporary.rename(folder)
        finally:
            # After the rename nothing is left to remove, which is not an error.
            shutil.rmtree(temporary, ignore_errors=True)


def _is_file_in(entry: zipfile.ZipInfo, root: PurePosixPath, path: Path) -> bool:
    """Whether an entry is a file in the folder `root` of the archive.

    Raises:
        InputError: if its name would write outside of the folder it is unpacked to ("zip slip").
    """
    member = PurePosixPath(entry.filename)
    if member.is_absolute() or ".." in member.parts:
        raise InputError(f"{path} names a file outside of itself: {entry.filename}")
    return not entry.is_dir() and member.is_relative_to(root)


def _check_size(path: Path, entries: Sequence[zipfile.ZipInfo], folder: Path) -> None:
    """Checks the sizes that an archive declares; `_copy` checks that they are true.

    Raises:
        InputError: if the content is too large for the archive, or for the disk of `folder`.
    """
    size, packed = sum(entry.file_size for entry in entries), path.stat().st_size
    if size > max(UNCHECKED_SIZE, MOST_COMPRESSED * packed):
        raise InputError(
            f"{path} has {_megabytes(packed)} and unpacks to {_megabytes(size)}, more than "
            f"{MOST_COMPRESSED} times as much",
            "it may be damaged or malicious; if you trust it, unpack it yourself and give the folder",
        )
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"{path} unpacks to {_megabytes(size)}, but {folder} has {_megabytes(free)} of free space",
            "free some space, or choose a folder on another disk",
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _copy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, target.open("wb") as file:
        # `source` yields at most the declared size, and raises an error if the checksum is another one.
        shutil.copyfileobj(source, file, 1 << 20)
        if file.tell() != entry.file_size:
            raise zipfile.BadZipFile(
                f"{entry.filename} has {file.tell()} bytes instead of {entry.file_size}"
            )
        # On disk before the rename of the folder, so that a power cut cannot leave empty files.
        file.flush()
        os.fsync(file.fileno())
