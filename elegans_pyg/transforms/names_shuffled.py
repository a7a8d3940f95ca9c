"""Nulls that keep the whole graph and shuffle which neuron is which."""

from dataclasses import replace

import numpy as np

from elegans_pyg.transforms.rewiring import EdgeSet, Rewiring, generator


class NamesShuffled(Rewiring):
    """Permute the neurons of each type, with their names and attributes, among the nodes of the graph, which is kept.

    Every measure of the graph and of its types is kept; only which neuron of a type has which partners is random. All kinds of synapses
    move together, with their weights. As in every family, self-loops of the base stay where they are.

    Args:
        seed: non-negative integer; the same seed gives the same graph.

    Raises:
        ValueError: if ``data`` is not a cyclic connectome.
    """

    family = "names_shuffled"

    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        # Not from ``rng``, which differs between kinds of synapse: all kinds need the same permutation.
        own, place = generator(type(self).__name__, self.seed), np.arange(edges.num_nodes)
        for kind in np.unique(neuron_type):
            members = np.flatnonzero(neuron_type == kind)
            place[members] = own.permutation(members)
        return replace(edges, source=place[edges.source], target=place[edges.target])
