"""Finds and reads the files that authors published, and records what was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...harness.errors import InputError
from ...harness.files import file_digest
from ..csv_files import read_csv, read_text
from ..importers.descriptions_csv import DescriptionRow, read_descriptions_csv


class NotComputable(Exception):  # noqa: N818
    """A cell cannot be recomputed; the message names what is needed."""


@dataclass(frozen=True)
class ReadFile:
    """A file that numbers were computed from.

    Attributes:
        path: path relative to the folder of published files.
        sha256: hash of its content.
        rows: most rows that a cell was computed from.
    """

    path: str
    sha256: str
    rows: int


class PublishedFiles:
    """Published files in one or several folders; the first folder that has a file is used.

    Args:
        folders: folders with the layout that docs/reproduce.md describes.

    Raises:
        InputError: if a folder does not exist.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise InputError(
                    f"--published {folder}: no such folder",
                    "give folders of the authors' files; names of tables come before --published",
                )
        self.folders = tuple(folders)
        self._read: dict[str, ReadFile] = {}
        self._rows: dict[tuple[str, str | None], tuple[DescriptionRow, ...]] = {}
        self._records: dict[str, list[dict[str, str]]] = {}

    def find(self, path: str) -> Path | None:
        """Returns where a file is, or None."""
        return next((f / path for f in self.folders if (f / path).is_file()), None)

    def descriptions(self, path: str, layer: str | None = None) -> tuple[DescriptionRow, ...]:
        """Returns the descriptions in a file, of one layer or of all.

        Raises:
            NotComputable: if no folder has the file.
            InputError: if it cannot be read as a description file.
        """
        file = self._require(path)
        key = (path, layer)
        if key not in self._rows:
            self._rows[key] = read_descriptions_csv(file, layer=layer).rows
        self._note(path, file, len(self._rows[key]))
        return self._rows[key]

    def records(self, path: str, columns: Sequence[str]) -> list[dict[str, str]]:
        """Returns the rows of a CSV file by column.

        Raises:
            NotComputable: if no folder has the file.
            InputError: if it is not valid CSV or lacks one of `columns`.
        """
        file = self._require(path)
        if path not in self._records:
            self._records[path] = read_csv(file)
        records = self._records[path]
        missing = [column for column in columns if not records or column not in records[0]]
        if missing:
            raise InputError(f"{file}, line 1: column {missing[0]!r} is missing, or there are no rows")
        self._note(path, file, len(records))
        return records

    def lines(self, path: str) -> list[str]:
        """Returns the lines of a text file, without an empty last one.

        Raises:
            NotComputable: if no folder has the file.
            InputError: if it cannot be read.
        """
        file = self._require(path)
        lines = read_text(file).splitlines()
        self._note(path, file, len(lines))
        return lines

    def files_read(self) -> tuple[ReadFile, ...]:
        """Returns the files read since the last call, and forgets them."""
        read, self._read = self._read, {}
        return tuple(read[path] for path in sorted(read))

    def _require(self, path: str) -> Path:
        file = self.find(path)
        if file is None:
            raise NotComputable(path if self.folders else f"{path} (--published DIR)")
        return file

    def _note(self, path: str, file: Path, rows: int) -> None:
        earlier = self._read.get(path)
        digest = earlier.sha256 if earlier else file_digest(file)
        self._read[path] = ReadFile(path, digest, max(rows, earlier.rows if earlier else 0))
