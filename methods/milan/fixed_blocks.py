"""Networks applied to rows in blocks of one fixed size.

What a matrix product gives for a row depends, in the last bits, on how many rows there are, but not on
what is in the others. In blocks of a fixed size a row always gets the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 128
"""Rows of a block: about the fewest with which the matrix products of a caption run at full speed."""


def in_blocks(function: Callable[..., Sequence[Tensor]], *columns: Tensor) -> list[Tensor]:
    """Applies `function` to rows, `BLOCK` at a time; the last block is filled up with zeros.

    Args:
        function: takes and returns tensors with the rows as first dimension.
        columns: its arguments, each with the same number of rows, at least one.

    Returns:
        Its results, for all rows.
    """
    count = len(columns[0])
    blocks = []
    for begin in range(0, count, BLOCK):
        block = [column[begin : begin + BLOCK] for column in columns]
        missing = BLOCK - len(block[0])
        blocks.append(function(*(_filled(part, missing) for part in block)))
    return [torch.cat(parts)[:count] for parts in zip(*blocks, strict=True)]


def _filled(rows: Tensor, missing: int) -> Tensor:
    return functional.pad(rows, (0, 0) * (rows.ndim - 1) + (0, missing)) if missing else rows
