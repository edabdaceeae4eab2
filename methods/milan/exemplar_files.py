"""Exemplars of a layer on disk, in the layout of the published program.

One folder per layer: `images.npy` (uint8 [units, count, 3, size, size]), `masks.npy` (uint8 [units,
count, 1, size, size], 0 or 1), `ids.csv` (units x count image indices), `activations.csv` (units x count
spatial maxima) and, if only some units of the layer are in it, `units.npy`. `exemplars.json`, an addition
to the published layout, records the settings and the source. Arrays are memory-mapped: 3 MB per unit,
read when accessed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...harness.activations.npy_files import PreallocatedArray
from ...harness.errors import InputError
from ...harness.files import atomic_open, atomic_path, explained, fingerprint, read_json, write_json
from ...harness.probe import ProbedLayer
from ...harness.progress import Progress
from .exemplars import ExemplarImage, TopImages, stream_exemplars, top_images
from .settings import ExemplarSettings

FORMAT = 1
META = "exemplars.json"
IMAGES, MASKS, IDS = "images.npy", "masks.npy", "ids.csv"
ACTIVATIONS, UNITS = "activations.csv", "units.npy"

_STATE = "state.json"
_SAVE_AFTER = 10.0  # most seconds of work that a killed process loses


@dataclass(frozen=True)
class ExemplarFolder:
    """The exemplars of the units of one layer on disk.

    Attributes:
        path: the folder.
        units: int64 [n] index in the layer of the unit in each row.
        ids: int64 [n, count] image indices.
        masks: uint8 [n, count, 1, size, size], memory-mapped; not 0 where the unit is active.
        images: uint8 [n, count, 3, size, size], memory-mapped; None if only `ids` identify them.
        activations: float64 [n, count] spatial maxima, or None.
        meta: the content of `exemplars.json`, or None.
    """

    path: Path
    units: NDArray[np.int64]
    ids: NDArray[np.int64]
    masks: NDArray[np.uint8]
    images: NDArray[np.uint8] | None = None
    activations: NDArray[np.float64] | None = None
    meta: Mapping[str, Any] | None = None

    @property
    def image_size(self) -> int:
        """Height and width of images and masks, in pixels."""
        return self.masks.shape[-1]

    @property
    def settings(self) -> dict[str, Any]:
        """The `ExemplarSettings` without the variant; without `meta`, the published `quantile`."""
        recorded = {} if self.meta is None else self.meta["settings"]
        quantile = recorded.get("quantile", ExemplarSettings.quantile)
        return {"count": self.masks.shape[1], "quantile": quantile, "image_size": self.image_size}


def is_exemplar_folder(path: Path) -> bool:
    """Whether a folder contains exemplars."""
    return (path / MASKS).is_file()


def read_exemplars(path: str | os.PathLike[str]) -> ExemplarFolder:
    """Opens a folder of exemplars, written by `write_exemplars` or by the published program.

    Raises:
        InputError: if a file is missing, truncated, or does not fit the others; names the file.
    """
    path = Path(path)
    for name in (MASKS, IDS):
        if not (path / name).is_file():
            raise InputError(f"{path} contains no exemplars: {name} is missing", _layer_hint(path))
    masks, ids = _read_array(path / MASKS), _read_table(path / IDS, np.int64)
    if masks.ndim != 5 or masks.shape[2] != 1 or masks.shape[3] != masks.shape[4]:
        raise _wrong_shape(path / MASKS, masks.shape, "[units, count, 1, size, size]")
    n, count, _, size, _ = masks.shape
    if ids.shape != (n, count):
        raise _wrong_shape(path / IDS, ids.shape, f"[{n}, {count}], as {MASKS}")
    images = _read_array(path / IMAGES) if (path / IMAGES).exists() else None
    if images is not None and images.shape != (n, count, 3, size, size):
        expected = f"[{n}, {count}, 3, {size}, {size}], as {MASKS}"
        raise _wrong_shape(path / IMAGES, images.shape, expected)
    file = path / ACTIVATIONS
    activations = _read_table(file, np.float64) if file.exists() else None
    if activations is not None and activations.shape != (n, count):
        raise _wrong_shape(file, activations.shape, f"[{n}, {count}], as {MASKS}")
    meta = read_json(path / META) if (path / META).exists() else None
    return ExemplarFolder(path, _read_units(path / UNITS, n), ids, masks, images, activations, meta)


def _layer_hint(path: Path) -> str | None:
    layers = sorted(p.name for p in path.iterdir() if is_exemplar_folder(p)) if path.is_dir() else []
    return f"give the folder of a layer, such as {path / layers[0]}" if layers else None


def _wrong_shape(path: Path, shape: tuple[int, ...], expected: str) -> InputError:
    return InputError(f"{path} has the shape {list(shape)}; expected {expected}")


def _read_array(path: Path) -> NDArray[np.uint8]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path} is truncated or not an array: {error}", "copy or download it again"
        ) from error
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(f"{path} contains {array.dtype}; expected uint8")
    return array


def _read_table(path: Path, dtype: type) -> NDArray[Any]:
    try:
        return np.loadtxt(path, dtype=dtype, delimiter=",", ndmin=2, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a table of numbers: {error}") from error


def _read_units(path: Path, n: int) -> NDArray[np.int64]:
    if not path.exists():
        return np.arange(n)
    try:
        units = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is truncated or not an array: {error}") from error
    if units.shape != (n,) or not np.issubdtype(units.dtype, np.integer):
        raise InputError(f"{path} contains {units.dtype} {list(units.shape)}; expected {n} integers")
    if len(np.unique(units)) < n or (n and units.min() < 0):
        raise InputError(f"{path} lists a unit twice, or a negative one")
    return units.astype(np.int64)


def write_exemplars(
    layer: ProbedLayer,
    path: str | os.PathLike[str],
    settings: ExemplarSettings | None = None,
    units: Sequence[int] | None = None,
    *,
    progress: Progress | None = None,
) -> ExemplarFolder:
    """Writes the exemplars of a layer's units; returns at once if they are already there.

    The work is done in `<path>.part`, where it resumes after an interruption; `path` appears when it is
    complete. The memory does not grow with the number of units.

    Args:
        layer: the layer.
        path: the folder to write.
        settings: how exemplars are made.
        units: which units; None: all. A dead unit's exemplars are the first images.
        progress: shows how many images are done.

    Raises:
        InputError: if `path` has other content, the disk is full, or a unit's values are not finite.
        ValueError: if `units` is empty.
    """
    path, settings = Path(path), settings or ExemplarSettings()
    chosen = list(range(layer.n_units)) if units is None else [int(unit) for unit in units]
    if not chosen:
        raise ValueError("exemplars of no units")
    meta = _meta(layer, settings, chosen)
    with _locked(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            return _existing(path, meta)
        try:
            top = top_images(layer, chosen, settings.count)
        except ValueError as error:
            raise InputError(f"layer {layer.name}: {error}", "leave the unit out (units=...)") from error
        part = path.with_name(f"{path.name}.part")
        with explained(part):
            _write_arrays(part, layer, top, settings, fingerprint(meta), progress)
            _write_tables(part, top, layer.n_units)
            write_json(part / META, {**meta, "dead": [u for u in chosen if layer.dead[u]]})
            (part / _STATE).unlink()
            part.rename(path)
    return read_exemplars(path)


def _meta(layer: ProbedLayer, settings: ExemplarSettings, units: Sequence[int]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "target": layer.target,
        "layer": layer.name,
        "units": list(units),
        "activations": layer.fingerprint,
        "images": {"name": layer.probe.name, "fingerprint": layer.probe.fingerprint()},
        "settings": settings.identity(),
    }


def _existing(path: Path, meta: Mapping[str, Any]) -> ExemplarFolder:
    """Returns the exemplars that are already in the folder, if they are the same."""
    existing = read_exemplars(path) if is_exemplar_folder(path) else None
    if existing is None or existing.meta is None:
        raise InputError(
            f"{path} already exists and was not written by dissectbench", "choose another folder"
        )
    different = [name for name, value in meta.items() if existing.meta.get(name) != value]
    if different:
        raise InputError(
            f"{path} contains other exemplars: different {', '.join(different)}",
            "remove it, or choose another folder",
        )
    return existing


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Locks the folder against other processes; the operating system releases it if this one dies."""
    from filelock import FileLock, Timeout

    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(path.parent / f".{path.name}.lock").acquire(timeout=0)
        except Timeout:
            raise InputError(f"another process is writing {path}", "wait until it has finished") from None
    with lock:
        yield


