"""Park & Kim's directed acyclic graph, which keeps the connectome's flow from sensory neurons to motor neurons."""

import numpy as np
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from elegans_pyg.transforms.levels import distance_from, mark_dag
from elegans_pyg.transforms.rewiring import edge_arrays, merge, with_edges
from elegans_pyg.wirings import SENSORY, as_wiring, roles


class ConstrainedDAG(BaseTransform):
    r"""The strongest edges of a connectome that form a DAG with the sensory neurons, all and only they, as input.

    From Park & Kim (2023), "*Caenorhabditis elegans* Connectomes of both Sexes as Image Classifiers", Exp. Neurobiol. 32(2), 102-109,
    doi:10.5607/en23004. With :math:`d(n)` the length of the shortest path from any sensory neuron to :math:`n` (:math:`\infty` if there is
    none), edges :math:`s \to t` are added to an empty graph in decreasing order of weight if

    .. math::
        \neg\,(d(s) = d(t) = 0), \qquad d(s) \le d(t), \qquad s \to t \text{ closes no cycle.}

    What the paper leaves open is settled so:

    - Edges of equal weight go in the order of source, then target, as the neurons are numbered in ``data``. The packaged hermaphrodite then
      keeps 2,263 of its 3,567 edges (the paper: 2,260), and the males 2,506 and, uncorrected, 2,498 (2,494); numbering the hermaphrodite's
      neurons at random, 60 times, gave 2,249 to 2,268.
    - Chemical and electrical edges from one neuron to another become one edge, because a network has one weight a pair: their weights are
      added before sorting, and the edge is electrical only if all of it is.
    - Self-loops are cycles, and go.
    - Neurons that no sensory neuron reaches share the distance :math:`\infty`: they stay, as do edges among them that close no cycle, but
      their level is -1.

    Takes ``edge_index (2, E)``, ``edge_weight (E,)`` > 0, ``edge_type (E,)`` and ``neuron_type (N,)``. Adds to a copy of the ``Data``
    ``sensory_distance`` (:math:`d`, -1 for :math:`\infty`) and ``level`` (the longest path from an input node, -1 for nodes that no input
    reaches), ``(N,)`` int64, and ``input_mask`` (sensory neurons) and ``output_mask`` (reached nodes without outgoing edge; an input node
    without one is both), ``(N,)`` bool. Edges are sorted by source and target; all node attributes are kept.

    Raises:
        TypeError: if ``data`` is not a single ``Data``.
        ValueError: if it is empty, has neither a sensory neuron nor a source, or an attribute that :func:`as_wiring` refuses.
    """

    def forward(self, data: Data) -> Data:
        data = as_wiring(data)
        sensory = data.neuron_type == SENSORY
        if not bool(sensory.any()):
            sensory = roles(data.edge_index, sensory.numel()) == SENSORY
        if not bool(sensory.any()):
            raise ValueError(
                "data: expected a sensory neuron (type 0) or an edge between two neurons, got neither; give the neurons' types, or use"
                " RandomDAG, which needs none"
            )
        distance = distance_from(data.edge_index, sensory)
        source, target, weight, kind = merge(*edge_arrays(data), len(sensory))
        kept = _kept_edges(source, target, weight, distance.cpu().numpy())
        with_edges(data, source[kept], target[kept], weight[kept], kind[kept])
        data.sensory_distance = distance
        return mark_dag(data, sensory)


def _kept_edges(source: np.ndarray, target: np.ndarray, weight: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Mask of the edges that the four steps keep."""
    far = np.where(distance < 0, len(distance), distance)
    # No edge leads back to a smaller distance, so a cycle can never leave the distance it is at: edges to a larger one are always kept, and
    # each distance is searched for cycles on its own.
    kept = far[source] < far[target]
    level_edges = np.flatnonzero((far[source] == far[target]) & (source != target) & (far[source] > 0))
    level_edges = level_edges[np.argsort(-weight[level_edges], kind="stable")]
    for here in np.unique(far[source[level_edges]]):
        place = np.cumsum(far == here) - 1
        edges = level_edges[far[source[level_edges]] == here]
        # reach[n] is a set of bits, one for each node that n leads to, itself among them.
        reach = [1 << n for n in range(place[-1] + 1)]
        for edge, s, t in zip(edges.tolist(), place[source[edges]].tolist(), place[target[edges]].tolist(), strict=True):
            if reach[t] >> s & 1:
                continue
            kept[edge] = True
            if not reach[s] >> t & 1:
                gained = reach[t]
                reach = [r | gained if r >> s & 1 else r for r in reach]
    return kept
