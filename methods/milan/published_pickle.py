"""Reads the files of published checkpoints without running code in them.

They are zip files written by `torch.save`: a pickle, and a record of raw numbers for each tensor. The
pickle also contains the settings of a tokeniser, as objects of libraries (spaCy, thinc) that are not
needed otherwise. Only the names that such a file needs are allowed, and each of them is replaced by a
harmless function or class of this module. Any other name is rejected.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...harness.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_DOWNLOAD_AGAIN = "the file is damaged or incomplete; download it again"


def unpickle(path: Path) -> Mapping[str, Any]:
    """Returns the content of a published checkpoint.

    Raises:
        InputError: if the file does not exist, was not written by torch, is damaged, or refers to an
            object that a checkpoint does not need.
    """
    if not path.is_file():
        raise InputError(f"no such checkpoint: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            content = _read_pickle(archive, path)
    except zipfile.BadZipFile as error:
        with path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
        raise InputError(
            f"checkpoint {path} cannot be read: {error}",
            _DOWNLOAD_AGAIN if is_zip else "published checkpoints of MILAN are zip files ending in .pth",
        ) from None
    if not isinstance(content, Mapping):
        raise InputError(f"checkpoint {path} is not a MILAN but a {type(content).__name__}")
    return content


def _read_pickle(archive: zipfile.ZipFile, path: Path) -> Any:
    pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise InputError(
            f"checkpoint {path} was not written by torch.save: it has no data.pkl",
            "published checkpoints of MILAN are zip files ending in .pth",
        )
    order = pickles[0].replace("data.pkl", "byteorder")
    if order in archive.namelist() and archive.read(order) != b"little":
        raise InputError(f"checkpoint {path} was written on a big-endian machine", "convert it there")
    try:
        return _Unpickler(archive, pickles[0], path).load()
    except (InputError, zipfile.BadZipFile):
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"checkpoint {path} cannot be read: {reason}", _DOWNLOAD_AGAIN) from None


class _Unpickler(pickle.Unpickler):
    """Allows tensors of float32 and int64, ordered mappings, bytes and the tokeniser's settings."""

    def __init__(self, archive: zipfile.ZipFile, name: str, path: Path) -> None:
        import torch

        super().__init__(io.BytesIO(archive.read(name)))
        self._archive, self._root, self._path = archive, name.removesuffix("data.pkl"), path
        self._storages: dict[str, Tensor] = {}
        # A new class for each file, so that attributes which a file sets on it affect no other file.
        settings = type("Settings", (dict,), {})
        self._allowed: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("_codecs", "encode"): _Call(_encode),
            ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
            ("torch._utils", "_rebuild_parameter"): _Call(_parameter),
            ("torch", "FloatStorage"): torch.float32,
            ("torch", "LongStorage"): torch.int64,
            ("thinc.config", "Config"): settings,
            ("confection", "Config"): settings,
        }

    def find_class(self, module: str, name: str, /) -> Any:
        """Returns the replacement of `module.name`."""
        try:
            return self._allowed[module, name]
        except KeyError:
            raise InputError(
                f"checkpoint {self._path} was not opened because that could run code: it refers to "
                f"{module}.{name}",
                "a checkpoint of MILAN does not need it; get the file from a source that you trust",
            ) from None

    def persistent_load(self, pid: Any, /) -> Tensor:
        """Returns the numbers of a record, as a one-dimensional tensor."""
        import torch

        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown record {kind!r}")
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._root}data/{key}"))
            if len(content) != count * dtype.itemsize:
                raise pickle.UnpicklingError(f"record {key} has {len(content)} bytes")
            self._storages[key] = torch.frombuffer(content, dtype=dtype, count=count)
        return self._storages[key]


class _Call:
    """A function that a pickle can call; it has no attributes that a pickle could set."""

    __slots__ = ("_function",)

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


def _encode(text: str, encoding: str) -> bytes:
    """Returns bytes as old pickles write them: as text in latin1."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding!r}")
    return text.encode("latin1")


def _tensor(numbers: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    # A view, as in the file: torch checks that it does not reach beyond the record.
    return numbers.as_strided(size, stride, offset)


def _parameter(tensor: Tensor, *_: Any) -> Tensor:
    return tensor
