"""Images on their way to a target: decoded, preprocessed and put into blocks of one fixed size.

What a network computes for an image depends, in the last bits, on how many images it is shown at once:
the libraries below it choose another algorithm for another size. It does not depend on what the other
images are, nor on the place among them. Therefore every block has the same number of rows, whatever is
asked for; rows without an image are zero and what comes of them is dropped.
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

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from ..targets.preprocess import Preprocess
    from ..targets.target import Target

CPU_BLOCK = 16
"""Rows of a block on the CPU: as fast as larger ones, and a small loss where a block is not full."""


def block_size(target: Target, batch_size: int) -> int:
    """Returns how many images a target is shown at once.

    On the CPU it is always the same, so that results are bitwise the same whatever the batch size. On
    an accelerator it is the batch size, which has to suit its memory; there, values of runs with
    different batch sizes may differ by rounding.
    """
    return CPU_BLOCK if target.device.type == "cpu" else batch_size


@dataclass(frozen=True)
class Skipped:
    """An image that could not be read.

    Attributes:
        index: its index in the probing set.
        path: where it lies, or another lasting name.
        reason: why it could not be read.
    """

    index: int
    path: str
    reason: str

    def error(self) -> UnreadableImageError:
        """Returns the exception to raise where it may not be left out."""
        return UnreadableImageError(self.path, self.reason)


@dataclass
class Block:
    """Some images, ready to be shown.

    Attributes:
        indices: int64 [b], those that could be read.
        rows: int64 [b], their rows in `pictures`.
        sizes: int32 [b, 2], their original width and height.
        pictures: [block size, C, H, W]; None if there is none.
        skipped: the others.
    """

    indices: NDArray[np.int64]
    rows: NDArray[np.int64]
    sizes: NDArray[np.int32]
    pictures: torch.Tensor | None
    skipped: list[Skipped] = field(default_factory=list)

    def pin_memory(self) -> Block:
        """Moves the pictures to memory that an accelerator can read by itself (the loader asks)."""
        if self.pictures is not None:
            self.pictures = self.pictures.pin_memory()
        return self

    def own(self, maps: torch.Tensor) -> torch.Tensor:
        """Returns the maps of the images that could be read, from those of the whole block."""
        import torch

        if len(self.rows) and self.rows[-1] == len(self.rows) - 1:
            return maps[: len(self.rows)]
        return maps[torch.from_numpy(self.rows).to(maps.device)]


def load(
    probe: ProbingSet,
    target: Target,
    batches: Sequence[Sequence[int]],
    size: int,
    workers: int = 0,
) -> Iterator[Block]:
    """Yields one block for each batch of image indices, in order; each image is decoded once.

    Args:
        probe: the images.
        target: whose preprocessing is applied.
        batches: image indices, at most `size` in each.
        size: rows of every block, see `block_size`.
        workers: processes that decode; 0 for this one.

    Raises:
        InputError: if the preprocessing fails, or gives pictures of different shapes.
    """
    import torch
    from torch.utils.data import DataLoader

    loader = DataLoader(
        _Pictures(probe, target.preprocess),  # type: ignore[arg-type]
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_Collate(size),
        num_workers=workers,
        pin_memory=target.device.type == "cuda",
        generator=torch.Generator(),  # its own: the loader draws a seed for its workers
    )
    with _workers_explained():
        for block in loader:
            if isinstance(block, InputError):
                raise block
            yield block


def retry(probe: ProbingSet, index: int) -> Skipped | None:
    """Tries once more to read an image that could not be read; returns None if it can be read now."""
    image = _open(probe, index)
    return image if isinstance(image, Skipped) else None


@dataclass(frozen=True)
class _Picture:
    index: int
    size: tuple[int, int]
    pixels: torch.Tensor


class _Pictures:
    """The data set behind the loader; what goes wrong is returned: exceptions do not travel well."""

    def __init__(self, probe: ProbingSet, preprocess: Preprocess) -> None:
        self._probe, self._preprocess = probe, preprocess

    def __len__(self) -> int:
        return len(self._probe)

    def __getitem__(self, index: int) -> _Picture | Skipped | InputError:
        image = _open(self._probe, index)
        if isinstance(image, Skipped):
            return image
        try:
            return _Picture(index, image.size, self._preprocess(image))
        except Exception as error:
            return InputError(
                f"the preprocessing fails for image {self._probe.locate(index)}: {error}",
                "it must accept any RGB picture",
            )


def _open(probe: ProbingSet, index: int) -> Image | Skipped:
    try:
        image = probe.image(index)
        image.load()
    except UnreadableImageError as error:
        return Skipped(index, error.path, error.reason)
    except (OSError, SyntaxError, ValueError) as error:  # as PIL reports broken files
        return Skipped(index, probe.locate(index), str(error))
    return image


class _Collate:
    """Puts pictures into a block of `size` rows, each in the place it would have if all were readable."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, items: Sequence[_Picture | Skipped | InputError]) -> Block | InputError:
        wrong = next((item for item in items if isinstance(item, InputError)), None)
        good = [(row, item) for row, item in enumerate(items) if isinstance(item, _Picture)]
        wrong = wrong or _uneven([item for _, item in good])
        if wrong:
            return wrong
        return Block(
            np.array([item.index for _, item in good], np.int64),
            np.array([row for row, _ in good], np.int64),
            np.array([item.size for _, item in good], np.int32).reshape(-1, 2),
            fill([item.pixels for _, item in good], [row for row, _ in good], self._size)
            if good
            else None,
            [item for item in items if isinstance(item, Skipped)],
        )


def _uneven(pictures: Sequence[_Picture]) -> InputError | None:
    shapes = {tuple(item.pixels.shape) for item in pictures}
    if len(shapes) < 2:
        return None
    return InputError(
        f"the preprocessing gives pictures of different shapes: {sorted(shapes)[:3]}",
        "it must resize or crop every picture to one size",
    )


def fill(pictures: Sequence[torch.Tensor], rows: Sequence[int], size: int) -> torch.Tensor:
    """Returns a block of `size` rows with the pictures in `rows` and zeros elsewhere."""
    import torch

    if list(rows) == list(range(size)):
        return torch.stack(list(pictures))
    block = torch.zeros(size, *pictures[0].shape, dtype=pictures[0].dtype)
    for row, picture in zip(rows, pictures, strict=True):
        block[row] = picture
    return block


@contextmanager
def _workers_explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            f"a process that decodes images died: {str(error).splitlines()[0]}",
            "there may be too little memory: lower activations.workers (0 decodes in the main process)",
        ) from error


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Computes in true float32 and the same way each time, which CUDA does not by itself."""
    import torch

    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
