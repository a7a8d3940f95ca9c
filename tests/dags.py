"""Random DAGs for tests: hypothesis strategies and a plain generator."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from elegans_pyg.wirings import NEURON_TYPES


def levels_of(num_nodes: int, edges: list[tuple[int, int]], inputs: set[int]) -> list[int]:
    """Longest path from any input node, by relaxing every edge until nothing changes; -1 where no input reaches."""
    level = [0 if n in inputs else -1 for n in range(num_nodes)]
    changed = True
    while changed:
        changed = False
        for m, n in edges:
            if level[m] >= 0 and level[n] < level[m] + 1:
                level[n] = level[m] + 1
                changed = True
    return level


def random_dag(seed: int, num_nodes: int, density: float, share_of_inputs: float = 1.0) -> Data:
    """A DAG on shuffled node numbers; some nodes without incoming edges may be no inputs, and then nothing reaches them."""
    rng = np.random.default_rng(seed)
    rank = rng.permutation(num_nodes)
    edges = [(int(rank[i]), int(rank[j])) for i in range(num_nodes) for j in range(i + 1, num_nodes) if rng.random() < density]
    rng.shuffle(edges)
    with_incoming = {n for _, n in edges}
    sources = [n for n in range(num_nodes) if n not in with_incoming]
    inputs = {n for n in sources if rng.random() < share_of_inputs} or {sources[0]}
    level = levels_of(num_nodes, edges, inputs)
    with_outgoing = {m for m, _ in edges}
    types = torch.from_numpy(rng.integers(0, len(NEURON_TYPES), num_nodes))
    return Data(
        x=torch.nn.functional.one_hot(types, len(NEURON_TYPES)).float(),
        edge_index=torch.tensor(edges, dtype=torch.long).view(-1, 2).T.contiguous(),
        edge_weight=torch.from_numpy(rng.integers(1, 20, len(edges))).float(),
        edge_type=torch.zeros(len(edges), dtype=torch.long),
        neuron_type=types,
        neuron_name=[f"N{n}" for n in range(num_nodes)],
        inhibitory=torch.from_numpy(rng.random(num_nodes) < 0.3),
        level=torch.tensor(level),
        input_mask=torch.tensor([n in inputs for n in range(num_nodes)]),
        output_mask=torch.tensor([level[n] >= 0 and n not in with_outgoing for n in range(num_nodes)]),
    )


@st.composite
def dags(draw: st.DrawFn, max_nodes: int = 9) -> Data:
    return random_dag(
        seed=draw(st.integers(0, 2**16)),
        num_nodes=draw(st.integers(1, max_nodes)),
        density=draw(st.sampled_from([0.0, 0.15, 0.4, 0.9])),
        share_of_inputs=draw(st.sampled_from([0.5, 1.0])),
    )


@st.composite
def ensembles(draw: st.DrawFn, max_variants: int = 3, max_nodes: int = 9) -> Batch:
    return Batch.from_data_list(draw(st.lists(dags(max_nodes), min_size=1, max_size=max_variants)))
