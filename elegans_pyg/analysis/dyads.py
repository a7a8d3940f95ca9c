"""Dyads: how often neurons of one type lead to those of another, compared with chance, along paths of one edge or more."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice, product
from math import perm, sqrt
from typing import Any

import numpy as np
import pandas as pd
from torch_geometric.data import Data

from elegans_pyg.analysis.simple_graph import Bools, Floats, Ints, SimpleGraph, divergence, measured, pairs_by_distance
from elegans_pyg.wirings import NEURON_TYPES

_PARK = "Park & Barabási 2007, doi:10.1073/pnas.0705081104"
_LENGTHS = (1, 2, 3)
TYPES = ("sensory", "inter", "motor")
"""The types with columns of their own in :func:`~elegans_pyg.analysis.measures`: every connectome has them."""


def dyads(data: Data, lengths: Sequence[int] = _LENGTHS, synapses: str = "all") -> pd.DataFrame:
    r"""Dyadicity and heterophilicity of every ordered pair of neuron types, along directed shortest paths.

    From Park & Barabási (2007), "Distribution of node characteristics in complex networks", PNAS 104, 17916-17920,
    doi:10.1073/pnas.0705081104, for directed graphs and several types. Of the :math:`M_k` ordered pairs of neurons whose shortest directed
    path has :math:`k` edges (:math:`k = 1`: the edges themselves), :math:`m_{ab}` lead from type :math:`a` to type :math:`b`. If the types
    were assigned to the :math:`N` neurons at random, :math:`n_a` of each, exactly

    .. math::
        E[m_{ab}] = M_k \frac{n_a n_b}{N (N-1)} \;(a \ne b), \qquad E[m_{aa}] = M_k \frac{n_a (n_a - 1)}{N (N-1)},
        \qquad D_a = \frac{m_{aa}}{E[m_{aa}]}, \quad H_{ab} = \frac{m_{ab}}{E[m_{ab}]}.

    Above 1 the pair is dyadic (or heterophilic), below 1 anti-dyadic (heterophobic). The standard deviation is that of the same random
    assignment, and exact too: :math:`E[m_{ab}^2]` sums over the ways in which two pairs can share neurons. Both directions of an electrical
    synapse count, as in the directed graph; expectation and deviation allow for that.

    Args:
        data: the wiring. Synapses of several kinds between two neurons count once, self-loops not at all.
        lengths: lengths :math:`k` in edges, integers of 1 or more; others raise a ``ValueError``.

    Returns:
        one row per length and ordered pair of types in the wiring: ``length``, ``source``, ``target``, ``observed``, ``expected``,
        ``ratio``, ``sd``, ``z``. The ratio is 1 if 0 is expected (a type of one neuron, or no such path: 0 is observed then), and z is
        0 if every assignment gives the same count.
    """
    for length in lengths:
        if isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 1:
            raise ValueError(f"lengths: expected integers of 1 or more, got {length!r}; leave it out for 1, 2 and 3")
    graph = SimpleGraph.from_data(data, synapses)
    present = np.flatnonzero(graph.type_counts)
    found = dict(enumerate(islice(pairs_by_distance(graph.adjacency), max(lengths, default=0)), 1))
    rows = []
    for length in lengths:
        pairs = found.get(length, _no_pairs(graph))
        observed = _count(pairs, graph)
        for a, b in product(present, repeat=2):
            mean, variance = _moments(pairs, graph.type_counts, int(a), int(b))
            count, sd = int(observed[a, b]), sqrt(variance)
            ratio, z = float(count / mean) if mean else 1.0, float(count - mean) / sd if sd else 0.0
            rows.append((int(length), NEURON_TYPES[a], NEURON_TYPES[b], count, float(mean), ratio, sd, z))
    return pd.DataFrame(rows, columns=["length", "source", "target", "observed", "expected", "ratio", "sd", "z"])


def _no_pairs(graph: SimpleGraph) -> Bools:
    return np.zeros((graph.num_nodes, graph.num_nodes), dtype=bool)


def _count(pairs: Bools, graph: SimpleGraph) -> Ints:
    """Pairs ``(N, N)`` counted by the types of source and target ``(T, T)``."""
    of_type = np.eye(len(NEURON_TYPES), dtype=np.int64)[graph.neuron_type]
    return of_type.T @ pairs @ of_type


def expected_counts(total: float, type_counts: Ints) -> Floats:
    """Expected counts ``(T, T)`` of ``total`` pairs by types, if the types were assigned at random."""
    number = type_counts.sum()
    ways = np.outer(type_counts, type_counts) - np.diag(type_counts)
    return total * ways / max(number * (number - 1), 1)


def _moments(pairs: Bools, type_counts: Ints, a: int, b: int) -> tuple[Fraction, Fraction]:
    """Exact mean and variance of the number of pairs from ``a`` to ``b`` if the types were assigned at random."""
    number, first, second = int(type_counts.sum()), int(type_counts[a]), int(type_counts[b])
    out, into = pairs.sum(axis=1).tolist(), pairs.sum(axis=0).tolist()
    total, mutual = sum(out), int((pairs & pairs.T).sum())
    # Two pairs can be equal, be each other's reverse, share their source or their target, or one's target is the other's source.
    same_source = sum(d * (d - 1) for d in out)
    same_target = sum(d * (d - 1) for d in into)
    chained = 2 * (sum(d * e for d, e in zip(out, into, strict=True)) - mutual)
    apart = total**2 - total - mutual - same_source - same_target - chained
    if a == b:
        two, three, four = (perm(first, count) for count in (2, 3, 4))
        ways = [(total + mutual, 2, two), (same_source + same_target + chained, 3, three), (apart, 4, four)]
    else:
        two = first * second
        three = same_source * first * second * (second - 1) + same_target * first * (first - 1) * second
        ways = [(total, 2, two), (1, 3, three), (apart, 4, perm(first, 2) * perm(second, 2))]
    # A way that takes more neurons than there are does not occur.
    square = sum((Fraction(count * fitting, perm(number, nodes)) for count, nodes, fitting in ways if number >= nodes), Fraction(0))
    mean = Fraction(total * two, perm(number, 2)) if number > 1 else Fraction(0)
    return mean, square - mean**2


def dyad_columns(length: int) -> list[str]:
    """Names of the measures of type pairs along shortest paths of that length."""
    pairs = product(TYPES, repeat=2)
    return [(f"dyadicity_{a}" if a == b else f"heterophilicity_{a}_{b}") + _suffix(length) for a, b in pairs]


def _suffix(length: int) -> str:
    return "" if length == 1 else f"_path{length}"


def _describe() -> Iterator[tuple[str, ...]]:
    for length in _LENGTHS:
        along = "edges" if length == 1 else f"pairs at directed distance {length}"
        for name, (a, b) in zip(dyad_columns(length), product(TYPES, repeat=2), strict=True):
            text = f"number of {along} from {a} to {b} neurons over the number if types were assigned at random; 1 if none are expected"
            yield name, text, "", _PARK
        text = f"divergence of the {along}, by all types of both ends, from a random assignment of types; 0 if there are none"
        yield "dyadic_information" + _suffix(length), text, "bits", _PARK


@measured("dyads", *_describe())
def dyad_measures(graph: SimpleGraph, *_: Any) -> tuple[float, ...]:
    values: list[float] = []
    chosen = [NEURON_TYPES.index(name) for name in TYPES]
    steps = pairs_by_distance(graph.adjacency)
    for _length in _LENGTHS:
        observed = _count(next(steps, _no_pairs(graph)), graph)
        expected = expected_counts(observed.sum(), graph.type_counts)
        ratio = np.divide(observed, expected, out=np.ones_like(expected), where=expected > 0)
        values += [*ratio[np.ix_(chosen, chosen)].ravel().tolist(), divergence(observed, expected)]
    return tuple(values)
