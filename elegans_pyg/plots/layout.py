"""Where to draw the nodes of a DAG that is deep and thin but for a few crowded levels."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from elegans_pyg.analysis.simple_graph import Floats, Ints

LEVEL_GAP = 0.6
"""Free space either side of a crowded level, in columns: without it one could not tell its last column from the next level."""


@dataclass(frozen=True)
class LayeredLayout:
    """Where :func:`layered_layout` places nodes: ``x`` along the levels, one unit per column, and ``y`` across, 0 to 1, both ``(N,)`` and
    ``nan`` for nodes without a level; each level's columns are between ``left`` and ``right``, ``(levels,)``."""

    x: Floats
    y: Floats
    left: Floats
    right: Floats


def layered_layout(level: Ints, edge_index: Ints, group: Ints, rows: int = 24, sweeps: int = 30) -> LayeredLayout:
    """Place every node at its level along x, ordered across by barycentre sweeps, which reduce crossings ("Methods for Visual Understanding
    of Hierarchical System Structures", Sugiyama, Tagawa & Toda 1981, doi:10.1109/TSMC.1981.4308636).

    Neighbouring thin levels share one ordering until they hold ``rows`` nodes together, so that long edges between levels of one or two
    nodes do not all run along the middle. A level with more nodes than that is folded into several columns. Of all sweeps, the ordering
    with the shortest edges is kept.

    ``level (N,)`` is -1 for none, and edges ``edge_index (2, E)`` at such nodes are passed over; nodes of one ``group (N,)`` start side by
    side. Sweeps there and back again count as two.
    """
    placed = np.flatnonzero(level >= 0)
    if not len(placed):
        raise ValueError("level must hold at least one node at level 0, got none; build the DAG with ConstrainedDAG or RandomDAG")
    widths = np.bincount(level[placed])
    columns = np.maximum(1, -(-widths // rows))
    gaps = np.where(columns > 1, LEVEL_GAP, 0.0)
    left = gaps + np.concatenate([[0.0], np.cumsum(columns + 2 * gaps)[:-1]])
    right = left + columns

    blocks = _blocks(level, widths, rows)
    y = np.full(len(level), np.nan)
    for block in blocks:
        _spread(y, block[np.lexsort((block, group[block]))])
    source, target = edge_index[:, (level[edge_index] >= 0).all(axis=0)]
    best, shortest = y.copy(), _length(y, source, target)
    for sweep in range(sweeps):
        forward = sweep % 2 == 0
        near, far = (target, source) if forward else (source, target)
        degree = np.bincount(near, minlength=len(level))
        for block in blocks if forward else reversed(blocks):
            total = np.bincount(near, y[far], minlength=len(level))
            wanted = np.where(degree[block] > 0, total[block] / np.maximum(degree[block], 1), y[block])
            _spread(y, block[np.lexsort((y[block], wanted))])
        length = _length(y, source, target)
        if length < shortest:
            best, shortest = y.copy(), length

    x = np.full(len(level), np.nan)
    for depth, count in enumerate(columns):
        nodes = np.flatnonzero(level == depth)
        nodes = nodes[np.argsort(best[nodes], kind="stable")]
        x[nodes] = left[depth] + np.arange(len(nodes)) % count + 0.5
    return LayeredLayout(x, best, left, right)


def _blocks(level: Ints, widths: Ints, rows: int) -> list[Ints]:
    """Nodes of neighbouring levels that together fill one column across."""
    starts, held = [0], 0
    for depth, width in enumerate(widths):
        if held and held + width > rows:
            starts, held = [*starts, depth], 0
        held += int(width)
    return [np.flatnonzero((level >= start) & (level < end)) for start, end in pairwise([*starts, len(widths)])]


def _spread(y: Floats, ordered: Ints) -> None:
    y[ordered] = (np.arange(len(ordered)) + 0.5) / len(ordered)


def _length(y: Floats, source: Ints, target: Ints) -> float:
    return float(np.abs(y[source] - y[target]).sum())
