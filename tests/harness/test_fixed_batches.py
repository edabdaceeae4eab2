"""Batches of a fixed number of rows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dissectbench.harness.fixed_batches import CPU_ROWS, batch_rows, batches_by_shape, fixed_batches


@given(lengths=st.lists(st.integers(1, 4)), rows=st.integers(1, 5))
def test_every_batch_is_full_of_one_shape_and_every_item_is_wanted_once(lengths, rows):
    items = list(enumerate(lengths))
    wanted = []
    for batch, count in batches_by_shape(items, lambda item: item[1], rows):
        assert len(batch) == rows
        assert 1 <= count <= rows
        assert len({length for _, length in batch}) == 1
        assert batch[count:] == [batch[count - 1]] * (rows - count)
        wanted += batch[:count]
    assert sorted(wanted) == items
    assert [length for _, length in wanted] == sorted(lengths)


def test_a_stream_is_read_one_batch_at_a_time():
    read = []
    stream = fixed_batches((read.append(i) or i for i in range(5)), 2)
    assert next(stream) == ([0, 1], 2)
    assert read == [0, 1]
    assert list(stream) == [([2, 3], 2), ([4, 4], 1)]


def test_the_batch_size_counts_on_accelerators_only():
    assert batch_rows(torch.device("cuda"), 64) == 64
    assert {batch_rows(torch.device("cpu"), size) for size in (1, 64)} == {CPU_ROWS}


@pytest.mark.numerics
@pytest.mark.parametrize(("inner", "outer"), [(32, 32), (384, 384), (384, 1536), (3072, 768)])
def test_a_row_of_a_product_depends_neither_on_its_place_nor_on_the_other_rows(inner, outer):
    """All fixed shapes rely on this. It holds for widths that are multiples of 16."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(outer, inner, generator=generator), torch.randn(outer, generator=generator)
    row = torch.randn(inner, generator=generator)
    for tokens in (1, 5, 13):
        results = []
        for place in range(CPU_ROWS):
            block = torch.randn(CPU_ROWS, tokens, inner, generator=generator)
            block[place] = row
            results.append(torch.nn.functional.linear(block, weight, bias)[place])
        assert all(torch.equal(result, results[0]) for result in results)
