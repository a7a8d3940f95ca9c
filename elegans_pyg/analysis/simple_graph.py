"""The simple directed graph that measures are taken of, and what a measure says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import entr, rel_entr
from torch_geometric.data import Data

from elegans_pyg.wirings import CHEMICAL, ELECTRICAL, NEURON_TYPES, check_wiring

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

Words = npt.NDArray[np.uint64]

# For numpy before version 2, a word and a Python integer make a float.
_ONE, _TWO, _FOUR, _TOP_BYTE = (np.uint64(shift) for shift in (1, 2, 4, 56))
_TWOS, _FOURS, _BYTES, _ADD_BYTES = (np.uint64(int(byte * 8, 16)) for byte in ("55", "33", "0f", "01"))

SYNAPSES: dict[str, tuple[int, ...]] = {"all": (CHEMICAL, ELECTRICAL), "chemical": (CHEMICAL,), "electrical": (ELECTRICAL,)}


@dataclass(frozen=True)
class Measure:
    """What a column of :func:`~elegans_pyg.analysis.measures` is.

    Attributes:
        description: one line, with the value where the measure would be undefined.
        group: measures computed together; ``which`` takes the names of groups too.
        direction: ``"directed"``, ``"undirected"`` (of the support: neurons joined in either direction) or ``"dag"``.
        unit: of the value; empty for a ratio or share.
        source: paper and DOI; empty for a plain count.
        needs: attribute of ``Data`` without which there is no such measure; empty if every wiring has what it takes.
    """

    description: str
    group: str
    direction: str = "directed"
    unit: str = ""
    source: str = ""
    needs: str = ""


def describe(group: str, *entries: tuple[str, ...], direction: str = "directed", needs: str = "") -> dict[str, Measure]:
    """The measures of one group, each given as name, description, and where there are any, unit and source."""
    filled = ((*entry, "", "")[:4] for entry in entries)
    return {name: Measure(description, group, direction, unit, source, needs) for name, description, unit, source in filled}


@dataclass(frozen=True)
class SimpleGraph:
    """Who synapses onto whom: at most one edge from a neuron to another, and none to itself.

    Attributes:
        num_nodes: neurons ``N``, isolated ones included.
        source: ``(M,)``, with ``target`` in the order of (source, target).
        target: ``(M,)``
        weight: ``(M,)``, summed over the synapses that an edge stands for.
        neuron_type: ``(N,)``, position in ``NEURON_TYPES``.
        self_loops: neurons with an edge to themselves, which the edges leave out.
    """

    num_nodes: int
    source: Ints
    target: Ints
    weight: Floats
    neuron_type: Ints
    self_loops: int

    @classmethod
    def from_data(cls, data: Data, synapses: str = "all") -> SimpleGraph:
        """Merge the synapses of ``data`` that are of one kind, or of both (``"all"``).

        Raises:
            TypeError: if ``data`` is no single ``Data``.
            ValueError: if ``data`` is no wiring, holds no neuron or an unknown type of neuron, or ``synapses`` is unknown.
        """
        check_wiring(data)
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
        """Which edges have one the other way round; ``(M,)``."""
        return np.isin(self.target * self.num_nodes + self.source, self.source * self.num_nodes + self.target)

    @cached_property
    def adjacency(self) -> sparse.csr_array:
        """``(N, N)``, 1 from row to column."""
        ptr = np.concatenate([[0], np.cumsum(self.out_degree)])
        return sparse.csr_array((np.ones(self.num_edges), self.target, ptr), shape=(self.num_nodes, self.num_nodes))

    def matrix(self, weighted: bool) -> sparse.csr_array:
        """``(N, N)`` with the weights, or with 1, from row to column."""
        if not weighted:
            return self.adjacency
        return sparse.csr_array((self.weight, self.adjacency.indices, self.adjacency.indptr), shape=self.adjacency.shape)

    @cached_property
    def support(self) -> sparse.csr_array:
        """``(N, N)``, 1 where two neurons are joined in either direction; columns in order."""
        number = self.num_nodes
        key = np.sort(np.concatenate([self.source * number + self.target, self.target * number + self.source]))
        key = key[np.diff(key, prepend=-1) > 0]
        ptr = np.searchsorted(key, np.arange(number + 1) * number)
        return sparse.csr_array((np.ones(len(key)), key % number, ptr), shape=(number, number))

    def pairs_by_distance(self) -> Iterator[Words]:
        """The ordered pairs of neurons whose shortest directed path has 1, 2, ... edges, as long as there are any.

        Yields:
            words ``(N, ceil(N / 64))``: bit ``s`` of row ``t`` is set if ``t`` is at that distance from ``s``. :func:`unpack` reads them.
            All sources walk at once, 64 to a word.
        """
        by_target = np.lexsort((self.source, self.target))
        sources = self.source[by_target]
        reached, first = np.unique(self.target[by_target], return_index=True)
        words = pack(np.eye(self.num_nodes, dtype=bool))
        seen, front = words.copy(), words
        while len(reached):
            arrived = np.zeros_like(seen)
            arrived[reached] = np.bitwise_or.reduceat(front[sources], first, axis=0)
            front = arrived & ~seen
            if not front.any():
                return
            seen |= front
            yield front

    def unpack(self, words: Words) -> Bools:
        """What :meth:`pairs_by_distance` yields as ``(N, N)``, target by source."""
        return np.unpackbits(words.view(np.uint8), axis=1, count=self.num_nodes, bitorder="little").view(bool)


def pack(rows: Bools) -> Words:
    """Rows of ``n`` truth values as rows of ``ceil(n / 64)`` words; the first value is the lowest bit of the first word."""
    padded = np.zeros((len(rows), 64 * -(-rows.shape[1] // 64)), dtype=bool)
    padded[:, : rows.shape[1]] = rows
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def count_ones(words: Words) -> Ints:
    """Bits set in each row of words, by adding neighbours up: pairs of bits, then fours, then bytes."""
    # NumPy counts them itself only from version 2 on. A product by matrix would start BLAS's own threads beside ours.
    sums = words - (words >> _ONE & _TWOS)
    sums = (sums & _FOURS) + (sums >> _TWO & _FOURS)
    sums = (sums + (sums >> _FOUR)) & _BYTES
    return (sums * _ADD_BYTES >> _TOP_BYTE).sum(axis=1, dtype=np.int64)


def share(part: float, whole: float, otherwise: float = 0.0) -> float:
    """``part / whole``, and ``otherwise`` where there is no whole."""
    return float(part / whole) if whole else otherwise


def entropy(counts: npt.ArrayLike) -> float:
    """Shannon entropy, in bits, of counts that need not add up to 1; 0 for no counts."""
    values = np.asarray(counts, dtype=np.float64)
    return float(entr(values / values.sum()).sum() / np.log(2)) if values.any() else 0.0


def divergence(observed: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """Kullback-Leibler divergence, in bits, of observed from expected counts, which are above 0 wherever something was observed; 0 for
    no counts."""
    p, q = np.asarray(observed, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    # Equal counts differ in their last bits at most, and a divergence is never below 0.
    return max(0.0, float(rel_entr(p / p.sum(), q / q.sum()).sum() / np.log(2))) if p.any() else 0.0
