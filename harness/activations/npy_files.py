"""`.npy` files written piece by piece with plain writes.

With a memory map, written pages would count as memory of this process, and a full disk would kill it with
a signal instead of raising an `OSError`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from ..files import explained


def _header(dtype: np.dtype, shape: Sequence[int]) -> bytes:
    """Returns the header of a `.npy` file; NumPy pads it, so its length is the same for any row count."""
    buffer = BytesIO()
    descr = npy.dtype_to_descr(dtype)
    npy.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": tuple(shape)})
    return buffer.getvalue()


class GrowingArray:
    """An array on disk to which rows are appended.

    It can be reopened at any number of rows that were flushed before; later rows are cut off. `finish`
    writes the number of rows into the file and closes it.

    Args:
        path: path of the `.npy` file.
        row_shape: shape of one row.
        dtype: type of its elements.
        rows: how many rows of an existing file to keep.

    Raises:
        InputError: if the file cannot be written.
        ValueError: if the file has fewer than `rows` rows.
    """

    def __init__(self, path: Path, row_shape: Sequence[int], dtype: DTypeLike, rows: int = 0) -> None:
        self.path, self.rows = path, rows
        self._row_shape, self._dtype = tuple(row_shape), np.dtype(dtype)
        header = self._header()
        end = len(header) + rows * int(np.prod(self._row_shape)) * self._dtype.itemsize
        if rows and (not path.is_file() or path.stat().st_size < end):
            raise ValueError(f"{path} has fewer than {rows} rows")
        with explained(path):
            self._file = path.open("r+b" if rows else "wb")
            self._file.write(header)
            self._file.truncate(end)
            self._file.seek(end)

    def _header(self) -> bytes:
        return _header(self._dtype, (self.rows, *self._row_shape))

    def append(self, rows: NDArray) -> None:
        """Appends rows of the array's row shape and type."""
        if rows.shape[1:] != self._row_shape or rows.dtype != self._dtype:
            raise ValueError(f"rows of {rows.dtype} {rows.shape[1:]} in {self.path}")
        with explained(self.path):
            self._file.write(np.ascontiguousarray(rows).data)
        self.rows += len(rows)

    def flush(self) -> None:
        """Passes all rows to the operating system, so that they survive the end of this process."""
        with explained(self.path):
            self._file.flush()

    def finish(self) -> None:
        """Writes the number of rows, syncs the file to the disk and closes it."""
        with explained(self.path):
            self._file.seek(0)
            self._file.write(self._header())
            self._file.flush()
            os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        """Closes the file; it can be reopened."""
        with explained(self.path):
            self._file.close()


class PreallocatedArray:
    """An array on disk, [n, k, ...], that is filled item by item, in any order and over several attempts.

    A context manager that syncs the file to the disk on exit. Raises `OSError` where the file cannot be
    written.

    Args:
        path: path of the `.npy` file; items written to it by an earlier attempt are kept.
        shape: shape of the array.
        dtype: type of its elements.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> None:
        self._k, self._item_shape, self._dtype = shape[1], shape[2:], np.dtype(dtype)
        self._item_bytes = int(np.prod(self._item_shape)) * self._dtype.itemsize
        header = _header(self._dtype, shape)
        self._start = len(header)
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.write(header)
        self._file.truncate(self._start + shape[0] * self._k * self._item_bytes)

    def __enter__(self) -> PreallocatedArray:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, row: int, rank: int, item: NDArray) -> None:
        """Writes `item` to [row, rank]."""
        if item.shape != self._item_shape or item.dtype != self._dtype:
            raise ValueError(
                f"an item of {item.dtype} {item.shape} in an array of {self._dtype} {self._item_shape}"
            )
        self._file.seek(self._start + (row * self._k + rank) * self._item_bytes)
        self._file.write(np.ascontiguousarray(item).data)

    def flush(self) -> None:
        """Passes all items to the operating system, so that they survive the end of this process."""
        self._file.flush()
