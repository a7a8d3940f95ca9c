"""TypeRewired: degrees within blocks of types."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from elegans_pyg.transforms import Rewired, TypeRewired
from tests.transforms.wirings import connectomes, edge_list, random_connectome, redrawn, same

pytestmark = pytest.mark.filterwarnings("ignore:.*found no swap")


def degrees_by_type(data: Data, kind: int) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]:
    """How often a neuron is joined to each type: outgoing, incoming."""
    types = data.neuron_type.tolist()
    edges = [(s, t) for s, t, k, _ in edge_list(data) if k == kind]
    return Counter((s, types[t]) for s, t in edges), Counter((types[s], t) for s, t in edges)


@settings(max_examples=60, deadline=None)
@given(connectomes(max_nodes=12), st.integers(0, 2**40), st.sampled_from([0.0, 0.5, 1.0]))
def test_keeps_degrees_to_each_type(data: Data, seed: int, fraction: float) -> None:
    new = redrawn(TypeRewired(seed, fraction), data)
    for kind in (0, 1):
        assert degrees_by_type(new, kind) == degrees_by_type(data, kind)


def test_moves_what_it_may() -> None:
    data = random_connectome(0, 60, chemical=0.15, electrical=0.1)
    new = TypeRewired(0)(data)
    for kind in (0, 1):
        old = {edge[:2] for edge in edge_list(data) if edge[2] == kind}
        stayed = old & {edge[:2] for edge in edge_list(new) if edge[2] == kind}
        assert len(stayed) < 0.4 * len(old)
    assert not same(new, TypeRewired(1)(data))
    assert degrees_by_type(Rewired(0)(data), 0) != degrees_by_type(data, 0)
    assert same(TypeRewired(0, fraction=0.0)(data), data)
