"""Rewiring by swaps, which keeps every neuron's degrees to and from each type of neuron."""

from __future__ import annotations

import numpy as np

from elegans_pyg.transforms.rewired import Rewired


class TypeRewired(Rewired):
    r"""Swap targets as :class:`Rewired` does, but only between edges that join the same two types of neuron.

    Keeps every neuron's numbers of incoming and outgoing edges for each type at the other end, and with them the number of edges from each
    type to each other: what is left to chance is which neuron of a type is joined to which. For electrical synapses the two types have no
    order. All else, the warning included, is as in :class:`Rewired`.

    Args:
        seed: non-negative integer; the same seed gives the same graph.
        fraction: share of each kind's edges that takes part; they are chosen at random, and swap among themselves. 0 gives an equal graph.

    Raises:
        ValueError: if ``data`` is no cyclic connectome.
    """

    def blocks(
        self, source: np.ndarray, target: np.ndarray, chosen: np.ndarray, neuron_type: np.ndarray, directed: bool
    ) -> tuple[list[np.ndarray], list[bool]]:
        if not directed:
            turn = neuron_type[source] > neuron_type[target]
            source[turn], target[turn] = target[turn], source[turn]
        pre, post = neuron_type[source[chosen]], neuron_type[target[chosen]]
        types = sorted(set(zip(pre.tolist(), post.tolist(), strict=True)))
        return [chosen[(pre == a) & (post == b)] for a, b in types], [not directed and a == b for a, b in types]
