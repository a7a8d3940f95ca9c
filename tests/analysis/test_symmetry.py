from __future__ import annotations

import pytest
from torch_geometric.data import Data

from elegans_pyg.analysis.symmetry import mirror_neurons, symmetry_measures
from elegans_pyg.datasets import Connectome
from tests.analysis.graphs import digraph, simple, wiring


def test_partners_are_found_by_name():
    names = ["ASEL", "AVL", "ASER", "IL2DL", "IL2L", "IL2R", "IL2DR", "AQR", "L", "", "R"]
    assert mirror_neurons(names).tolist() == [2, 1, 0, 6, 5, 4, 3, 7, 10, 9, 8]


def test_share_of_mirrored_edges_by_hand():
    names = ["AL", "AR", "BL", "BR", "C", "D"]
    # AL to BL and AR to BR mirror each other, so do AL to AR and AR to AL; C to BL lacks its image; C to D has none but itself.
    graph = simple(wiring(6, [(0, 2), (1, 3), (0, 1), (1, 0), (4, 2), (4, 5)]))
    assert symmetry_measures(graph, Data(neuron_name=names)) == {"mirrored_neurons": 4, "bilateral_symmetry": 0.8}
    assert symmetry_measures(simple(wiring(2, [(0, 1)])), Data(neuron_name=["C", "D"])) == {"mirrored_neurons": 0, "bilateral_symmetry": 0}


def test_the_connectome_against_a_loop_over_its_edges():
    data = Connectome("varshney2011-hermaphrodite")[0]
    graph, names = digraph(data), data.neuron_name
    other = {name: name[:-1] + ("R" if name[-1] == "L" else "L") if name[-1] in "LR" else name for name in names}
    other = {name: mirror if mirror in names else name for name, mirror in other.items()}
    edges = {(names[m], names[n]) for m, n in graph.edges}
    moving = [(m, n) for m, n in edges if (other[m], other[n]) != (m, n)]
    values = symmetry_measures(simple(data), data)
    assert values["bilateral_symmetry"] == pytest.approx(sum((other[m], other[n]) in edges for m, n in moving) / len(moving))
    assert values["mirrored_neurons"] == sum(other[name] != name for name in names)
    assert values["bilateral_symmetry"] > 0.5


@pytest.mark.parametrize("names", [["A"], ["A", "A"]])
def test_names_must_be_complete_and_different(names):
    with pytest.raises(ValueError, match="neuron_name: expected 2 different names, got 1"):
        symmetry_measures(simple(wiring(2, [(0, 1)])), Data(neuron_name=names))
