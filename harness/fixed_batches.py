"""Batches of one fixed number of rows, so that a result does not depend on what else is computed.

The libraries below a network choose the kernel of a matrix product by the shapes of its operands, and
kernels add the same products in different orders. The last bits of an item's result therefore depend on
how many items are computed with it, but neither on their content nor on its row (with an exception for
very narrow layers, see docs/determinism.md). With a fixed number of rows, and items of one shape per
batch, every item is always computed in the same shape.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")

CPU_ROWS = 8
"""Rows of a batch on the CPU. More rows make single sentences costlier (a batch is always computed
whole) and save little: eight short texts or one image already keep the cores busy."""


def batch_rows(device: torch.device, batch_size: int) -> int:
    """Returns the number of rows of every batch: `CPU_ROWS` on the CPU, else the batch size.

    An accelerator needs larger batches to be fast, and the user has to be able to fit them into its
    memory. There, results may differ in the last bits between batch sizes.
    """
    return CPU_ROWS if device.type == "cpu" else batch_size


def fixed_batches(items: Iterable[Item], rows: int) -> Iterator[tuple[list[Item], int]]:
    """Yields batches of exactly `rows` items, and how many of them are wanted.

    The last batch is filled up by repeating its last item, whose further results are to be dropped.
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
