"""Loads, preprocesses and batches images.

Every batch that the target computes has the same number of rows: see `harness.fixed_batches`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import ProbingSet
from ..errors import InputError, UnreadableImageError
from ..fixed_batches import CPU_IMAGE_ROWS, fill

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from ..targets.preprocess import Preprocess
    from ..targets.target import Target


def block_size(target: Target, batch_size: int) -> int:
    """Returns the number of rows of every batch that a target computes.

    On the CPU it is always `CPU_IMAGE_ROWS`, so that results are bitwise equal for every `batch_size`. On
    an accelerator it is `batch_size`, which has to suit its memory; values of runs with different batch
    sizes may differ there by rounding.
    """
    return CPU_IMAGE_ROWS if target.device.type == "cpu" else batch_size


@dataclass(frozen=True)
class Skipped:
    """An image that cannot be read.

    Attributes:
        index: its index in the probing set.
        path: its path, or another permanent name.
        reason: why it cannot be read.
    """

    index: int
    path: str
    reason: str

    def error(self) -> UnreadableImageError:
        """Returns the exception to raise where an image must not be left out."""
        return UnreadableImageError(self.path, self.reason)


@dataclass
class Block:
    """A batch of preprocessed images.

    Attributes:
        indices: int64 [b], image indices of the images that could be read.
        rows: int64 [b], their rows in `inputs`.
        sizes: int32 [b, 2], their original width and height.
        inputs: [block size, C, H, W]; None if no image could be read.
        skipped: the images that could not be read.
    """

    indices: NDArray[np.int64]
    rows: NDArray[np.int64]
    sizes: NDArray[np.int32]
    inputs: torch.Tensor | None
    skipped: list[Skipped] = field(default_factory=list)

    def pin_memory(self) -> Block:
        """Moves the inputs to pinned memory, for copies to a GPU; called by the `DataLoader`."""
        if self.inputs is not None:
            self.inputs = self.inputs.pin_memory()
        return self

    def readable(self, maps: torch.Tensor) -> torch.Tensor:
        """Returns the maps of the images that could be read, from those of all rows."""
        import torch

        count = len(self.rows)
        if count and self.rows[-1] == count - 1:  # the first rows: a view instead of a copy
            return maps[:count]
        return maps[torch.from_numpy(self.rows).to(maps.device)]


def load(
    probe: ProbingSet,
    target: Target,
    batches: Sequence[Sequence[int]],
    size: int,
    workers: int = 0,
) -> Iterator[Block]:
    """Yields one block for each batch of image indices, in order; decodes each image once.

    Args:
        probe: the images.
        target: its preprocessing is applied.
        batches: image indices, at most `size` in each.
        size: rows of every block, see `block_size`.
        workers: processes that decode; 0 decodes in this process.

    Raises:
        InputError: if the preprocessing fails, or returns inputs of different shapes.
    """
    import torch
    from torch.utils.data import DataLoader

    loader = DataLoader(
        _ImageDataset(probe, target.preprocess),  # type: ignore[arg-type]
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_Collate(size),
        num_workers=workers,
        pin_memory=target.device.type == "cuda",
        # The loader draws a seed for its workers, by default from the global generator.
        generator=torch.Generator(),
    )
    with _worker_errors_explained():
        for block in loader:
            if isinstance(block, InputError):
                raise block
            yield block


def retry(probe: ProbingSet, index: int) -> Skipped | None:
    """Reads an image again that could not be read before; returns None if it can be read now."""
    image = _open(probe, index)
    return image if isinstance(image, Skipped) else None


@dataclass(frozen=True)
class _Preprocessed:
    """One image: its index, its original (width, height), and the target's input [C, H, W]."""

    index: int
    size: tuple[int, int]
    input: torch.Tensor


class _ImageDataset:
    """The data set of the loader.

    Errors are returned, not raised: an exception raised in a worker arrives as another one, with the
    worker's traceback as its message.
    """

    def __init__(self, probe: ProbingSet, preprocess: Preprocess) -> None:
        self._probe, self._preprocess = probe, preprocess

    def __len__(self) -> int:
        return len(self._probe)

    def __getitem__(self, index: int) -> _Preprocessed | Skipped | InputError:
        image = _open(self._probe, index)
        if isinstance(image, Skipped):
            return image
        try:
            return _Preprocessed(index, image.size, self._preprocess(image))
        except Exception as error:
            return InputError(
                f"the preprocessing fails for image {self._probe.locate(index)}: {error}",
                "it must accept any RGB image",
            )


def _open(probe: ProbingSet, index: int) -> Image | Skipped:
    try:
        image = probe.image(index)
        image.load()
    except UnreadableImageError as error:
        return Skipped(index, error.path, error.reason)
    except (OSError, SyntaxError, ValueError) as error:  # what PIL raises for broken files
        return Skipped(index, probe.locate(index), str(error))
    return image


class _Collate:
    """Makes a block of `size` rows.

    An image keeps its row where another one cannot be read, so that the block is the same as with all
    images readable, except for the row of zeros.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, items: Sequence[_Preprocessed | Skipped | InputError]) -> Block | InputError:
        failed = next((item for item in items if isinstance(item, InputError)), None)
        if failed:
            return failed
        rows = [row for row, item in enumerate(items) if isinstance(item, _Preprocessed)]
        images = [item for item in items if isinstance(item, _Preprocessed)]
        return _different_shapes(images) or Block(
            np.array([image.index for image in images], np.int64),
            np.array(rows, np.int64),
            np.array([image.size for image in images], np.int32).reshape(-1, 2),
            self._inputs(images, rows),
            [item for item in items if isinstance(item, Skipped)],
        )

    def _inputs(self, images: Sequence[_Preprocessed], rows: Sequence[int]) -> torch.Tensor | None:
        import torch

        return fill(torch.stack([image.input for image in images]), self._size, rows) if images else None


def _different_shapes(images: Sequence[_Preprocessed]) -> InputError | None:
    shapes = {tuple(image.input.shape) for image in images}
    if len(shapes) < 2:
        return None
    return InputError(
        f"the preprocessing returns inputs of different shapes: {sorted(shapes)[:3]}",
        "it must resize or crop every image to one size",
    )


@contextmanager
def _worker_errors_explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # The loader raises a plain RuntimeError when a worker is killed, mostly for lack of memory.
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            f"a process that decodes images died: {str(error).splitlines()[0]}",
            "memory may be short: lower activations.workers (0 decodes in the main process)",
        ) from error
