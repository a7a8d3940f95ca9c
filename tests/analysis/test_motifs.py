from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings

from elegans_pyg.analysis import four_motif_spectrum, motif_counts, motif_information, motif_spectrum, motifs, motifs_by_level, triad_census
from elegans_pyg.analysis.motif_tables import COLOURS, canonical, join, split, three_node_classes
from elegans_pyg.analysis.motifs import four_motif_measures, motif_measures
from elegans_pyg.datasets import Connectome
from elegans_pyg.wirings import NEURON_TYPES
from tests.analysis.graphs import digraph, random_wiring, simple, wiring, wirings
from tests.analysis.networkx_census import coloured_census, smallest
from tests.dags import dags

Motif = tuple[tuple[int, ...], tuple[bool, ...]]


def form(graph: nx.DiGraph, nodes: tuple[int, ...], colour: dict[int, int]) -> Motif:
    """The same for two sets of nodes if and only if some matching keeps colours and edges."""
    return min(
        (tuple(colour[n] for n in order), tuple(graph.has_edge(m, n) for m in order for n in order)) for order in permutations(nodes)
    )


def enumerated(graph: nx.DiGraph, size: int, colour: dict[int, int]) -> Counter[Motif]:
    sets = (nodes for nodes in combinations(graph, size) if nx.is_weakly_connected(graph.subgraph(nodes)))
    return Counter(form(graph, nodes, colour) for nodes in sets)


def drawn(edges: str, types: str | None) -> Motif:
    """The form of a row of a spectrum."""
    pairs = [tuple(int(end) - 1 for end in edge.split("→")) for edge in edges.split()]
    graph = nx.DiGraph(pairs)
    colours = [NEURON_TYPES.index(name) for name in types.split()] if types else [0] * 4
    return form(graph, tuple(sorted(graph)), dict(enumerate(colours)))


