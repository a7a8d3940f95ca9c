"""WeightShuffled: the topology stays."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from elegans_pyg.transforms import WeightShuffled
from tests.transforms.wirings import connectomes, random_connectome, redrawn, same


@settings(max_examples=40, deadline=None)
@given(connectomes(), st.integers(0, 2**40))
def test_keeps_the_topology(data: Data, seed: int) -> None:
    new = redrawn(WeightShuffled(seed), data)
    assert torch.equal(new.edge_index, data.edge_index)
    assert torch.equal(new.edge_type, data.edge_type)


def test_moves_weights() -> None:
    data = random_connectome(0, 30)
    assert (WeightShuffled(0)(data).edge_weight != data.edge_weight).float().mean() > 0.5
    assert not same(WeightShuffled(0)(data), WeightShuffled(1)(data))
