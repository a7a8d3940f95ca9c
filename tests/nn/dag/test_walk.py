"""Slots of the fused walk: whatever a node reads is still there, and there are no more of them than are needed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from torch import Tensor
from torch_geometric.data import Batch

from elegans_pyg.datasets import Connectome
from elegans_pyg.nn.dag.fused.walk import Walk
from elegans_pyg.nn.dag.schedule import Schedule
from elegans_pyg.nn.workspace import Workspace
from elegans_pyg.transforms import ConstrainedDAG
from tests.dags import ensembles, random_dag


def reads(batch: Batch) -> list[dict[int, set[int]]]:
    """The sources of every node that an input reaches, by variant, from the graphs alone."""
    found = []
    for graph, first in zip(batch.to_data_list(), batch.ptr.tolist(), strict=False):
        sources = {first + node: set[int]() for node, level in enumerate(graph.level.tolist()) if level >= 0}
        for source, target in graph.edge_index.T.tolist():
            if first + source in sources:
                sources[first + target].add(first + source)
        found.append(sources)
    return found


def most_held(order: list[int], needs: dict[int, set[int]], slot: dict[int, int]) -> int:
    """Visit the nodes in turn: each finds what it needs in its slots, then writes to its own. Returns the most that are held at a time."""
    room: dict[int, int] = {}
    most = 0
    for place, node in enumerate(order):
        assert all(room[slot[other]] == other for other in needs[node]), f"node {node} reads a slot that has been written again"
        room[slot[node]] = node
        needed_later = {other for later in order[place + 1 :] for other in needs[later]}
        most = max(most, len(needed_later.intersection(order[:place]) | {node}))
    return most


def check(batch: Batch) -> None:
    walk = Walk.from_schedule(Schedule.from_batch(batch), Workspace(), torch.device("cpu"))
    nodes, variants = walk.nodes.tolist(), reads(batch)
    assert sorted(nodes) == sorted(node for sources in variants for node in sources)
    most = 0
    for sources, low, high in zip(variants, walk.graph.node_ptr.tolist(), walk.graph.node_ptr.tolist()[1:], strict=False):
        order = nodes[low:high]
        readers: dict[int, set[int]] = {node: {other for other in sources if node in sources[other]} for node in sources}

        def by_node(slot: Tensor) -> dict[int, int]:
            return dict(zip(nodes, slot.tolist(), strict=True))

        most = max(most, most_held(order, sources, by_node(walk.graph.slot)))
        most = max(most, most_held(order[::-1], readers, by_node(walk.graph.flow_slot)))
    assert walk.slots == most


@given(batch=ensembles(max_variants=4, max_nodes=12))
@example(batch=Batch.from_data_list([random_dag(5, 1, 0.0)]))
@example(batch=Batch.from_data_list([random_dag(6, 4, 0.0), random_dag(7, 12, 0.9)]))
@settings(max_examples=60, deadline=None)
def test_nothing_is_overwritten_while_it_is_needed(batch: Batch) -> None:
    check(batch)


@pytest.mark.parametrize("name", ["cook2019-hermaphrodite", "cook2019-male"])
def test_the_same_on_real_dags(name: str) -> None:
    check(Batch.from_data_list([ConstrainedDAG()(Connectome(name)[0])]))
