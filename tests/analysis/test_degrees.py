from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings

from elegans_pyg.analysis import degree_distribution, rich_club
from elegans_pyg.analysis.degrees import degree_measures, size_measures
from tests.analysis.graphs import digraph, random_wiring, simple, wiring, wirings


@settings(max_examples=25, deadline=None)
@given(wirings(max_nodes=10))
def test_measures_agree_with_networkx(data):
    graph = digraph(data)
    values = {**size_measures(simple(data)), **degree_measures(simple(data))}
    assert values["nodes"] == len(graph)
    assert values["edges"] == graph.number_of_edges()
    assert values["isolated"] == nx.number_of_isolates(graph)
    assert values["density"] == pytest.approx(nx.density(graph))
    assert values["reciprocity"] == pytest.approx(nx.overall_reciprocity(graph) if graph.number_of_edges() else 0)
    if nx.density(graph) < 1:
        excess = (values["reciprocity"] - nx.density(graph)) / (1 - nx.density(graph))
        assert values["reciprocity_excess"] == pytest.approx(excess)
    for name, degree in (("in_degree", graph.in_degree), ("out_degree", graph.out_degree)):
        assert values[f"{name}_max"] == max(d for _, d in degree)
        assert values[f"{name}_sd"] == pytest.approx(np.std([d for _, d in degree]))
    assert values["in_strength_sd"] == pytest.approx(np.std([s for _, s in graph.in_degree(weight="weight")]))
    assert values["out_strength_sd"] == pytest.approx(np.std([s for _, s in graph.out_degree(weight="weight")]))
    ends = [(graph.out_degree(m), graph.in_degree(n)) for m, n in graph.edges]
    if ends and all(len(set(s)) > 1 for s in zip(*ends, strict=True)):
        assert values["degree_assortativity"] == pytest.approx(nx.degree_pearson_correlation_coefficient(graph, "out", "in"))
    else:
        assert values["degree_assortativity"] == 0
    types = dict(graph.nodes("type"))
    if ends and len({types[n] for edge in graph.edges for n in edge}) > 1:
        assert values["type_assortativity"] == pytest.approx(nx.attribute_assortativity_coefficient(graph, "type"))
    else:
        assert values["type_assortativity"] == 0


@settings(max_examples=15, deadline=None)
@given(wirings(max_nodes=10))
def test_rich_club_counts_edges_among_the_well_connected(data):
    graph = digraph(data)
    table = rich_club(data).set_index("degree")
    degree = dict(graph.degree)
    for k in range(max(degree.values()) + 1):
        rich = [n for n in graph if degree[n] > k]
        if len(rich) > 1:
            assert table.loc[k, "coefficient"] == pytest.approx(nx.density(graph.subgraph(rich)))
        else:
            assert k not in table.index
    # On a symmetric graph every degree is twice that of the undirected graph, which NetworkX knows.
    mutual = data.clone()
    mutual.edge_index = data.edge_index.repeat(1, 2)
    mutual.edge_index[:, data.num_edges :] = data.edge_index.flip(0)
    mutual.edge_weight, mutual.edge_type = data.edge_weight.repeat(2), data.edge_type.repeat(2)
    known = nx.rich_club_coefficient(digraph(mutual).to_undirected(), normalized=False)
    table = rich_club(mutual).set_index("degree")["coefficient"]
    assert {k: pytest.approx(table[2 * k]) for k in known if 2 * k in table.index} == {
        k: v for k, v in known.items() if 2 * k in table.index
    }


def test_rich_club_measure_takes_the_upper_tenth_and_its_ties():
    # Twenty neurons in a ring; 0 and 1 join all, and each other.
    edges = [(n, (n + 1) % 20) for n in range(20)] + [(0, n) for n in range(2, 20)] + [(1, n) for n in range(3, 20)] + [(1, 0)]
    graph = simple(wiring(20, edges))
    assert degree_measures(graph)["rich_club"] == pytest.approx(1 / (graph.num_edges / 380))
    ring = simple(wiring(20, edges[:20]))
    assert degree_measures(ring)["rich_club"] == pytest.approx(1)


@settings(max_examples=10, deadline=None)
@given(wirings(max_nodes=10))
def test_distribution_counts_every_neuron(data):
    graph = digraph(data)
    for direction, degree in (("in", graph.in_degree), ("out", graph.out_degree), ("total", graph.degree)):
        for weighted, name in ((False, "degree"), (True, "strength")):
            values = [d for _, d in degree(weight="weight" if weighted else None)]
            table = degree_distribution(data, direction, weighted)
            assert table[name].tolist() == sorted(set(values))
            for row in table.itertuples():
                value = getattr(row, name)
                assert row.neurons == values.count(value)
                assert row.share == pytest.approx(values.count(value) / len(values))
                assert row.share_above == pytest.approx(sum(v >= value for v in values) / len(values))


def test_unknown_direction_is_refused():
    with pytest.raises(ValueError, match="direction: expected one of in, out, total, got 'up'"):
        degree_distribution(random_wiring(0, 4, 0.5), "up")
