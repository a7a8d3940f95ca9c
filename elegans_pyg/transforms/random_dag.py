"""The random DAG of Roberts et al., which ignores the direction of synapses."""

import numpy as np
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import degree

from elegans_pyg._arguments import check_seed
from elegans_pyg.transforms.levels import mark_dag
from elegans_pyg.transforms.rewiring import edge_arrays, generator, merge, with_edges
from elegans_pyg.wirings import ELECTRICAL, as_wiring


class RandomDAG(BaseTransform):
    r"""Direct every edge of a connectome's undirected support from the smaller to the larger of random node numbers.

    From Roberts, Yap & Prabhu (2019), "Deep Connectomics Networks: Neural Network Architectures Inspired by Neuronal Networks",
    arXiv:1912.08986, used by Park & Kim (2023), doi:10.5607/en23004, for comparison. With :math:`\pi` a random numbering of the nodes,

    .. math::
        s \to t \quad\text{if } \pi(s) < \pi(t) \text{ and the connectome has } s \to t \text{ or } t \to s.

    All edges between two neurons, whatever their kind and direction, become one: their weights are added (an electrical synapse stored in
    both directions counts once), and the edge is electrical only if all of them are. Self-loops are removed. Nodes without incoming edges
    are the input; nodes without outgoing edges, or those of an ``output_mask`` that a wiring has, are the output. An isolated node is both.
    Every node is reached.

    Takes what :func:`~elegans_pyg.wirings.as_wiring` takes; only ``edge_index`` is required. Adds ``level``, ``input_mask`` and
    ``output_mask`` to a copy. Types of neurons are not used.

    Args:
        seed: non-negative integer; the same seed gives the same numbering.

    Raises:
        TypeError: if ``data`` is not a single ``Data``.
        ValueError: if :func:`~elegans_pyg.wirings.as_wiring` refuses it.
    """

    def __init__(self, seed: int) -> None:
        self.seed = check_seed(seed)

    def forward(self, data: Data) -> Data:
        return self.on_wiring(as_wiring(data))

    def on_wiring(self, data: Data) -> Data:
        """Transform in place what :func:`~elegans_pyg.wirings.as_wiring` returned, without checking it again."""
        num_nodes = data.neuron_type.numel()
        number = generator("RandomDAG", self.seed).permutation(num_nodes)
        source, target, weight, kind = edge_arrays(data)
        between, ahead = source != target, number[source] < number[target]
        low, high = np.where(ahead, source, target), np.where(ahead, target, source)
        electrical, pair = kind == ELECTRICAL, source * num_nodes + target
        twice = electrical & np.isin(target * num_nodes + source, pair[electrical])
        share = np.where(twice, weight / 2, weight)
        with_edges(data, *merge(low[between], high[between], share[between], kind[between], num_nodes))
        data.wiring_seed = self.seed
        # The random numbering replaces the distance from the sensory neurons, which a constrained DAG was made by.
        if "sensory_distance" in data:
            del data.sensory_distance
        return mark_dag(data, degree(data.edge_index[1], num_nodes) == 0)

    def __repr__(self) -> str:
        return f"RandomDAG(seed={self.seed})"
