"""Features of the exemplars of data sets on disk, computed once and kept in one file, for training.

`unit_features.py` does the same for the units of a probed layer, whose exemplars are made on the fly.
Here images and masks are read from files, several data sets may share images, and training needs the
features of all units at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....harness.activations.npy_files import PreallocatedArray
from ....harness.files import explained, fingerprint, read_json, write_json
from ....harness.progress import Progress
from ..encoder import PyramidEncoder
from ..unit_features import encoder_fingerprint
from .dataset import AnnotatedExemplars, agreed

FORMAT = 3
_IMAGES, _MASKS = 16, 256  # encoded at once, 15 MB at 224 x 224

Unit = tuple[AnnotatedExemplars, int]
Position = tuple[int, int]
"""Row and rank of an exemplar in the features."""


def dataset_features(
    data: Sequence[AnnotatedExemplars],
    encoder: PyramidEncoder,
    folder: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Returns the features of all units, [units, count, size], memory-mapped.

    The encoder processes each distinct image once, however many units, layers and data sets share it.
    Features are computed once for the same data and encoder; an interrupted computation resumes after its
    last block of images. The memory does not grow with the number of units.

    Args:
        data: data sets of annotated exemplars; their units follow each other.
        encoder: computes one feature vector per exemplar.
        folder: where the features are kept.
        progress: shows the progress.

    Raises:
        InputError: if the data sets have exemplars with different settings, or the disk is full.
        UnreadableImageError: if an image cannot be decoded; names the file.
    """
    settings = agreed([(part.name, part.settings) for part in data])
    parts = [part.fingerprint() for part in data]
    key = fingerprint([FORMAT, parts, encoder_fingerprint(encoder)])
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
    """Writes features of this shape to `path`, which appears when they are complete."""
    part, state = path.with_suffix(".part"), path.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    done = read_json(state)["blocks"] if state.is_file() and part.is_file() else 0
    blocks = list(_blocks(units))
    task = (progress or Progress("none")).task("features of the exemplars", len(blocks))
    with explained(part), PreallocatedArray(part, shape, np.float32) as array, task as advance:
        advance(done)
        for number, block in enumerate(blocks[done:], done + 1):
            positions = [position for shared in block for position in shared]
            for (row, rank), vector in zip(positions, _encoded(units, block, encoder), strict=True):
                array.write(row, rank, vector)
            array.flush()
            write_json(state, {"blocks": number})
            advance()
    part.rename(path)
    state.unlink()


def _blocks(units: Sequence[Unit]) -> Iterator[list[list[Position]]]:
    """Yields blocks of distinct images, each image as the positions of the exemplars that show it.

    An image with more than `_MASKS` exemplars is in several blocks.
    """
    images: dict[tuple[str, bytes | int], list[Position]] = {}
    for row, (part, index) in enumerate(units):
        for rank, image in enumerate(part.image_ids(index)):
            images.setdefault(image, []).append((row, rank))
    block: list[list[Position]] = []
    masks = 0
    for positions in images.values():
        for begin in range(0, len(positions), _MASKS):
            shared = positions[begin : begin + _MASKS]
            if block and (len(block) == _IMAGES or masks + len(shared) > _MASKS):
                yield block
                block, masks = [], 0
            block.append(shared)
            masks += len(shared)
    if block:
        yield block


def _encoded(
    units: Sequence[Unit], block: Sequence[Sequence[Position]], encoder: PyramidEncoder
) -> NDArray[np.float32]:
    """Returns the feature vectors [exemplars, size] of a block."""

    def mask(row: int, rank: int) -> NDArray[np.uint8]:
        part, index = units[row]
        return part.mask(index, rank)

    def image(row: int, rank: int) -> NDArray[np.uint8]:
        part, index = units[row]
        return part.image(index, rank)

    images = [image(*shared[0]) for shared in block]
    masks = [np.stack([mask(*position) for position in shared]) for shared in block]
    return encoder.encode_shared(images, masks)
