"""Small random wirings for tests: a hypothesis strategy, and the same graph for NetworkX."""

from __future__ import annotations

import networkx as nx
import numpy as np
import torch
from hypothesis import strategies as st
from torch_geometric.data import Data

from elegans_pyg.analysis.simple_graph import SimpleGraph


def wiring(
    num_nodes: int,
    edges: list[tuple[int, int]],
    types: list[int] | None = None,
    kinds: list[int] | None = None,
    weights: list[float] | None = None,
) -> Data:
    count = len(edges)
    return Data(
        edge_index=torch.tensor(edges, dtype=torch.long).view(-1, 2).T.contiguous(),
        edge_weight=torch.tensor([1.0] * count if weights is None else weights),
        edge_type=torch.tensor([0] * count if kinds is None else kinds, dtype=torch.long),
        neuron_type=torch.tensor([0] * num_nodes if types is None else types, dtype=torch.long),
        num_nodes=num_nodes,
    )


def random_wiring(seed: int, num_nodes: int, density: float, colours: int = 3) -> Data:
    """With self-loops, repeated edges, isolated nodes, electrical synapses in both directions."""
    rng = np.random.default_rng(seed)
    chemical = [(i, j) for i in range(num_nodes) for j in range(num_nodes) if rng.random() < density]
    chemical += [edge for edge in chemical if rng.random() < 0.1]
    gaps = [(i, j) for i in range(num_nodes) for j in range(i) if rng.random() < density / 4]
    edges = chemical + gaps + [(j, i) for i, j in gaps]
    kinds = [0] * len(chemical) + [1] * (2 * len(gaps))
    weights = rng.integers(1, 6, len(chemical)).tolist() + 2 * rng.integers(1, 6, len(gaps)).tolist()
    order = rng.permutation(len(edges))
    return wiring(
        num_nodes,
        [edges[i] for i in order],
        rng.integers(0, colours, num_nodes).tolist(),
        [kinds[i] for i in order],
        [float(weights[i]) for i in order],
    )


@st.composite
def wirings(draw: st.DrawFn, max_nodes: int = 8, min_nodes: int = 1, colours: int = 3) -> Data:
    return random_wiring(
        seed=draw(st.integers(0, 2**16)),
        num_nodes=draw(st.integers(min_nodes, max_nodes)),
        density=draw(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])),
        colours=colours,
    )


def digraph(data: Data, kinds: tuple[int, ...] = (0, 1)) -> nx.DiGraph:
    """The same simple directed graph, read edge by edge."""
    graph = nx.DiGraph()
    graph.add_nodes_from((n, {"type": int(t)}) for n, t in enumerate(data.neuron_type))
    for (m, n), weight, kind in zip(data.edge_index.T.tolist(), data.edge_weight.tolist(), data.edge_type.tolist(), strict=True):
        if m != n and kind in kinds:
            before = graph.edges[m, n]["weight"] if graph.has_edge(m, n) else 0.0
            graph.add_edge(m, n, weight=before + weight)
    return graph


def simple(data: Data) -> SimpleGraph:
    return SimpleGraph.from_data(data)
