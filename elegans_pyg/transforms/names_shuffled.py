"""Controls that keep the whole graph and shuffle which neuron is which."""

from dataclasses import replace

import numpy as np

from elegans_pyg.transforms.rewiring import EdgeSet, Rewiring, generator


class NamesShuffled(Rewiring):
    """Keep the graph as it is, and permute the neurons of each type among its nodes, with their names and all that goes with them.

    Every measure of the graph and of its types stays; what is left to chance is which neuron of a type has which partners. All kinds of
    synapses move together, with their weights. As in every family, self-loops of the base stay where they are.

    Args:
        seed: non-negative integer; the same seed gives the same graph.

    Raises:
        ValueError: if ``data`` is no cyclic connectome.
    """

    family = "names_shuffled"

    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        # Not from ``rng``, which every kind of synapse has to itself.
        own, place = generator(type(self).__name__, self.seed), np.arange(edges.num_nodes)
        for kind in np.unique(neuron_type):
            members = np.flatnonzero(neuron_type == kind)
            place[members] = own.permutation(members)
        return replace(edges, source=place[edges.source], target=place[edges.target])
