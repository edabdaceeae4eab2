"""Exemplars of a layer on disk, in the layout of the published program.

One folder per layer holds `images.npy` (uint8 [units, k, 3, side, side]), `masks.npy` (uint8 [units, k,
1, side, side], 0 or 1), `ids.csv` (units x k image indices), `activations.csv` (units x k spatial
maxima) and, where they are not all units of the layer, `units.npy`. `exemplars.json` beside them says
what they were made from. Arrays are memory-mapped: 3 MB per unit that are read when asked for.
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
from .exemplars import Shown, TopImages, exemplars, top_images
from .settings import ExemplarSettings

FORMAT = 1
META = "exemplars.json"
IMAGES, MASKS, IDS = "images.npy", "masks.npy", "ids.csv"
ACTIVATIONS, UNITS = "activations.csv", "units.npy"

_STATE = "state.json"
_SAVE_AFTER = 10.0  # seconds of work that a killed process loses at most


@dataclass(frozen=True)
class ExemplarFolder:
    """The exemplars of the units of one layer, as they lie on disk.

    Attributes:
        path: the folder.
        units: int64 [n] index in the layer of the unit in each row.
        ids: int64 [n, k] image indices.
        masks: uint8 [n, k, 1, side, side], memory-mapped; not 0 where the unit is active.
        images: uint8 [n, k, 3, side, side], memory-mapped; None where only `ids` say what they are.
        activations: float64 [n, k] spatial maxima, or None.
        meta: what they were made from, or None.
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
        """Side of pictures and masks in pixels."""
        return self.masks.shape[-1]

    @property
    def settings(self) -> dict[str, Any]:
        """Those of `ExemplarSettings` without the variant; without `meta`, the published `quantile`."""
        made = {} if self.meta is None else self.meta["settings"]
        quantile = made.get("quantile", ExemplarSettings.quantile)
        return {"count": self.masks.shape[1], "quantile": quantile, "image_size": self.image_size}


def is_exemplar_folder(path: Path) -> bool:
    """Whether a folder holds exemplars."""
    return (path / MASKS).is_file()


def read_exemplars(path: str | os.PathLike[str]) -> ExemplarFolder:
    """Opens exemplars in the original layout, ours or others'.

    Raises:
        InputError: if a file is missing, cut off, or does not fit the others; names the file.
    """
    path = Path(path)
    for name in (MASKS, IDS):
        if not (path / name).is_file():
            raise InputError(f"{path} holds no exemplars: {name} is missing", _hint(path))
    masks, ids = _array(path / MASKS), _table(path / IDS, np.int64)
    if masks.ndim != 5 or masks.shape[2] != 1 or masks.shape[3] != masks.shape[4]:
        raise _wrong(path / MASKS, masks.shape, "[units, k, 1, side, side]")
    n, k, _, side, _ = masks.shape
    if ids.shape != (n, k):
        raise _wrong(path / IDS, ids.shape, f"[{n}, {k}], as {MASKS}")
    images = _array(path / IMAGES) if (path / IMAGES).exists() else None
    if images is not None and images.shape != (n, k, 3, side, side):
        raise _wrong(path / IMAGES, images.shape, f"[{n}, {k}, 3, {side}, {side}], as {MASKS}")
    activations = _table(path / ACTIVATIONS, np.float64) if (path / ACTIVATIONS).exists() else None
    if activations is not None and activations.shape != (n, k):
        raise _wrong(path / ACTIVATIONS, activations.shape, f"[{n}, {k}], as {MASKS}")
    meta = read_json(path / META) if (path / META).exists() else None
    return ExemplarFolder(path, _units(path / UNITS, n), ids, masks, images, activations, meta)


def _hint(path: Path) -> str | None:
    inner = sorted(p.name for p in path.iterdir() if is_exemplar_folder(p)) if path.is_dir() else []
    return f"give the folder of a layer, such as {path / inner[0]}" if inner else None


def _wrong(path: Path, shape: tuple[int, ...], expected: str) -> InputError:
    return InputError(f"{path} has the shape {list(shape)}; expected {expected}")


def _array(path: Path) -> NDArray[np.uint8]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path} is cut off or no array: {error}", "copy or download it again"
        ) from error
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(f"{path} holds {array.dtype}; expected uint8")
    return array


