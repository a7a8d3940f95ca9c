"""The simple directed graph that measures are computed on, and the description of a measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import entr, rel_entr
from torch_geometric.data import Data

from elegans_pyg.wirings import NEURON_TYPES, as_wiring
from elegans_pyg.wirings import SYNAPSES as KINDS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SYNAPSES: dict[str, tuple[int, ...]] = {"all": tuple(range(len(KINDS))), **{name: (kind,) for kind, name in enumerate(KINDS)}}


@dataclass(frozen=True)
class Measure:
    """Description of a column of :func:`~elegans_pyg.analysis.measures`.

    Attributes:
        description: one line, with the value for graphs for which the measure is undefined.
        group: measures computed together; ``which`` takes the names of groups too.
        direction: ``"directed"``, ``"undirected"`` (of the support: neurons joined in either direction) or ``"dag"``.
        unit, source: of the value, empty for a ratio or share; paper and DOI, empty for a plain count.
        needs: attribute of ``Data`` that the measure requires; empty if every wiring has what it takes.
    """

    description: str
    group: str
    direction: str = "directed"
    unit: str = ""
    source: str = ""
    needs: str = ""


@dataclass(frozen=True)
class MeasureGroup:
    """Measures computed together, made by :func:`measured`; calling it with a graph gives the value of each column by name."""

    name: str
    columns: dict[str, Measure]
    compute: Callable[..., tuple[float, ...]]

    def __call__(self, graph: SimpleGraph, data: Data | None = None, seed: int = 0) -> dict[str, float]:
        return dict(zip(self.columns, self.compute(graph, data, seed), strict=True))


def measured(
    group: str, *entries: tuple[str, ...], direction: str = "directed", needs: str = ""
) -> Callable[[Callable[..., tuple[float, ...]]], MeasureGroup]:
    """Decorator that makes a group of a function of a graph, its ``Data`` and a seed, which returns a value for each entry. An entry is a
    name and a description, and optionally a unit, a source and a direction other than the group's."""
    filled = ((*entry, *("", "", direction)[len(entry) - 2 :]) for entry in entries)
    columns = {name: Measure(description, group, way, unit, source, needs) for name, description, unit, source, way in filled}
    return lambda compute: MeasureGroup(group, columns, compute)


@dataclass(frozen=True)
class SimpleGraph:
    """The simple directed graph of a wiring: at most one edge from a neuron to another, and no self-loops.

    Attributes:
        num_nodes, neuron_type: number ``N`` of neurons, isolated ones included, and their types ``(N,)``, positions in ``NEURON_TYPES``.
        source, target: of the edges, ``(M,)``, sorted by source, then target.
        weight: ``(M,)``, summed over the synapses of an edge.
        self_loops: number of neurons with an edge to themselves, which the edges leave out.
    """

    num_nodes: int
    source: Ints
    target: Ints
    weight: Floats
    neuron_type: Ints
    self_loops: int

    @classmethod
    def from_data(cls, data: Data, synapses: str = "all") -> SimpleGraph:
        """Merge the synapses of ``data`` that are of one kind, or of all kinds (``"all"``). Raises as ``as_wiring``, and ``ValueError`` for
        an unknown kind."""
        data = as_wiring(data)
        if synapses not in SYNAPSES:
            raise ValueError(f"synapses: expected one of {', '.join(SYNAPSES)}, got {synapses!r}; choose one of them")
        neuron_type = data.neuron_type.cpu().numpy()
        num_nodes = len(neuron_type)
        chosen = np.isin(data.edge_type.cpu().numpy(), SYNAPSES[synapses])
        source, target = data.edge_index.cpu().numpy()[:, chosen]
        weight = data.edge_weight.detach().cpu().numpy()[chosen].astype(np.float64)
        loop = source == target
        key, place = np.unique(source[~loop] * num_nodes + target[~loop], return_inverse=True)
        weight = np.bincount(place, weight[~loop], minlength=len(key)).astype(np.float64)
        return cls(num_nodes, key // num_nodes, key % num_nodes, weight, neuron_type, len(np.unique(source[loop])))

    @property
    def num_edges(self) -> int:
        return len(self.source)

    @cached_property
    def out_degree(self) -> Ints:
        return np.bincount(self.source, minlength=self.num_nodes)

    @cached_property
    def in_degree(self) -> Ints:
        return np.bincount(self.target, minlength=self.num_nodes)

    @cached_property
    def type_counts(self) -> Ints:
        return np.bincount(self.neuron_type, minlength=len(NEURON_TYPES))

    @cached_property
    def is_mutual(self) -> Bools:
        """Which edges have a reverse edge; ``(M,)``."""
        return np.isin(self.target * self.num_nodes + self.source, self.source * self.num_nodes + self.target)

    def matrix(self, weighted: bool) -> sparse.csr_array:
        """``(N, N)`` with the weights, or with 1, from row to column."""
        weight = self.weight if weighted else np.ones(self.num_edges)
        return sparse.csr_array((weight, (self.source, self.target)), shape=(self.num_nodes, self.num_nodes))

    @cached_property
    def adjacency(self) -> sparse.csr_array:
        """``(N, N)``, 1 from row to column."""
        return self.matrix(weighted=False)

    @cached_property
    def support(self) -> sparse.csr_array:
        """``(N, N)``, 1 where two neurons are joined in either direction; columns in order."""
        joined = sparse.csr_array(self.adjacency + self.adjacency.T)
        joined.data[:] = 1
        joined.sort_indices()
        return joined


def pairs_by_distance(adjacency: sparse.csr_array) -> Iterator[Bools]:
    """The ordered pairs of nodes at directed distance 1, 2, ..., until there are none: masks ``(N, N)``, source by target."""
    front = seen = np.eye(adjacency.shape[0], dtype=bool)
    while (front := (adjacency @ front > 0) & ~seen).any():
        seen = seen | front
        yield front


def share(part: float, whole: float, otherwise: float = 0.0) -> float:
    """``part / whole``, or ``otherwise`` if ``whole`` is 0."""
    return float(part / whole) if whole else otherwise


def entropy(counts: npt.ArrayLike) -> float:
    """Shannon entropy, in bits, of counts that need not add up to 1; 0 for no counts."""
    values = np.asarray(counts, dtype=np.float64)
    return float(entr(values / values.sum()).sum() / np.log(2)) if values.any() else 0.0


def divergence(observed: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """Kullback-Leibler divergence, in bits, of observed from expected counts (above 0 wherever something was observed); 0 for no counts."""
    p, q = np.asarray(observed, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    # Rounding can make it negative for equal counts.
    return max(0.0, float(rel_entr(p / p.sum(), q / q.sum()).sum() / np.log(2))) if p.any() else 0.0