@pytest.fixture(params=["numba", "numpy"])
def counter(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(motifs, "find_spec", lambda name: None)
    else:
        pytest.importorskip("numba", reason="numba is not installed (extra `fast`)")


@settings(max_examples=30, deadline=None)
@given(wirings(max_nodes=8))
def test_triad_census_agrees_with_networkx(data):
    assert triad_census(data).to_dict() == nx.triadic_census(digraph(data))


@pytest.mark.parametrize("seed", range(6))
def test_spectrum_is_that_of_enumerated_triples(counter, seed):
    data = random_wiring(seed, 9, 0.05 + 0.1 * seed, colours=6)
    graph = digraph(data)
    table = motif_spectrum(data)
    rows = table[table["count"] > 0]
    forms = [drawn(edges, types) for edges, types in zip(rows["edges"], rows["types"], strict=True)]
    assert len(set(forms)) == len(forms)
    assert dict(zip(forms, rows["count"], strict=True)) == enumerated(graph, 3, dict(graph.nodes("type")))
    for edges, shape in zip(rows["edges"], rows["shape"], strict=True):
        triad = nx.DiGraph([tuple(edge.split("→")) for edge in edges.split()])
        assert nx.triad_type(triad) == shape


def test_both_counters_agree_on_a_larger_graph_and_its_groups(monkeypatch):
    pytest.importorskip("numba", reason="numba is not installed (extra `fast`)")
    graph = simple(random_wiring(0, 80, 0.08, colours=6))
    group = np.random.default_rng(0).integers(0, 5, 80)
    fast = motifs.count_motifs(graph, group)
    monkeypatch.setattr(motifs, "find_spec", lambda name: None)
    assert np.array_equal(fast, motifs.count_motifs(graph, group))
    assert np.array_equal(fast.sum(axis=0), motifs.count_motifs(graph)[0])


@settings(max_examples=15, deadline=None)
@given(wirings(max_nodes=6, min_nodes=3))
def test_expected_counts_are_the_mean_over_every_dealing_of_the_types(data):
    types = data.neuron_type.tolist()
    total = np.zeros(len(three_node_classes().key))
    deals = sorted(set(permutations(types)))
    for deal in deals:
        other = data.clone()
        other.neuron_type = data.neuron_type.new_tensor(deal)
        total += motif_counts(other)
    table = motif_spectrum(data)
    forms = {drawn(edges, types): value for edges, types, value in zip(table["edges"], table["types"], table["expected"], strict=True)}
    classes = three_node_classes()
    adjacent, colour = split(classes.key, 3, COLOURS)
    for number in np.flatnonzero(total):
        graph = nx.DiGraph([(int(i), int(j)) for i, j in np.argwhere(adjacent[number])])
        assert forms.pop(form(graph, (0, 1, 2), dict(enumerate(colour[number].tolist())))) == pytest.approx(total[number] / len(deals))
    assert not forms


@settings(max_examples=15, deadline=None)
@given(wirings(max_nodes=7))
def test_four_node_motifs_are_those_of_enumerated_quadruples(data):
    pytest.importorskip("numba", reason="numba is not installed (extra `fast`)")
    graph = digraph(data)
    plain, coloured = four_motif_spectrum(data), four_motif_spectrum(data, coloured=True)
    assert dict(zip((drawn(edges, None) for edges in plain["edges"]), plain["count"], strict=True)) == enumerated(
        graph, 4, dict.fromkeys(graph, 0)
    )
    forms = [drawn(edges, types) for edges, types in zip(coloured["edges"], coloured["types"], strict=True)]
    assert dict(zip(forms, coloured["count"], strict=True)) == enumerated(graph, 4, dict(graph.nodes("type")))
    values = four_motif_measures(simple(data))
    assert values["connected_quadruples"] == plain["count"].sum()
    assert values["four_shape_entropy"] == pytest.approx(-float((plain["share"] * np.log2(plain["share"])).sum()), abs=1e-12)
    assert values["four_motif_entropy"] == pytest.approx(-float((coloured["share"] * np.log2(coloured["share"])).sum()), abs=1e-12)


def test_every_directed_graph_of_four_nodes_has_its_class():
    assert len(np.unique(canonical(np.arange(4096), 4, 1))) == 218  # with the 19 that are not connected; OEIS A000273
    keys = np.arange(64 * COLOURS**3)
    assert np.array_equal(join(*split(keys, 3, COLOURS), COLOURS), keys)


@settings(max_examples=20, deadline=None)
@given(wirings(max_nodes=8))
def test_measures_follow_from_the_spectrum(data):
    values, table, census = motif_measures(simple(data)), motif_spectrum(data), triad_census(data)
    share = table["share"][table["share"] > 0]
    found = -float((share * np.log2(share)).sum())
    assert values["connected_triples"] == table["count"].sum()
    assert values["motif_entropy"] == pytest.approx(found, abs=1e-12)
    by_chance = table["expected"] / max(table["expected"].sum(), 1e-300)
    assert values["motif_information"] == pytest.approx(-float((by_chance * np.log2(by_chance)).sum()) - found, abs=1e-9)
    both = table[table["count"] > 0]
    divergence = (both["share"] * np.log2(both["share"] * table["expected"].sum() / both["expected"])).sum()
    assert values["motif_divergence"] == pytest.approx(float(divergence), abs=1e-9)
    closed = sum(
        all(graph.has_edge(*p) or graph.has_edge(*p[::-1]) for p in combinations(t, 2))
        for graph in [digraph(data)]
        for t in combinations(graph, 3)
    )
    assert values["closed_share"] == pytest.approx(closed / max(values["connected_triples"], 1))
    assert values["feed_forward_loops"] == census["030T"]
    assert values["three_cycles"] == census["030C"]
    assert not any(np.isnan(list(values.values())))


def test_information_against_nulls():
    data, nulls = random_wiring(0, 12, 0.2), [random_wiring(seed, 12, 0.2) for seed in (1, 2, 3)]
    values = motif_information(data, nulls)
    pooled = sum(motif_counts(null) for null in nulls)
    assert values["null_entropy"] == pytest.approx(-sum(c / pooled.sum() * np.log2(c / pooled.sum()) for c in pooled if c))
    assert values["information"] == pytest.approx(values["null_entropy"] - values["entropy"])
    assert values["divergence"] > 0
    assert motif_information(data, [data])["divergence"] == motif_information(data, [data])["information"] == 0
    one_type = wiring(4, [(0, 1), (1, 2), (2, 3)])
    assert motif_information(one_type)["information"] == motif_information(one_type)["divergence"] == 0
    with pytest.raises(ValueError, match="nulls: expected at least one wiring, got none"):
        motif_information(data, [])


@settings(max_examples=15, deadline=None)
@given(dags())
def test_motifs_by_level_start_where_their_earliest_neuron_is(data):
    graph, level = digraph(data), data.level.tolist()
    table = motifs_by_level(data).set_index("level")
    begun: dict[int, Counter[Motif]] = {}
    for nodes in combinations(graph, 3):
        if nx.is_weakly_connected(graph.subgraph(nodes)):
            begun.setdefault(min(level[n] for n in nodes), Counter())[form(graph, nodes, dict(graph.nodes("type")))] += 1
    assert table["neurons"].to_dict() == Counter(level)
    for number, row in table.iterrows():
        counts = np.array(list(begun.get(number, {}).values()))
        assert row["motifs"] == counts.sum()
        assert row["entropy"] == pytest.approx(
            -float((counts / max(counts.sum(), 1) * np.log2(counts / max(counts.sum(), 1))).sum()), abs=1e-12
        )


def test_levels_are_asked_for():
    with pytest.raises(ValueError, match="expected a DAG with level"):
        motifs_by_level(wiring(3, [(0, 1)]))


def test_without_numba_four_node_motifs_name_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(
        ImportError, match=r"motifs of four neurons needs 'numba', which is not installed; run: pip install 'elegans-pyg\[fast\]'"
    ):
        four_motif_spectrum(wiring(4, [(0, 1)]))


def test_the_connectome_has_the_census_of_the_loop_it_is_timed_against():
    data = Connectome("cook2019-hermaphrodite")[0]
    known = coloured_census(digraph(data))
    classes = three_node_classes()
    adjacent, colour = split(classes.key, 3, COLOURS)
    counts = motif_counts(data)
    found = {}
    for number in np.flatnonzero(counts):
        look = (*colour[number].tolist(), *(int(adjacent[number, i, j]) for i, j in permutations(range(3), 2)))
        found[smallest(look)] = counts[number]
    assert found == known
