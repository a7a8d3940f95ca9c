from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings

from elegans_pyg.analysis import count_paths, path_betweenness, width_profile
from elegans_pyg.analysis.dag_shape import dag_measures
from elegans_pyg.datasets import Connectome
from elegans_pyg.transforms import ConstrainedDAG
from tests.analysis.graphs import digraph, simple, wiring
from tests.dags import dags


def all_paths(data) -> list[list[int]]:
    """Every path from an input to an output node, written out."""
    graph = digraph(data)
    inputs, outputs = data.input_mask.nonzero().view(-1).tolist(), set(data.output_mask.nonzero().view(-1).tolist())
    found = []

    def walk(path: list[int]) -> None:
        if path[-1] in outputs:
            found.append(path)
        for n in graph.successors(path[-1]):
            walk([*path, n])

    for node in inputs:
        walk([node])
    return found


@settings(max_examples=30, deadline=None)
@given(dags())
def test_measures_are_those_of_the_paths_written_out(data):
    paths = all_paths(data)
    shares = [sum(node in path for path in paths) / len(paths) for node in range(data.level.numel())]
    assert path_betweenness(data) == pytest.approx(shares)
    before, after = count_paths(data)
    assert sum(p * int(o) for p, o in zip(before, data.output_mask, strict=True)) == len(paths)
    assert sum(q * int(i) for q, i in zip(after, data.input_mask, strict=True)) == len(paths)
    values = dag_measures(simple(data), data)
    level = data.level.numpy()
    assert values["paths_log10"] == pytest.approx(np.log10(len(paths)))
    assert values["path_edges"] == pytest.approx(np.mean([len(path) - 1 for path in paths]))
    inner = [s for s, i, o in zip(shares, data.input_mask, data.output_mask, strict=True) if not (i or o)]
    assert values["betweenness_max"] == pytest.approx(max(inner, default=0))
    assert values["levels"] == level.max() + 1
    widths = [int((level == k).sum()) for k in range(level.max() + 1)]
    assert values["width_max"] == max(widths)
    assert values["width_sd"] == pytest.approx(np.std(widths))
    assert values["unreached_nodes"] == (level < 0).sum()
    spans = [level[n] - level[m] for m, n in data.edge_index.T.tolist() if level[m] >= 0]
    assert values["edge_span"] == pytest.approx(np.mean(spans) if spans else 0)
    profile = width_profile(data)
    assert profile["width"].tolist() == widths
    assert profile["edges_in"].tolist() == [
        sum(level[m] >= 0 and level[n] == k for m, n in data.edge_index.T.tolist()) for k in profile["level"]
    ]
    assert profile["inputs"].sum() == values["input_nodes"] == int(data.input_mask.sum())
    assert profile["outputs"].sum() == values["output_nodes"] == int(data.output_mask.sum())


def test_the_hermaphrodite_has_more_paths_than_a_float_tells_apart():
    dag = ConstrainedDAG()(Connectome("cook2019-hermaphrodite")[0])
    before, after = count_paths(dag)
    total = sum(before[n] for n in dag.output_mask.nonzero().view(-1).tolist())
    assert total == sum(after[n] for n in dag.input_mask.nonzero().view(-1).tolist()) > 2**53
    # NetworkX's order in place of the levels.
    order = list(nx.topological_sort(digraph(dag)))
    count = {n: int(dag.input_mask[n]) for n in order}
    graph = digraph(dag)
    for n in order:
        count[n] += sum(count[m] for m in graph.predecessors(n))
    assert total == sum(count[n] for n in dag.output_mask.nonzero().view(-1).tolist())


def test_what_is_no_dag_is_refused():
    data = wiring(3, [(0, 1), (1, 2)])
    with pytest.raises(ValueError, match="expected a DAG, got a wiring without level, input_mask, output_mask"):
        width_profile(data)
    dag = wiring(3, [(0, 1), (1, 2)])
    dag.level = dag.neuron_type.new_tensor([0, 1, 1])
    dag.input_mask, dag.output_mask = dag.level == 0, dag.level == 1
    with pytest.raises(ValueError, match="expected every edge to lead to a higher level"):
        dag_measures(simple(dag), dag)
    dag.level = dag.neuron_type.new_tensor([0, 1, 2])
    dag.output_mask = dag.level == 5
    with pytest.raises(ValueError, match="expected a DAG with a path from an input node to an output node"):
        path_betweenness(dag)
