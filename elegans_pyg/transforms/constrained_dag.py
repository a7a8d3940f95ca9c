"""Park & Kim's directed acyclic graph, which keeps the connectome's flow from sensory neurons to motor neurons."""

import numpy as np
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from elegans_pyg._loops import loop
from elegans_pyg.transforms.levels import distance_from, mark_dag
from elegans_pyg.transforms.rewiring import edge_arrays, merge, with_edges
from elegans_pyg.wirings import SENSORY, as_wiring, roles


class ConstrainedDAG(BaseTransform):
    r"""Make a DAG of the strongest edges of a connectome, with all sensory neurons, and only them, as input.

    From Park & Kim (2023), "*Caenorhabditis elegans* Connectomes of both Sexes as Image Classifiers", Exp. Neurobiol. 32(2), 102-109,
    doi:10.5607/en23004. With :math:`d(n)` the length of the shortest path from any sensory neuron to :math:`n` (:math:`\infty` if there is
    none), edges :math:`s \to t` are added to an empty graph in decreasing order of weight if

    .. math::
        \neg\,(d(s) = d(t) = 0), \qquad d(s) \le d(t), \qquad s \to t \text{ closes no cycle.}

    Choices that the paper leaves open:

    - Edges of equal weight are added in the order of source, then target, as the neurons are numbered in ``data``. The packaged
      hermaphrodite then keeps 2,263 of its 3,567 edges (the paper: 2,260), and the males 2,506 and, uncorrected, 2,498 (2,494); 60 random
      numberings of the hermaphrodite's neurons gave 2,249 to 2,268.
    - Chemical and electrical edges from one neuron to another become one edge, because a network has one weight per pair: their weights are
      added before sorting, and the edge is electrical only if all of them are.
    - Self-loops are cycles, and are removed.
    - Neurons that no sensory neuron reaches have the distance :math:`\infty`. They are kept, as are edges among them that close no cycle,
      and their level is -1.

    Takes ``edge_index (2, E)``, ``edge_weight (E,)`` > 0, ``edge_type (E,)`` and ``neuron_type (N,)``. Adds to a copy of the ``Data``
    ``sensory_distance`` (:math:`d`, -1 for :math:`\infty`) and ``level`` (the longest path from an input node, -1 for nodes that no input
    reaches), ``(N,)`` int64, and ``input_mask`` (sensory neurons, or sources if there are none) and ``output_mask`` (reached nodes
    without outgoing edges, or those of an ``output_mask`` that a wiring has; an input node can be both), ``(N,)`` bool. Edges are sorted by
    source and target; all node attributes are kept.

    Raises:
        TypeError: if ``data`` is not a single ``Data``.
        ValueError: if it is empty, has neither a sensory neuron nor a source, or :func:`~elegans_pyg.wirings.as_wiring` refuses it.
    """

    def forward(self, data: Data) -> Data:
        return self.on_wiring(as_wiring(data))

    def on_wiring(self, data: Data) -> Data:
        """Transform in place what :func:`~elegans_pyg.wirings.as_wiring` returned, without checking it again."""
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
    """Mask of the edges that the DAG keeps."""
    far = np.where(distance < 0, len(distance), distance)
    # No kept edge leads to a smaller distance, so every cycle lies within one distance, and edges to a larger one are all kept.
    kept = far[source] < far[target]
    level_edges = np.flatnonzero((far[source] == far[target]) & (far[source] > 0))
    level_edges = level_edges[np.argsort(-weight[level_edges], kind="stable")]
    accepted = np.zeros(len(level_edges), dtype=bool)
    _accept(source[level_edges], target[level_edges], np.argsort(far, kind="stable"), accepted)
    kept[level_edges] = accepted
    return kept


@loop
def _accept(source, target, order, accepted):  # type: ignore[no-untyped-def]
    """Mark the edges that, added one by one, close no cycle with those accepted before.

    ``order`` holds all nodes, in a topological order of the accepted edges. An edge that runs against it is accepted if no path leads from
    its target back to its source, and then the nodes that the target leads to move behind the source (Marchetti-Spaccamela, Nanni &
    Rohnert, 1996, "Maintaining a topological order under edge insertions", Inf. Process. Lett. 59, 53-58).
    """
    rank = [0] * len(order)
    for place in range(len(order)):
        rank[order[place]] = place
    # The last accepted edge of each node, the edge accepted before each edge of that node, and the last search that found each node.
    last, before, found_by, stack = [-1] * len(order), [-1] * len(source), [-1] * len(order), [0] * len(order)
    for edge in range(len(source)):
        s, t = source[edge], target[edge]
        low, high = rank[t], rank[s]
        if low <= high:
            stack[0], depth, found_by[t] = t, 1, edge
            while depth > 0 and found_by[s] != edge:
                depth -= 1
                other = last[stack[depth]]
                while other >= 0:
                    node = target[other]
                    if found_by[node] != edge and rank[node] <= high:
                        stack[depth], found_by[node] = node, edge
                        depth += 1
                    other = before[other]
            if found_by[s] == edge:
                continue
            free, count = low, 0
            for place in range(low, high + 1):
                node = order[place]
                if found_by[node] == edge:
                    stack[count] = node
                    count += 1
                else:
                    order[free], rank[node] = node, free
                    free += 1
            for k in range(count):
                order[free + k], rank[stack[k]] = stack[k], free + k
        accepted[edge] = True
        before[edge], last[s] = last[s], edge
