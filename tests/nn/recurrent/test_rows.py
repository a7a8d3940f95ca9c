"""Edges arranged in rows side by side, against the matrices that they make."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.utils import cumsum

from elegans_pyg.nn.recurrent.rows import WIDTH, rows_of


@given(
    sizes=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=3),
    edges=st.integers(0, 60),
    seed=st.integers(0, 1000),
)
@settings(max_examples=50, deadline=None)
def test_slots_hold_each_variant_s_matrix(sizes: list[tuple[int, int]], edges: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows, sources = torch.tensor(sizes).T
    variant = torch.randint(len(sizes), (edges,), generator=generator)
    row, source = ((torch.rand(edges, generator=generator) * own[variant]).long() for own in (rows, sources))
    weight = torch.randn(edges, generator=generator, dtype=torch.float64)
    table = rows_of(cumsum(rows)[variant] + row, rows, source, sources)
    slots = weight.new_zeros(len(table.source)).index_copy_(0, table.slot, weight)
    assert table.slot.unique().numel() == edges
    for number, (size, columns) in enumerate(sizes):
        expected, found = torch.zeros(size + 1, columns + 1).double(), torch.zeros(size + 1, columns + 1).double()
        own = variant == number
        expected.index_put_((row[own], source[own]), weight[own], accumulate=True)
        lengths = []
        for group in range(int(table.group_ptr[number]), int(table.group_ptr[number + 1])):
            low, high = table.slot_ptr[group : group + 2].tolist()
            lanes = table.row[WIDTH * group : WIDTH * (group + 1)].long()
            assert lanes[lanes < size].unique().numel() == int((lanes < size).sum())
            lengths.append((high - low) // WIDTH)
            place = (lanes.repeat(lengths[-1]), table.source[low:high].long())
            found.index_put_(place, slots[low:high], accumulate=True)
        assert lengths == sorted(lengths, reverse=True)
        # What is no row or no source gets nothing.
        torch.testing.assert_close(found, expected)
