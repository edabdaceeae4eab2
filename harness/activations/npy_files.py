"""`.npy` files that grow row by row with plain writes, so that memory does not grow with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from ..files import explained


class GrowingArray:
    """An array on disk to which rows are appended.

    It can be opened again at any number of rows that were flushed before: what follows is cut off.
    The number of rows is written into the file when it is closed for good by `finish`.

    Args:
        path: the `.npy` file.
        row_shape: shape of one row.
        dtype: of its elements.
        rows: how many rows of an existing file to keep.

    Raises:
        InputError: if the file cannot be written.
        ValueError: if the file holds fewer than `rows` rows.
    """

    def __init__(self, path: Path, row_shape: Sequence[int], dtype: DTypeLike, rows: int = 0) -> None:
        self.path, self.rows = path, rows
        self._row_shape, self._dtype = tuple(row_shape), np.dtype(dtype)
        header = self._header()
        end = len(header) + rows * int(np.prod(self._row_shape)) * self._dtype.itemsize
        if rows and (not path.is_file() or path.stat().st_size < end):
            raise ValueError(f"{path} holds fewer than {rows} rows")
        with explained(path):
            self._file = path.open("r+b" if rows else "wb")
            self._file.write(header)
            self._file.truncate(end)
            self._file.seek(end)

    def _header(self) -> bytes:
        """The header for the present number of rows; its length is the same for every number."""
        buffer = BytesIO()
        shape = (self.rows, *self._row_shape)
        descr = npy.dtype_to_descr(self._dtype)
        npy.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
        return buffer.getvalue()

    def append(self, rows: NDArray) -> None:
        """Appends rows of the array's own shape and type."""
        if rows.shape[1:] != self._row_shape or rows.dtype != self._dtype:
            raise ValueError(f"rows of {rows.dtype} {rows.shape[1:]} in {self.path}")
        with explained(self.path):
            self._file.write(np.ascontiguousarray(rows).data)
        self.rows += len(rows)

    def flush(self) -> None:
        """Hands everything to the operating system: it survives the death of this process."""
        with explained(self.path):
            self._file.flush()

    def finish(self) -> None:
        """Writes the number of rows, forces everything to the disk and closes the file."""
        with explained(self.path):
            self._file.seek(0)
            self._file.write(self._header())
            self._file.flush()
            os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        """Closes the file as it is, to be opened again."""
        with explained(self.path):
            self._file.close()
