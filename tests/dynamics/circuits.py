"""Small nervous systems for tests."""

from __future__ import annotations

import torch
from torch_geometric.data import Data


def circuit(edges: list[tuple[int, int, float, int]], inhibitory: list[bool]) -> Data:
    """A wiring of neurons N0, N1, ... from (source, target, weight, type); electrical edges get their other direction."""
    both = sorted({*edges, *((target, source, weight, kind) for source, target, weight, kind in edges if kind == 1)})
    number = len(inhibitory)
    return Data(
        x=torch.zeros(number, 6),
        edge_index=torch.tensor([[edge[0] for edge in both], [edge[1] for edge in both]], dtype=torch.int64),
        edge_weight=torch.tensor([edge[2] for edge in both], dtype=torch.float32),
        edge_type=torch.tensor([edge[3] for edge in both], dtype=torch.int64),
        neuron_type=torch.arange(number) % 3,
        neuron_name=[f"N{row}" for row in range(number)],
        inhibitory=torch.tensor(inhibitory),
    )


def five() -> Data:
    """A chain with feedback inhibition, two gap junctions, an autapse and a neuron of its own."""
    edges = [(0, 1, 6, 0), (1, 2, 4, 0), (2, 0, 8, 0), (3, 1, 5, 0), (1, 1, 2, 0), (0, 3, 40, 1), (1, 3, 15, 1)]
    return circuit([(a, b, float(w), k) for a, b, w, k in edges], [False, False, True, False, False])
