"""The coloured census as one writes it with NetworkX: a loop over neurons, their neighbours, and the neighbours of both."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import networkx as nx


def coloured_census(graph: nx.DiGraph, attribute: str = "type") -> Counter[tuple[int, ...]]:
    """Connected triples by class, after the loop of ``networkx.triadic_census`` (Batagelj & Mrvar 2001), which visits each triple once.

    A class is the smallest, over the orders of the three nodes, of their colours and of who joins whom. It is looked up for triples that
    look the same in the order in which they were met, so that the loop does no more than it must.
    """
    colour = dict(graph.nodes(attribute))
    around = {node: set(graph.pred[node]) | set(graph.succ[node]) for node in graph}
    place = {node: number for number, node in enumerate(graph)}
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    counts: Counter[tuple[int, ...]] = Counter()
    for v in graph:
        for u in around[v]:
            if place[u] <= place[v]:
                continue
            for w in (around[v] | around[u]) - {u, v}:
                if place[u] < place[w] or (place[v] < place[w] < place[u] and v not in around[w]):
                    triple = (v, u, w)
                    look = tuple(colour[n] for n in triple) + tuple(int(graph.has_edge(m, n)) for m in triple for n in triple if m != n)
                    if look not in known:
                        known[look] = smallest(look)
                    counts[known[look]] += 1
    return counts


def smallest(look: tuple[int, ...]) -> tuple[int, ...]:
    pairs = list(permutations(range(3), 2))
    joined = dict(zip(pairs, look[3:], strict=True))
    return min(tuple(look[i] for i in order) + tuple(joined[order[i], order[j]] for i, j in pairs) for order in permutations(range(3)))
