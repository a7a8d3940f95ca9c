"""Numba kernels that count motifs; imported only where Numba is installed.

``ptr`` and ``neighbour`` are the undirected support in compressed sparse rows, each row sorted. ``code[u, v]`` has bit 0 set for an edge
from ``u`` to ``v`` and bit 1 for one from ``v`` to ``u``.
"""

import numpy as np

from elegans_pyg._compiled import compiled


@compiled()
def count_three(
    ptr: np.ndarray, neighbour: np.ndarray, code: np.ndarray, colour: np.ndarray, colours: int, group: np.ndarray, counts: np.ndarray
) -> None:
    """Add every connected triple to ``counts[smallest of its groups, its key]``, see :mod:`~elegans_pyg.analysis.motif_tables`."""
    for middle in range(len(ptr) - 1):
        first_colour = 64 * colours * colours * colour[middle]
        code_middle = code[middle]
        for i in range(ptr[middle], ptr[middle + 1]):
            u = neighbour[i]
            key_u = first_colour + 64 * colours * colour[u] + code_middle[u]
            group_u = min(group[middle], group[u])
            code_u = code[u]
            for j in range(i + 1, ptr[middle + 1]):
                v = neighbour[j]
                between = code_u[v]
                # An open triple has one middle node. In a closed one every node is a middle, and it is counted at the smallest only.
                if between == 0 or middle < u:
                    key = key_u + 64 * colour[v] + 4 * code_middle[v] + 16 * between
                    counts[min(group_u, group[v]), key] += 1


@compiled()
def count_four(ptr: np.ndarray, neighbour: np.ndarray, code: np.ndarray, colour: np.ndarray, colours: int, counts: np.ndarray) -> None:
    """Add every connected set of four nodes to ``counts[its key]``.

    Each set is found once, from its smallest node, by the ESU algorithm of Wernicke (2006), doi:10.1109/TCBB.2006.51: sets grow by
    neighbours of their nodes, and only nodes that are not neighbours of earlier ones become new candidates.
    """
    nodes = len(ptr) - 1
    # How many of the chosen nodes are this node or a neighbour of it.
    known = np.zeros(nodes, dtype=np.int64)
    candidates = np.empty(3 * nodes, dtype=np.int64)
    for v in range(nodes):
        known[v] += 1
        end1 = 0
        for i in range(ptr[v], ptr[v + 1]):
            known[neighbour[i]] += 1
            if neighbour[i] > v:
                candidates[end1] = neighbour[i]
                end1 += 1
        for first in range(end1):
            u = candidates[first]
            end2 = end1
            for i in range(ptr[u], ptr[u + 1]):
                x = neighbour[i]
                if x > v and known[x] == 0:
                    candidates[end2] = x
                    end2 += 1
            for i in range(ptr[u], ptr[u + 1]):
                known[neighbour[i]] += 1
            known[u] += 1
            for second in range(first + 1, end2):
                w = candidates[second]
                end3 = end2
                for i in range(ptr[w], ptr[w + 1]):
                    x = neighbour[i]
                    if x > v and known[x] == 0:
                        candidates[end3] = x
                        end3 += 1
                key_vuw = code[v, u] + 4 * code[v, w] + 16 * code[u, w]
                colour_vuw = (colour[v] * colours + colour[u]) * colours + colour[w]
                for third in range(second + 1, end3):
                    x = candidates[third]
                    key = key_vuw + 64 * code[v, x] + 256 * code[u, x] + 1024 * code[w, x]
                    counts[4096 * (colour_vuw * colours + colour[x]) + key] += 1
            for i in range(ptr[u], ptr[u + 1]):
                known[neighbour[i]] -= 1
            known[u] -= 1
        for i in range(ptr[v], ptr[v + 1]):
            known[neighbour[i]] -= 1
        known[v] -= 1
