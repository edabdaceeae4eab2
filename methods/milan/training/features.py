"""Vectors of annotated exemplars, computed once and kept on disk for training."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....harness.activations.npy_files import PreallocatedArray
from ....harness.files import explained, fingerprint, read_json, write_json
from ....harness.progress import Progress
from ....harness.targets.fingerprints import weights_digest
from ..encoder import PyramidEncoder
from .dataset import AnnotatedExemplars, agreed

FORMAT = 2
_PICTURES, _MASKS = 16, 256  # encoded at once, 15 MB at 224 x 224

Unit = tuple[AnnotatedExemplars, int]
Place = tuple[int, int]
"""Row and rank of an exemplar in the vectors."""


def unit_features(
    data: Sequence[AnnotatedExemplars],
    encoder: PyramidEncoder,
    folder: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Returns the encoder's vectors of all units, [units, k, size], memory-mapped.

    Each picture is shown to the encoder once, however many units, layers and data sets have it among
    their exemplars. Vectors are computed once for the same data and encoder; an interrupted computation
    goes on at its last pictures. The memory does not grow with the vectors.

    Args:
        data: annotated exemplars, one data set after the other.
        encoder: makes one vector of an exemplar.
        folder: where they are kept.
        progress: shows how far it is.

    Raises:
        InputError: if the data sets have different kinds of exemplars, or the disk is full.
        UnreadableImageError: if an image cannot be decoded; names the file.
    """
    settings = agreed([(part.name, part.settings) for part in data])
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
        units = [(part, index) for part in data for index in range(len(part))]
        _compute(units, (len(units), settings["count"], encoder.size), encoder, path, progress)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _compute(
    units: Sequence[Unit],
    shape: tuple[int, int, int],
    encoder: PyramidEncoder,
    path: Path,
    progress: Progress | None,
) -> None:
    part, state = path.with_suffix(".part"), path.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    done = read_json(state)["blocks"] if state.is_file() and part.is_file() else 0
    blocks = list(_blocks(units))
    task = (progress or Progress("none")).task("features of the exemplars", len(blocks))
    with explained(part), PreallocatedArray(part, shape, np.float32) as slots, task as step:
        step(done)
        for number, block in enumerate(blocks[done:], done + 1):
            places = [place for same in block for place in same]
            for (row, rank), vector in zip(places, _encoded(units, block, encoder), strict=True):
                slots.write(row, rank, vector)
            slots.flush()
            write_json(state, {"blocks": number})
            step()
    part.rename(path)
    state.unlink()


def _blocks(units: Sequence[Unit]) -> Iterator[list[list[Place]]]:
    """Yields blocks of pictures: for each the exemplars that show it, or some if they are many."""
    pictures: dict[tuple[str, bytes | int], list[Place]] = {}
    for row, (part, index) in enumerate(units):
        for rank, name in enumerate(part.picture_names(index)):
            pictures.setdefault(name, []).append((row, rank))
    block: list[list[Place]] = []
    masks = 0
    for places in pictures.values():
        for begin in range(0, len(places), _MASKS):
            some = places[begin : begin + _MASKS]
            if block and (len(block) == _PICTURES or masks + len(some) > _MASKS):
                yield block
                block, masks = [], 0
            block.append(some)
            masks += len(some)
    if block:
        yield block


def _encoded(
    units: Sequence[Unit], block: Sequence[Sequence[Place]], encoder: PyramidEncoder
) -> NDArray[np.float32]:
    """Returns the vectors [exemplars, size] of a block."""

    def mask(row: int, rank: int) -> NDArray[np.uint8]:
        part, index = units[row]
        return part.mask(index, rank)

    pictures = []
    for (row, rank), *_ in block:
        part, index = units[row]
        pictures.append(part.picture(index, rank))
    return encoder.encode_shared(pictures, [np.stack([mask(*place) for place in same]) for same in block])
