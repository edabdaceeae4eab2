"""`.npy` files that are filled in any order, with plain writes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray


class Slots:
    """An array on disk, [n, k, ...], that is filled item by item, in any order and over several attempts.

    A full disk is an error of the operating system this way, where a memory map would kill the process.

    Args:
        path: the file; what an earlier attempt wrote to it stays there.
        shape: of the array.
        dtype: of the array.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> None:
        self._k, self._item, self._dtype = shape[1], shape[2:], np.dtype(dtype)
        self._size = int(np.prod(self._item)) * self._dtype.itemsize
        self._file = path.open("r+b" if path.exists() else "w+b")
        descr = npy.dtype_to_descr(self._dtype)
        npy.write_array_header_1_0(self._file, {"descr": descr, "fortran_order": False, "shape": shape})
        self._start = self._file.tell()
        self._file.truncate(self._start + shape[0] * self._k * self._size)

    def __enter__(self) -> Slots:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, row: int, rank: int, item: NDArray) -> None:
        """Writes one item."""
        if item.shape != self._item or item.dtype != self._dtype:
            raise ValueError(f"an item {item.dtype} {item.shape} in slots of {self._dtype} {self._item}")
        self._file.seek(self._start + (row * self._k + rank) * self._size)
        self._file.write(np.ascontiguousarray(item).data)

    def flush(self) -> None:
        """Hands everything to the operating system: it survives the death of this process."""
        self._file.flush()
