"""Small wirings with every role, for tests of the models around a tensor network."""

from __future__ import annotations

import numpy as np
import torch
from torch_geometric.data import Batch, Data

from elegans_pyg.nn import TensorNetwork


def wiring(seed: int, neurons: int = 14) -> Data:
    """A random cyclic wiring: a third each of sensory, inter and motor neurons."""
    rng = np.random.default_rng(seed)
    edges = {(int(a), int(b)) for a, b in rng.integers(0, neurons, (4 * neurons, 2)) if a != b}
    types = torch.tensor([[0, 1, 2][n % 3] for n in range(neurons)])
    edge_index = torch.tensor(sorted(edges)).T
    return Data(edge_index=edge_index, edge_type=torch.zeros(edge_index.size(1), dtype=torch.int64), neuron_type=types, num_nodes=neurons)


def network(seeds: list[int], width: int = 6, **options: object) -> TensorNetwork:
    """One wiring a seed, drawn from it."""
    return TensorNetwork(Batch.from_data_list([wiring(seed) for seed in seeds]), width, seeds=seeds, **options)
