from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from elegans_pyg.analysis import distances, edge_overlap, eigenvalues, jensen_shannon, motif_counts, spectral_distance, triad_census
from elegans_pyg.datasets import Connectome
from elegans_pyg.transforms import Rewired, WeightShuffled
from tests.analysis.graphs import digraph, random_wiring, wiring, wirings

counts = st.lists(st.integers(0, 9), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(counts, counts)
def test_jensen_shannon_agrees_with_scipy(first, second):
    length = max(len(first), len(second))
    p, q = (np.pad(values, (0, length - len(values))) for values in (first, second))
    if p.any() and q.any():
        assert jensen_shannon(first, second) == pytest.approx(jensenshannon(p, q, base=2), abs=1e-7)
    else:
        assert jensen_shannon(first, second) == (p.any() or q.any())
    assert jensen_shannon(first, second) == jensen_shannon(second, first)
    assert jensen_shannon(first, first) == 0


def test_jensen_shannon_of_strangers_is_one_and_bad_counts_are_refused():
    assert jensen_shannon([1, 0], [0, 3]) == 1
    for bad in ([1, -1], [1, np.nan], [[1], [2]]):
        with pytest.raises(ValueError, match="first: expected a list of finite counts of 0 or more, got"):
            jensen_shannon(bad, [1])


@settings(max_examples=20, deadline=None)
@given(wirings(max_nodes=6, min_nodes=6), wirings(max_nodes=6, min_nodes=6))
def test_overlap_and_spectrum_against_brute_force(first, second):
    edges, others = set(digraph(first).edges), set(digraph(second).edges)
    assert edge_overlap(first, second) == pytest.approx(len(edges & others) / len(edges | others) if edges | others else 1)
    spectra = eigenvalues(first), eigenvalues(second)
    closest = min(np.abs(spectra[0] - spectra[1][list(order)]).mean() for order in permutations(range(6)))
    assert spectral_distance(first, second) == pytest.approx(closest)
    assert spectral_distance(first, first) == 0


def test_neurons_are_matched_by_name_and_missing_ones_count():
    first, second = wiring(3, [(0, 1), (1, 2)]), wiring(4, [(1, 0), (0, 3)])
    with pytest.raises(ValueError, match="second: expected 3 neurons as in the first wiring, got 4; name the neurons of both"):
        edge_overlap(first, second)
    first.neuron_name, second.neuron_name = ["A", "B", "C"], ["B", "A", "X", "Y"]
    assert edge_overlap(first, second) == pytest.approx(1 / 3)
    second.neuron_name = ["B", "B", "X", "Y"]
    with pytest.raises(ValueError, match="neuron_name: expected 4 different names, got 3"):
        edge_overlap(first, second)


def test_isolated_neurons_do_not_change_the_spectrum():
    first = random_wiring(0, 8, 0.4)
    second = first.clone()
    second.neuron_type = first.neuron_type.new_zeros(11)
    second.num_nodes = 11
    assert spectral_distance(first, second) == 0
    third = random_wiring(1, 8, 0.4)
    assert spectral_distance(second, third) == pytest.approx(spectral_distance(first, third) * 8 / 11)


def test_degrees_out_can_differ_where_degrees_in_do_not():
    star, chain = wiring(4, [(0, 1), (0, 2), (0, 3)]), wiring(4, [(0, 1), (1, 2), (2, 3)])
    row = distances(chain, star).iloc[0]
    assert row["in_degrees"] == 0
    assert row["out_degrees"] == pytest.approx(jensenshannon([1, 3, 0, 0], [3, 0, 0, 1], base=2))


def test_table_of_distances():
    base = Connectome("witvliet2021-1")[0]
    shuffled, rewired = WeightShuffled(seed=0)(base), Rewired(seed=0)(base)
    table = distances([base, shuffled, rewired], base)
    assert (table.iloc[:2] == 0).all().all()
    row = table.iloc[2]
    assert row["in_degrees"] == row["out_degrees"] == 0
    assert row["motifs"] == pytest.approx(jensenshannon(motif_counts(base), motif_counts(rewired), base=2))
    assert row["triads"] == pytest.approx(jensenshannon(triad_census(base)[3:], triad_census(rewired)[3:], base=2))
    assert row["spectrum"] == pytest.approx(spectral_distance(rewired, base))
    assert row["spectrum"] > 0
    assert row["edges"] == pytest.approx(1 - edge_overlap(rewired, base))
    assert row["edges"] > 0.5
