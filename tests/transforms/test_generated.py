"""ErdosRenyi, WattsStrogatz and BarabasiAlbert."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp
from torch_geometric.data import Data

from elegans_pyg.transforms import BarabasiAlbert, ErdosRenyi, WattsStrogatz
from elegans_pyg.transforms.generated import GeneratedWiring
from tests.transforms.wirings import connectomes, digraph, edge_list, random_connectome, redrawn, same, without_loops

GENERATORS = (ErdosRenyi, WattsStrogatz, BarabasiAlbert)
EACH = pytest.mark.parametrize("generator", GENERATORS)


@settings(max_examples=60, deadline=None)
@given(connectomes(), st.sampled_from(GENERATORS), st.integers(0, 2**40))
def test_matches_the_base(data: Data, generator: type[GeneratedWiring], seed: int) -> None:
    redrawn(generator(seed), data)


@EACH
def test_seeds_differ(generator: type[GeneratedWiring]) -> None:
    data = random_connectome(0, 20, chemical=0.2)
    assert not same(generator(0)(data), generator(1)(data))


@EACH
@pytest.mark.parametrize("density", [0.3, 1.7])
def test_density(generator: type[GeneratedWiring], density: float) -> None:
    data = random_connectome(0, 40, chemical=0.1, electrical=0.05)
    new = generator(0, density=density)(data)
    for kind in (0, 1):
        wanted = round(density * sum(k == kind for *_, k, _ in without_loops(data)) / (kind + 1)) * (kind + 1)
        assert sum(k == kind for *_, k, _ in without_loops(new)) == wanted
    weights = Counter(w for *_, k, w in without_loops(data) if k == 0)
    drawn = Counter(w for *_, k, w in without_loops(new) if k == 0)
    assert all(int(density) * number <= drawn[w] <= (int(density) + 1) * number for w, number in weights.items())


@EACH
def test_neurons_are_placed_at_random(generator: type[GeneratedWiring]) -> None:
    """Expected degree is the same for each neuron, whatever its number, even in a graph whose own nodes differ."""
    data = random_connectome(0, 12, chemical=0.25, loops=0.0)
    degree = np.zeros(12)
    for seed in range(200):
        degree += np.bincount(generator(seed)(data).edge_index.reshape(-1).numpy(), minlength=12)
    assert degree.max() / degree.min() < 1.2


@EACH
def test_too_many_edges(generator: type[GeneratedWiring]) -> None:
    data = random_connectome(0, 6, chemical=0.5)
    with pytest.raises(
        ValueError, match=r"density: expected at most 30 chemical edges, one per pair of the 6 neurons and direction, got \d+; lower"
    ):
        generator(0, density=5.0)(data)


@EACH
@pytest.mark.parametrize("density", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_density(generator: type[GeneratedWiring], density: float) -> None:
    with pytest.raises(ValueError, match="density: expected a number above 0"):
        generator(0, density=density)
    with pytest.raises(TypeError, match="density: expected a number above 0, got 'x'"):
        generator(0, density="x")  # type: ignore[arg-type]


def test_erdos_renyi_is_uniform() -> None:
    data = random_connectome(0, 3, chemical=0.0)
    data.edge_index, data.edge_weight, data.edge_type = torch.tensor([[0, 1], [1, 2]]), torch.ones(2), torch.zeros(2).long()
    found = Counter(tuple(edge[:2] for edge in edge_list(ErdosRenyi(seed)(data))) for seed in range(1500))
    assert len(found) == 15  # two of the six ordered pairs
    assert chisquare(list(found.values())).pvalue > 1e-4


def test_watts_strogatz_without_moves_is_the_ring() -> None:
    data = random_connectome(0, 20, chemical=0.0, loops=0.0)
    ring = [(n, (n + step) % 20) for n in range(20) for step in (1, 2)]
    data.edge_index = torch.tensor(sorted(ring)).T
    data.edge_weight, data.edge_type = torch.ones(40), torch.zeros(40).long()
    graph = nx.Graph(digraph(WattsStrogatz(3, p=0.0)(data)))
    assert nx.is_isomorphic(graph, nx.watts_strogatz_graph(20, 4, 0.0))
    moved = nx.Graph(digraph(WattsStrogatz(3, p=1.0)(data)))
    assert nx.average_clustering(moved) < nx.average_clustering(graph) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("generator", "theirs"),
    [
        (WattsStrogatz, lambda seed: nx.watts_strogatz_graph(40, 8, 0.1, seed)),
        (BarabasiAlbert, lambda seed: nx.barabasi_albert_graph(40, 4, seed)),
    ],
)
def test_degrees_and_clustering_spread_as_networkx_spreads_them(
    generator: type[GeneratedWiring], theirs: Callable[[int], nx.Graph]
) -> None:
    edges = theirs(0).number_of_edges()
    data = random_connectome(0, 40, chemical=0.0, loops=0.0)
    data.edge_index = torch.tensor([(a, b) for a in range(40) for b in range(40) if a != b][:edges]).T
    data.edge_weight, data.edge_type = torch.ones(edges), torch.zeros(edges).long()
    pairs = [(nx.Graph(digraph(generator(seed)(data))), theirs(seed)) for seed in range(120)]
    for measure in (
        nx.average_clustering,
        lambda graph: np.var([d for _, d in graph.degree]),
        lambda graph: max(d for _, d in graph.degree),
    ):
        ours, others = ([measure(pair[side]) for pair in pairs] for side in (0, 1))
        assert ks_2samp(ours, others).pvalue > 1e-3


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_watts_strogatz_moves_the_share(p: float) -> None:
    source, target = WattsStrogatz(0, p=p).generate(1000, 2000, True, np.random.default_rng(3)).T
    steps = np.abs(source - target)
    # Of 999 other nodes, four are neighbours on the ring; 0.03 is three standard deviations at the most.
    assert np.mean(np.minimum(steps, 1000 - steps) > 2) == pytest.approx(p * 995 / 999, abs=0.03)


def test_watts_strogatz_fills_a_full_graph() -> None:
    full = random_connectome(0, 6, chemical=0.0, loops=0.0)
    full.edge_index = torch.tensor([(a, b) for a in range(6) for b in range(a)]).T
    full.edge_weight, full.edge_type = torch.ones(15), torch.zeros(15).long()
    assert nx.Graph(digraph(WattsStrogatz(1, p=1.0)(full))).number_of_edges() == 15


def test_watts_strogatz_refuses_a_bad_share() -> None:
    with pytest.raises(ValueError, match=r"p: expected a number from 0 to 1, got 1\.5"):
        WattsStrogatz(0, p=1.5)


def test_barabasi_albert_has_hubs() -> None:
    data = random_connectome(0, 150, chemical=0.02)
    degrees = {g: np.mean([max(d for _, d in digraph(g(seed)(data)).degree) for seed in range(5)]) for g in GENERATORS}
    assert degrees[BarabasiAlbert] > 2 * max(degrees[ErdosRenyi], degrees[WattsStrogatz])


@EACH
@pytest.mark.parametrize("edges", [8, 12, 13, 15, 16, 20])
def test_dense_graphs_of_five_nodes(generator: type[GeneratedWiring], edges: int) -> None:
    """Methane has 8 directed edges, more than grow from a star; 20 are all there can be."""
    pairs = [(a, b) for a in range(5) for b in range(5) if a != b]
    data = Data(edge_index=torch.tensor(pairs[:edges]).T, num_nodes=5)
    new = nx.DiGraph(generator(1)(data).edge_index.T.tolist())
    assert new.number_of_edges() == edges
    assert not any(a == b for a, b in new.edges)
    if generator is not ErdosRenyi:
        assert new.to_undirected().number_of_edges() == min(edges, 10)
