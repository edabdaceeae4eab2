"""Vectors of annotated exemplars, computed once and kept on disk for training."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...harness.files import fingerprint, read_json, write_json
from ...harness.growing import GrowingArray
from ...harness.identity import weights_digest
from ...harness.progress import Progress
from .dataset import AnnotatedExemplars, agreed
from .encoder import PyramidEncoder

FORMAT = 1
_UNITS = 16  # encoded at once, 36 MB of pictures with 15 of 224 x 224 each


def unit_features(
    data: Sequence[AnnotatedExemplars],
    encoder: PyramidEncoder,
    folder: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Returns the encoder's vectors of all units, [units, k, size], memory-mapped.

    They are computed once for the same data and encoder; an interrupted computation goes on at the last
    complete block of units. The memory does not grow with the number of units.

    Args:
        data: annotated exemplars, one data set after the other.
        encoder: makes one vector of an exemplar.
        folder: where they are kept.
        progress: shows how many units are done.

    Raises:
        InputError: if the data sets have different kinds of exemplars, or the disk is full.
    """
    agreed([(part.name, part.settings) for part in data])
    key = fingerprint(
        [
            FORMAT,
            [part.fingerprint() for part in data],
            weights_digest(encoder.model),
            encoder.mean.flatten().tolist(),
            encoder.std.flatten().tolist(),
        ]
    )
    path = Path(folder) / f"{key}.npy"
    if not path.is_file():
        _compute(data, encoder, path, progress)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _compute(
    data: Sequence[AnnotatedExemplars], encoder: PyramidEncoder, path: Path, progress: Progress | None
) -> None:
    part, state = path.with_suffix(".part"), path.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    done = read_json(state)["units"] if state.is_file() and part.is_file() else 0
    growing = GrowingArray(part, (data[0].settings["k"], encoder.size), np.float32, rows=done)
    total = sum(map(len, data))
    try:
        with (progress or Progress("none")).task("features of the exemplars", total) as step:
            step(done)
            for dataset, units in islice(_blocks(data), _blocks_before(data, done), None):
                growing.append(_encoded(dataset, units, encoder))
                growing.flush()
                write_json(state, {"units": growing.rows})
                step(len(units))
        growing.finish()
    finally:
        growing.close()
    part.rename(path)
    state.unlink()


def _blocks(data: Sequence[AnnotatedExemplars]) -> Iterator[tuple[AnnotatedExemplars, range]]:
    for dataset in data:
        for start in range(0, len(dataset), _UNITS):
            yield dataset, range(start, min(start + _UNITS, len(dataset)))


def _blocks_before(data: Sequence[AnnotatedExemplars], units: int) -> int:
    """Returns how many blocks make up the first `units` units."""
    ends = np.cumsum([len(block) for _, block in _blocks(data)])
    return int(np.searchsorted(ends, units, side="right"))


def _encoded(data: AnnotatedExemplars, units: range, encoder: PyramidEncoder) -> NDArray[np.float32]:
    pictures, masks = zip(*(data.exemplars(unit) for unit in units), strict=True)
    return encoder.encode(np.stack(pictures), np.stack(masks))