def _write_arrays(
    part: Path,
    layer: ProbedLayer,
    top: TopImages,
    settings: ExemplarSettings,
    key: str,
    progress: Progress | None,
) -> None:
    """Writes images and masks, resuming where an earlier attempt with the same `key` stopped."""
    after = _resume(part, key)
    shape, size = top.indices.shape, settings.image_size
    distinct = np.unique(top.indices)
    with ExitStack() as stack:
        images = stack.enter_context(PreallocatedArray(part / IMAGES, (*shape, 3, size, size)))
        masks = stack.enter_context(PreallocatedArray(part / MASKS, (*shape, 1, size, size)))
        task = f"exemplars of {layer.name}"
        advance = stack.enter_context((progress or Progress("none")).task(task, len(distinct)))
        advance(int((distinct <= after).sum()))
        saved = time.monotonic()
        stream = stream_exemplars(layer, top, settings, after=after)
        # An image with many units comes in several parts; it counts as done after the last of them.
        for index, parts in groupby(stream, key=lambda exemplar: exemplar.index):
            for exemplar in parts:
                _write_exemplar(exemplar, images, masks)
            advance()
            if time.monotonic() - saved > _SAVE_AFTER:
                images.flush()
                masks.flush()
                write_json(part / _STATE, {"key": key, "after": index})
                saved = time.monotonic()


def _resume(part: Path, key: str) -> int:
    """Returns the last image that is done, -1 for none; removes what was written for another key."""
    if (part / _STATE).is_file():
        state = read_json(part / _STATE)
        if state["key"] == key:
            return state["after"]
    if part.exists():
        shutil.rmtree(part)
    part.mkdir()
    write_json(part / _STATE, {"key": key, "after": -1})
    return -1


def _write_exemplar(exemplar: ExemplarImage, images: PreallocatedArray, masks: PreallocatedArray) -> None:
    positions = zip(exemplar.rows.tolist(), exemplar.ranks.tolist(), exemplar.masks, strict=True)
    for row, rank, mask in positions:
        images.write(row, rank, exemplar.pixels)
        masks.write(row, rank, mask.view(np.uint8)[None])


def _write_tables(part: Path, top: TopImages, n_units: int) -> None:
    # The formats of numbers are those of the published program.
    for name, table, form in ((IDS, top.indices, "%d"), (ACTIVATIONS, top.values, "%.5e")):
        with atomic_open(part / name) as file:
            np.savetxt(file, table, fmt=form, delimiter=",")
    if not np.array_equal(top.units, np.arange(n_units)):
        with atomic_path(part / UNITS) as temporary:
            np.save(temporary, top.units)
