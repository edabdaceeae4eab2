"""Makes batches of a fixed number of rows, so that a result does not depend on what else is computed.

The libraries below a network choose the kernel of a matrix product by the shapes of its operands, and
kernels add the same products in different orders. The last bits of an item's result therefore depend on
how many items are computed with it, but neither on their content nor on its row (with an exception for
very narrow layers, see docs/determinism.md). With a fixed number of rows, and items of one shape per
batch, every item is always computed in the same shape.

Missing rows are filled with zeros (`fill`, for tensors) or with repetitions (`fixed_batches`, for any
items), and their results are dropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Item = TypeVar("Item")

CPU_ROWS = 8
"""Rows of a batch on the CPU. More rows make single sentences costlier (a batch is always computed
whole) and save little: eight short texts or one image already keep the cores busy."""

CPU_IMAGE_ROWS = 16
"""Images per batch of a convolutional network on the CPU: as fast as larger batches, and little is lost
if a batch is not full."""

_VECTOR_ROWS = 128
"""Vectors per batch: about the fewest with which the matrix products of a text decoder are fast."""


def batch_rows(device: torch.device, batch_size: int) -> int:
    """Returns the number of rows of every batch: `CPU_ROWS` on the CPU, else the batch size.

    An accelerator needs larger batches to be fast, and the user has to be able to fit them into its
    memory. There, results may differ in the last bits between batch sizes.
    """
    return CPU_ROWS if device.type == "cpu" else batch_size


def fixed_batches(items: Iterable[Item], rows: int) -> Iterator[tuple[list[Item], int]]:
    """Yields batches of exactly `rows` items, with the number of items whose results are used.

    The last batch is filled up by repeating its last item; the results of the repetitions are not used.
    """
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, rows)):
        # Repeated, not zeroed: items may be texts, which have no zero.
        yield batch + batch[-1:] * (rows - len(batch)), len(batch)


def batches_by_shape(
    items: Iterable[Item], shape: Callable[[Item], int | tuple[int, ...]], rows: int
) -> Iterator[tuple[list[Item], int]]:
    """Yields `fixed_batches` of items with the same shape, the smallest shape first.

    Args:
        items: in any order.
        shape: of an item; depends on nothing else.
        rows: of every batch.
    """
    for _, same in itertools.groupby(sorted(items, key=shape), key=shape):
        yield from fixed_batches(same, rows)


def fill(items: Tensor, size: int, rows: Sequence[int] | None = None) -> Tensor:
    """Returns a batch of `size` rows with the items in `rows` and zeros elsewhere.

    Args:
        items: [n, ...].
        size: at least n.
        rows: the row of each item, in ascending order; by default the first n rows.
    """
    if len(items) == size:
        return items
    batch = items.new_zeros((size, *items.shape[1:]))
    # Items that keep their row have the same last bits even in narrow layers (docs/determinism.md).
    batch[list(range(len(items)) if rows is None else rows)] = items
    return batch


def in_blocks(function: Callable[..., Sequence[Tensor]], *columns: Tensor) -> list[Tensor]:
    """Applies `function` to vectors, in blocks of a fixed number of rows.

    Args:
        function: takes and returns tensors with the rows as first dimension.
        columns: its arguments, each with the same number of rows, at least one.

    Returns:
        Its results for all rows.
    """
    import torch

    count = len(columns[0])
    results = []
    for start in range(0, count, _VECTOR_ROWS):
        block = [column[start : start + _VECTOR_ROWS] for column in columns]
        results.append(function(*(fill(part, _VECTOR_ROWS) for part in block)))
    # Only the last block is filled up, so the surplus rows are at the end.
    return [torch.cat(parts)[:count] for parts in zip(*results, strict=True)]
