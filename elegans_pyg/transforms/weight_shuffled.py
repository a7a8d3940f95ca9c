"""Nulls that keep the topology and shuffle the synapse counts."""

from dataclasses import replace

import numpy as np

from elegans_pyg.transforms.rewiring import EdgeSet, Rewiring


class WeightShuffled(Rewiring):
    """Permute the synapse counts among the edges, which are kept.

    A constrained DAG adds edges in order of weight, so this changes only which edges close a cycle and are left out. Chemical counts are
    permuted among chemical edges, electrical ones among electrical synapses, alike in both directions. Self-loops keep theirs.

    Args:
        seed: non-negative integer; the same seed gives the same graph.

    Raises:
        ValueError: if ``data`` is not a cyclic connectome.
    """

    family = "weight_shuffled"

    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        return replace(edges, weight=rng.permutation(edges.weight))
