"""What the random-graph generators share: as many edges as the base has, its synapse counts, its neurons in random places."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from elegans_pyg.transforms.wiring import EdgeSet, Rewiring


class GeneratedWiring(Rewiring):
    r"""A graph from a generator, with the neurons of the base.

    - **Nodes.** The generator's nodes are given to the base's neurons at random, so that types, names and inhibition are unrelated to
      the graph while their numbers, and with them the number of sensory neurons, stay as they are.
    - **Edges.** :math:`m = \mathrm{round}(\mathrm{density} \cdot E)` of each kind of synapse, :math:`E` being the base's number without
      self-loops. If the generator cannot make just :math:`m`, it makes the next larger number it can, and random ones are removed.
    - **Directions.** An undirected generator's edge becomes one chemical edge, in a random direction, or one electrical synapse.
    - **Synapse counts.** A random permutation of the base's; at another density, as many whole copies of them as fit, and a random choice
      without replacement for the rest.
    - **Self-loops** of the base stay.

    Args:
        seed: non-negative integer; the same seed gives the same graph.
        density: number of edges, as a multiple of the base's.

    Raises:
        ValueError: if the generator cannot make so many edges between so many nodes.
    """

    def __init__(self, seed: int, density: float = 1.0) -> None:
        super().__init__(seed)
        if isinstance(density, bool) or not isinstance(density, int | float | np.number):
            raise TypeError(f"density: expected a number above 0, got {density!r}; give one, such as 1.0")
        if not (math.isfinite(density) and density > 0):
            raise ValueError(f"density: expected a number above 0, got {density}; give one, such as 1.0")
        self.density = float(density)

    @abstractmethod
    def max_edges(self, num_nodes: int, directed: bool) -> int:
        """The most edges that :meth:`generate` can make."""

    @abstractmethod
    def generate(self, num_nodes: int, num_edges: int, directed: bool, seed: int) -> np.ndarray:
        """Edges ``(M, 2)`` of a simple graph, ``M`` at least ``num_edges``; if ``directed``, in a direction of their own."""

    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        count, most = round(self.density * len(edges)), self.max_edges(edges.num_nodes, edges.directed)
        if count > most:
            kind = "chemical" if edges.directed else "electrical"
            raise ValueError(
                f"density: {type(self).__name__} makes at most {most} {kind} edges between {edges.num_nodes} neurons, but {count} were"
                " asked for; lower the density or choose another family"
            )
        new = self.generate(edges.num_nodes, count, edges.directed, int(rng.integers(2**31))) if count else np.empty((0, 2), dtype=np.int64)
        new = rng.permutation(edges.num_nodes)[rng.permutation(new)[:count]]
        copies, rest = divmod(count, len(edges))
        weight = np.concatenate([np.tile(edges.weight, copies), rng.choice(edges.weight, rest, replace=False)])
        return EdgeSet(edges.kind, edges.num_nodes, new[:, 0], new[:, 1], rng.permutation(weight))


def turned_at_random(edges: np.ndarray, seed: int) -> np.ndarray:
    """Undirected edges ``(M, 2)``, each with its ends in random order."""
    flip = np.random.default_rng(seed).random(len(edges)) < 0.5
    return np.where(flip[:, None], edges[:, ::-1], edges)
