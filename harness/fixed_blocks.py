"""Batches of one fixed size, so that a result does not depend on how many items are computed together.

The output of a network for one item depends, in the last bits, on the number of items in the batch:
numerical libraries choose another algorithm for another size. It depends neither on the other items nor
on the position in the batch. Batches are therefore filled up with zeros to one size, and the outputs for
the zeros are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

CPU_BLOCK = 16
"""Images per batch on the CPU: as fast as larger batches, and little is lost if a batch is not full."""

VECTOR_BLOCK = 128
"""Vectors per batch: about the fewest with which the matrix products of a text decoder are fast."""


def fill(items: Tensor, size: int, rows: Sequence[int] | None = None) -> Tensor:
    """Returns a batch of `size` rows with the items in `rows` and zeros elsewhere.

    Args:
        items: [n, ...].
        size: at least n.
        rows: the row of each item, in ascending order; by default the first n rows.
    """
    if len(items) == size:
        return items
    block = items.new_zeros((size, *items.shape[1:]))
    # Items that keep their row have the same last bits even in narrow layers (docs/determinism.md).
    block[list(range(len(items)) if rows is None else rows)] = items
    return block


def in_blocks(function: Callable[..., Sequence[Tensor]], *columns: Tensor) -> list[Tensor]:
    """Applies `function` to rows, `VECTOR_BLOCK` at a time.

    Args:
        function: takes and returns tensors with the rows as first dimension.
        columns: its arguments, each with the same number of rows, at least one.

    Returns:
        Its results for all rows.
    """
    import torch

    count = len(columns[0])
    blocks = []
    for start in range(0, count, VECTOR_BLOCK):
        block = [column[start : start + VECTOR_BLOCK] for column in columns]
        blocks.append(function(*(fill(part, VECTOR_BLOCK) for part in block)))
    # Only the last block is filled up, so the surplus rows are at the end.
    return [torch.cat(parts)[:count] for parts in zip(*blocks, strict=True)]
