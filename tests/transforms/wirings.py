"""Random cyclic connectomes for tests: a plain generator and a hypothesis strategy."""

from __future__ import annotations

from collections import Counter

import networkx as nx
import numpy as np
import torch
from hypothesis import strategies as st
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from elegans_pyg.transforms.rewiring import Rewiring
from elegans_pyg.wirings import NEURON_TYPES


def random_connectome(
    seed: int, num_nodes: int, chemical: float = 0.3, electrical: float = 0.0, loops: float = 0.2, sensory: float = 0.3
) -> Data:
    """Each chemical pair, electrical pair and self-loop is there with the chance given; at least one neuron is sensory."""
    rng = np.random.default_rng(seed)
    edges = []
    for a in range(num_nodes):
        for b in range(num_nodes):
            if rng.random() < (loops if a == b else chemical):
                edges.append((a, b, 0, int(rng.integers(1, 6))))
            if a <= b and rng.random() < (electrical * loops if a == b else electrical):
                weight = int(rng.integers(1, 6))
                edges += [(a, b, 1, weight)] if a == b else [(a, b, 1, weight), (b, a, 1, weight)]
    edges.sort()
    columns = np.array(edges, dtype=np.int64).reshape(-1, 4)
    types = rng.integers(1, len(NEURON_TYPES), num_nodes)
    types[rng.random(num_nodes) < sensory] = 0
    types[rng.integers(num_nodes)] = 0
    neuron_type = torch.from_numpy(types)
    return Data(
        x=torch.nn.functional.one_hot(neuron_type, len(NEURON_TYPES)).float(),
        edge_index=torch.from_numpy(columns[:, :2].T.copy()),
        edge_weight=torch.from_numpy(columns[:, 3]).float(),
        edge_type=torch.from_numpy(columns[:, 2].copy()),
        neuron_type=neuron_type,
        neuron_name=[f"N{n}" for n in range(num_nodes)],
        inhibitory=torch.from_numpy(rng.random(num_nodes) < 0.2),
    )


@st.composite
def connectomes(draw: st.DrawFn, max_nodes: int = 10, electrical: bool = True) -> Data:
    return random_connectome(
        seed=draw(st.integers(0, 2**16)),
        num_nodes=draw(st.integers(1, max_nodes)),
        chemical=draw(st.sampled_from([0.0, 0.15, 0.4, 0.8])),
        electrical=draw(st.sampled_from([0.0, 0.2])) if electrical else 0.0,
        loops=draw(st.sampled_from([0.0, 0.4])),
        sensory=draw(st.sampled_from([0.0, 0.3])),
    )


def edge_list(data: Data) -> list[tuple[int, int, int, float]]:
    """(source, target, type, weight) of each edge, in the order of ``data``."""
    return list(zip(*data.edge_index.tolist(), data.edge_type.tolist(), data.edge_weight.tolist(), strict=True))


def without_loops(data: Data) -> list[tuple[int, int, int, float]]:
    return [edge for edge in edge_list(data) if edge[0] != edge[1]]


def loops_of(data: Data) -> list[tuple[int, int, int, float]]:
    return [edge for edge in edge_list(data) if edge[0] == edge[1]]


def digraph(data: Data) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(data.num_nodes))
    graph.add_edges_from(data.edge_index.T.tolist())
    return graph


def same(a: Data, b: Data) -> bool:
    """Whether two graphs hold the same attributes with equal values and types, but for those that say where they come from."""
    left, right = ({name: value for name, value in graph.to_dict().items() if name not in ("family", "wiring_seed")} for graph in (a, b))
    if left.keys() != right.keys():
        return False
    for name, value in left.items():
        if isinstance(value, torch.Tensor):
            if value.dtype != right[name].dtype or not torch.equal(value, right[name]):
                return False
        elif type(value) is not type(right[name]) or value != right[name]:
            return False
    return True


def applied(transform: BaseTransform, data: Data) -> Data:
    """What a transform makes of a graph, which it leaves as it is, and makes again."""
    before = data.clone()
    new = transform(data)
    assert same(data, before)
    assert same(new, transform(data))
    return new


def degrees(data: Data) -> Counter[tuple[str, int, int]]:
    """Number of edges out of and into each node, of each kind."""
    return Counter(end for s, t, kind, _ in edge_list(data) for end in (("out", s, kind), ("in", t, kind)))


def redrawn(transform: Rewiring, base: Data) -> Data:
    """What a family's transform makes, and what holds for every family: neurons, self-loops, numbers of edges of each kind; a simple graph,
    sorted; electrical symmetry."""
    new = applied(transform, base)
    for name in ("x", "neuron_type", "inhibitory"):
        assert torch.equal(new[name], base[name])
    assert new.neuron_name == base.neuron_name
    assert loops_of(new) == loops_of(base)
    edges = edge_list(new)
    keys = [(s, t, kind) for s, t, kind, _ in edges]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert Counter(kind for _, _, kind, _ in edges) == Counter(base.edge_type.tolist())
    electrical = {(s, t): weight for s, t, kind, weight in edges if kind == 1}
    assert all(electrical[t, s] == weight for (s, t), weight in electrical.items())
    assert new.edge_weight.dtype == base.edge_weight.dtype
    for kind in (0, 1):
        assert sorted(w for *_, k, w in edge_list(new) if k == kind) == sorted(w for *_, k, w in edge_list(base) if k == kind)
    return new
