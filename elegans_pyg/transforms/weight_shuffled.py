"""Controls that keep the topology and shuffle the synapse counts."""

from dataclasses import replace

import numpy as np

from elegans_pyg.transforms.rewiring import EdgeSet, Rewiring


class WeightShuffled(Rewiring):
    """Keep every edge, and permute the synapse counts among them.

    A constrained DAG takes edges in order of weight, so this changes which edges close a cycle and go, and nothing else. Chemical counts
    are permuted among chemical edges, electrical ones among electrical synapses, both directions alike. Self-loops of the base keep theirs.

    Args:
        seed: non-negative integer; the same seed gives the same graph.

    Raises:
        ValueError: if ``data`` is no cyclic connectome.
    """

    family = "weight_shuffled"

    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        return replace(edges, weight=rng.permutation(edges.weight))