def _table(path: Path, dtype: type) -> NDArray[Any]:
    try:
        return np.loadtxt(path, dtype=dtype, delimiter=",", ndmin=2, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a table of numbers: {error}") from error


def _units(path: Path, n: int) -> NDArray[np.int64]:
    if not path.exists():
        return np.arange(n)
    try:
        units = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is cut off or no array: {error}") from error
    if units.shape != (n,) or not np.issubdtype(units.dtype, np.integer):
        raise InputError(f"{path} holds {units.dtype} {list(units.shape)}; expected {n} integers")
    if len(np.unique(units)) < n or (n and units.min() < 0):
        raise InputError(f"{path} names a unit twice, or a negative one")
    return units.astype(np.int64)


def write_exemplars(
    layer: ProbedLayer,
    path: str | os.PathLike[str],
    settings: ExemplarSettings | None = None,
    units: Sequence[int] | None = None,
    *,
    progress: Progress | None = None,
) -> ExemplarFolder:
    """Writes the exemplars of a layer's units; returns at once where they lie already.

    The work is done in a folder beside, `<path>.part`, and goes on there where an earlier attempt broke
    off; `path` appears when it is complete. The memory does not grow with the number of units.

    Args:
        layer: the layer.
        path: the folder to make.
        settings: what exemplars are.
        units: which units; None: all. A dead unit's exemplars are the first images.
        progress: shows how many images are done.

    Raises:
        InputError: if `path` holds something else, the disk is full, or a unit's values are not finite.
        ValueError: if `units` is empty.
    """
    path, settings = Path(path), settings or ExemplarSettings()
    chosen = list(range(layer.n_units)) if units is None else [int(unit) for unit in units]
    if not chosen:
        raise ValueError("exemplars of no units")
    meta = _meta(layer, settings, chosen)
    with _alone(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            return _existing(path, meta)
        try:
            top = top_images(layer, chosen, settings.count)
        except ValueError as error:
            raise InputError(f"layer {layer.name}: {error}", "leave the unit out (units=...)") from error
        part = path.with_name(f"{path.name}.part")
        with explained(part):
            _fill(part, layer, top, settings, fingerprint(meta), progress)
            _tables(part, top, layer.n_units)
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
    found = read_exemplars(path) if is_exemplar_folder(path) else None
    if found is None or found.meta is None:
        raise InputError(f"{path} is there already, and was not made by this program")
    different = [name for name, value in meta.items() if found.meta.get(name) != value]
    if different:
        raise InputError(
            f"{path} holds other exemplars: another {', '.join(different)}",
            "remove it, or choose another folder",
        )
    return found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds the folder against other processes; the operating system frees it when this one dies."""
    from filelock import FileLock, Timeout

    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = FileLock(path.parent / f".{path.name}.lock").acquire(timeout=0)
        except Timeout:
            raise InputError(f"another process is writing {path}", "wait until it is done") from None
    with held:
        yield


def _fill(
    part: Path,
    layer: ProbedLayer,
    top: TopImages,
    settings: ExemplarSettings,
    key: str,
    progress: Progress | None,
) -> None:
    """Writes pictures and masks, from where an earlier attempt for the same `key` left off."""
    after = _state(part, key)
    shape, side = top.indices.shape, settings.image_size
    done = np.unique(top.indices)
    with ExitStack() as stack:
        images = stack.enter_context(PreallocatedArray(part / IMAGES, (*shape, 3, side, side)))
        masks = stack.enter_context(PreallocatedArray(part / MASKS, (*shape, 1, side, side)))
        task = f"exemplars of {layer.name}"
        step = stack.enter_context((progress or Progress("none")).task(task, len(done)))
        step(int((done <= after).sum()))
        saved = time.monotonic()
        stream = exemplars(layer, top, settings, after=after)
        for index, several in groupby(stream, key=lambda shown: shown.index):
            for shown in several:
                _put(shown, images, masks)
            step()
            if time.monotonic() - saved > _SAVE_AFTER:
                images.flush()
                masks.flush()
                write_json(part / _STATE, {"key": key, "after": index})
                saved = time.monotonic()


def _state(part: Path, key: str) -> int:
    """Returns the last image that is done; clears away what belongs to other exemplars."""
    if (part / _STATE).is_file():
        state = read_json(part / _STATE)
        if state["key"] == key:
            return state["after"]
    if part.exists():
        shutil.rmtree(part)
    part.mkdir()
    write_json(part / _STATE, {"key": key, "after": -1})
    return -1


def _put(shown: Shown, images: PreallocatedArray, masks: PreallocatedArray) -> None:
    for row, rank, mask in zip(shown.rows.tolist(), shown.ranks.tolist(), shown.masks, strict=True):
        images.write(row, rank, shown.pixels)
        masks.write(row, rank, mask.view(np.uint8)[None])


def _tables(part: Path, top: TopImages, n_units: int) -> None:
    for name, table, form in ((IDS, top.indices, "%d"), (ACTIVATIONS, top.values, "%.5e")):
        with atomic_open(part / name) as file:
            np.savetxt(file, table, fmt=form, delimiter=",")
    if not np.array_equal(top.units, np.arange(n_units)):
        with atomic_path(part / UNITS) as temporary:
            np.save(temporary, top.units)
