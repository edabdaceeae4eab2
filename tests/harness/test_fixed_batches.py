"""Tests batches of a fixed number of rows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.fixed_batches import (
    CPU_ROWS,
    batch_rows,
    batches_by_shape,
    fill,
    fixed_batches,
    in_blocks,
)


@given(lengths=st.lists(st.integers(1, 4)), rows=st.integers(1, 5))
def test_every_batch_is_full_and_of_one_shape_and_every_item_is_used_once(lengths, rows):
    items = list(enumerate(lengths))
    used = []
    for batch, count in batches_by_shape(items, lambda item: item[1], rows):
        assert len(batch) == rows
        assert 1 <= count <= rows
        assert len({length for _, length in batch}) == 1
        assert batch[count:] == [batch[count - 1]] * (rows - count)
        used += batch[:count]
    assert sorted(used) == items
    assert [length for _, length in used] == sorted(lengths)


def test_a_stream_is_read_one_batch_at_a_time():
    read = []
    stream = fixed_batches((read.append(i) or i for i in range(5)), 2)
    assert next(stream) == ([0, 1], 2)
    assert read == [0, 1]
    assert list(stream) == [([2, 3], 2), ([4, 4], 1)]


def test_the_batch_size_is_used_on_accelerators_only():
    assert batch_rows(torch.device("cuda"), 64) == 64
    assert {batch_rows(torch.device("cpu"), size) for size in (1, 64)} == {CPU_ROWS}


def test_missing_rows_are_zeros():
    items = torch.tensor([[1.0], [2.0]])
    assert fill(items, 2) is items
    assert fill(items, 3).tolist() == [[1], [2], [0]]
    assert fill(items, 4, rows=[1, 3]).tolist() == [[0], [1], [0], [2]]


@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
def test_blocks_have_one_size_and_their_results_are_concatenated(count: int):
    sizes = []

    def add(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(len(first))
        return first + second, first

    numbers = torch.arange(float(count))
    total, first = in_blocks(add, numbers, 2 * numbers)
    assert set(sizes) == {128}
    assert torch.equal(total, 3 * numbers)
    assert torch.equal(first, numbers)


@pytest.mark.numerics
@pytest.mark.parametrize(("inner", "outer"), [(32, 32), (384, 384), (384, 1536), (3072, 768)])
def test_a_row_of_a_product_depends_neither_on_its_position_nor_on_the_other_rows(inner, outer):
    """All fixed shapes rely on this. It is true for widths that are multiples of 16."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(outer, inner, generator=generator), torch.randn(outer, generator=generator)
    row = torch.randn(inner, generator=generator)
    for tokens in (1, 5, 13):
        results = []
        for position in range(CPU_ROWS):
            block = torch.randn(CPU_ROWS, tokens, inner, generator=generator)
            block[position] = row
            results.append(torch.nn.functional.linear(block, weight, bias)[position])
        assert all(torch.equal(result, results[0]) for result in results)
