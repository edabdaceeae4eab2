"""Reads the files of the published checkpoints without running anything that is in them.

They are zip files written by `torch.save`: a pickle, and a record of raw numbers for each tensor. The
pickle also holds the settings of a tokeniser, as objects of a library that is not needed for anything
else. Only what such a file needs is admitted, and nothing of it is called: each admitted name stands for
a harmless function or class of this module. Any other name is refused.
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

_GET_IT_AGAIN = "the file is damaged or incomplete; get it again"


def read(path: Path) -> Mapping[str, Any]:
    """Returns what a published checkpoint holds.

    Raises:
        InputError: if there is no such file, it is no zip file of torch, it is damaged, or it refers to
            something that a checkpoint has no need for.
    """
    if not path.is_file():
        raise InputError(f"no such checkpoint: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            content = _unpickle(archive, path)
    except zipfile.BadZipFile as error:
        with path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
        raise InputError(
            f"checkpoint {path} cannot be read: {error}",
            _GET_IT_AGAIN if is_zip else "published checkpoints of MILAN are zip files ending in .pth",
        ) from None
    if not isinstance(content, Mapping):
        raise InputError(f"checkpoint {path} holds no MILAN but a {type(content).__name__}")
    return content


def _unpickle(archive: zipfile.ZipFile, path: Path) -> Any:
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
        raise InputError(f"checkpoint {path} cannot be read: {reason}", _GET_IT_AGAIN) from None


class _Unpickler(pickle.Unpickler):
    """Admits tensors of float32 and int64, ordered mappings, bytes and the tokeniser's settings."""

    def __init__(self, archive: zipfile.ZipFile, name: str, path: Path) -> None:
        import torch

        super().__init__(io.BytesIO(archive.read(name)))
        self._archive, self._root, self._path = archive, name.removesuffix("data.pkl"), path
        self._storages: dict[str, Tensor] = {}
        # A fresh class for each file: what a file does to it ends with the file.
        settings = type("Settings", (dict,), {})
        self._admitted: dict[tuple[str, str], Any] = {
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
        """Returns what stands for `module.name` here."""
        try:
            return self._admitted[module, name]
        except KeyError:
            raise InputError(
                f"checkpoint {self._path} was not opened, since that could run code: it refers to "
                f"{module}.{name}",
                "a checkpoint of MILAN has no need for that; get the file from a source you trust",
            ) from None

    def persistent_load(self, pid: Any, /) -> Tensor:
        """Returns the numbers of a record, one-dimensional."""
        import torch

        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown record {kind!r}")
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._root}data/{key}"))
            if len(content) != count * dtype.itemsize:
                raise pickle.UnpicklingError(f"record {key} holds {len(content)} bytes")
            self._storages[key] = torch.frombuffer(content, dtype=dtype, count=count)
        return self._storages[key]


class _Call:
    """A function that a pickle can call and do nothing else with."""

    __slots__ = ("_function",)

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


def _encode(text: str, encoding: str) -> bytes:
    """How old pickles write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding!r}")
    return text.encode("latin1")


def _tensor(numbers: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    return numbers.as_strided(size, stride, offset)  # torch refuses to look beyond the numbers


def _parameter(tensor: Tensor, *_: Any) -> Tensor:
    return tensor
