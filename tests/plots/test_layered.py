from __future__ import annotations

import os

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from torch_geometric.data import Data

from elegans_pyg.plots import layered_dag, save


def dag() -> Data:
    """Three inputs, two levels above them, one neuron out of reach (7) with an edge to a reached one left out of the DAG's levels."""
    return Data(
        edge_index=torch.tensor([[0, 1, 1, 2, 3, 4, 7, 0], [3, 3, 4, 4, 5, 6, 8, 6]]),
        edge_weight=torch.tensor([1.0, 5, 2, 1, 9, 1, 3, 4]),
        level=torch.tensor([0, 0, 0, 1, 1, 2, 2, -1, -1]),
        neuron_type=torch.tensor([0, 0, 0, 1, 1, 2, 2, 1, 2]),
        neuron_name=["ASEL", "ASER", "AWCL", "AVAL", "AVAR", "VB01", "DB01", "XXL", "XXR"],
        output_mask=torch.tensor([False] * 5 + [True, True] + [False, True]),
        num_nodes=9,
    )


def edges_and_dots(axes) -> tuple[PathCollection, list[PathCollection]]:
    edges, *dots = sorted(axes.collections, key=lambda collection: collection.get_zorder())
    return edges, dots


def positions(axes) -> np.ndarray:
    return np.concatenate([np.asarray(dot.get_offsets()) for dot in edges_and_dots(axes)[1]])


def test_every_reached_neuron_and_edge_is_drawn_in_its_level():
    data = dag()
    before = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in data.to_dict().items()}
    graph, profile = layered_dag(data).axes
    edges, _ = edges_and_dots(graph)
    segments = [path.vertices for path in edges.get_paths()]
    assert len(segments) == 7
    assert len(positions(graph)) == 7
    starts, ends = np.array([s[0] for s in segments]), np.array([s[-1] for s in segments])
    assert (starts[:, 0] < ends[:, 0]).all()
    points = {tuple(point) for point in positions(graph).round(9).tolist()}
    assert {tuple(point) for point in np.concatenate([starts, ends]).round(9).tolist()} == points
    assert sorted(np.unique(positions(graph)[:, 0], return_counts=True)[1]) == [2, 2, 3]
    widths = dict(zip(map(tuple, (starts + 100 * ends).round(6)), edges.get_linewidths(), strict=True))
    assert len(set(widths.values())) == len({1.0, 5, 2, 9, 4})
    assert "7 neurons, 7 edges, 3 levels; 2 that no input reaches not drawn" in graph.get_title(loc="left")
    assert [text.get_text() for text in graph.get_legend().get_texts()] == ["sensory (3)", "inter (2)", "motor (2)", "output (2)"]
    assert [bar.get_height() for bar in profile.patches if bar.get_height()] == [3, 2, 2]
    for name, value in before.items():
        assert torch.equal(data[name], value) if isinstance(value, torch.Tensor) else data[name] == value


def test_outputs_and_hubs_are_named():
    named = {text.get_text() for text in layered_dag(dag(), hubs=1).axes[0].texts}
    assert named == {"VB01", "DB01", "AVAL"}
    anonymous = dag()
    del anonymous.neuron_name, anonymous.edge_weight
    assert not layered_dag(anonymous).axes[0].texts


def test_outputs_are_ringed():
    graph = layered_dag(dag()).axes[0]
    ringed = [dots for dots in edges_and_dots(graph)[1] if dots.get_linewidths()[0] > 1]
    assert sum(len(dots.get_offsets()) for dots in ringed) == 2


def test_a_crowded_level_is_folded_and_its_bar_cut():
    count = 60
    data = Data(
        edge_index=torch.stack([torch.arange(count), torch.full((count,), count)]),
        level=torch.cat([torch.zeros(count, dtype=torch.int64), torch.tensor([1])]),
        neuron_type=torch.cat([torch.zeros(count, dtype=torch.int64), torch.tensor([2])]),
        output_mask=torch.arange(count + 1) == count,
        num_nodes=count + 1,
    )
    graph, profile = layered_dag(data).axes
    x = positions(graph)[:, 0]
    assert len(np.unique(x[:count])) == 3
    assert x[:count].max() < x[count]
    assert "60 ↑" in [text.get_text() for text in profile.texts]
    assert profile.get_ylim()[1] < 10


@pytest.mark.parametrize(("neurons", "edges"), [(1, []), (2, [(0, 1)])])
def test_the_smallest_graphs(neurons, edges):
    data = Data(
        edge_index=torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T,
        level=torch.arange(neurons),
        neuron_type=torch.zeros(neurons, dtype=torch.int64),
        neuron_name=[f"N{node}" for node in range(neurons)],
        output_mask=torch.arange(neurons) == neurons - 1,
        num_nodes=neurons,
    )
    assert len(positions(layered_dag(data).axes[0])) == neurons


def test_a_graph_that_is_no_dag_is_refused():
    cyclic = dag()
    del cyclic.level
    with pytest.raises(ValueError, match=r"data must have 'level', got .*build the DAG with ConstrainedDAG"):
        layered_dag(cyclic)
    unreached = dag()
    unreached.level = torch.full((9,), -1)
    with pytest.raises(ValueError, match="at least one node at level 0, got none"):
        layered_dag(unreached)


def test_figures_are_written_whole_and_repeatably(tmp_path):
    figure = layered_dag(dag())
    settings = {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}  # reading that one sets it
    png, svg = save(figure, tmp_path / "new" / "dag.v1")
    assert (png, svg) == (tmp_path / "new" / "dag.v1.png", tmp_path / "new" / "dag.v1.svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert svg.read_text().rstrip().endswith("</svg>")
    first = png.read_bytes(), svg.read_bytes()
    save(layered_dag(dag()), str(tmp_path / "new" / "dag.v1"))
    assert (png.read_bytes(), svg.read_bytes()) == first
    assert sorted(file.name for file in png.parent.iterdir()) == ["dag.v1.png", "dag.v1.svg"]
    assert {name: matplotlib.rcParams[name] for name in settings} == settings


def test_a_failed_write_names_the_file_and_keeps_the_old_one(tmp_path, monkeypatch):
    figure = layered_dag(dag())
    (tmp_path / "dag.png").write_text("old")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match=r"could not write .*dag\.png \(No space left on device\); free space"):
        save(figure, tmp_path / "dag")
    assert [file.name for file in tmp_path.iterdir()] == ["dag.png"]
    assert (tmp_path / "dag.png").read_text() == "old"


def test_drawing_fails_before_anything_is_written(tmp_path, monkeypatch):
    figure = layered_dag(dag())

    def broken(file, **options):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(figure, "savefig", broken)
    with pytest.raises(KeyboardInterrupt):
        save(figure, tmp_path / "new" / "dag")
    assert list(tmp_path.iterdir()) == []


def test_a_large_dag_is_drawn_small_and_without_names():
    generator = np.random.default_rng(0)
    level = np.sort(generator.integers(0, 40, 1200))
    edges = np.unique(generator.integers(0, 1200, (2, 30_000)), axis=1)
    edges = edges[:, level[edges[0]] < level[edges[1]]]
    kept = torch.from_numpy(np.concatenate([edges, edges], axis=1))
    weight = torch.arange(kept.shape[1], dtype=torch.float32)
    output = torch.zeros(1200, dtype=torch.bool)
    types = torch.from_numpy(generator.integers(0, 3, 1200))
    names = [f"n{number}" for number in range(1200)]
    data = Data(
        edge_index=kept, edge_weight=weight, level=torch.from_numpy(level), neuron_type=types, output_mask=output, neuron_name=names
    )
    graph = layered_dag(data).axes[0]
    lines, _ = edges_and_dots(graph)
    assert kept.shape[1] > 20_000
    assert len(lines.get_paths()) == 20_000
    assert lines.get_rasterized()
    assert f"{kept.shape[1]:,} edges (the 20,000 of most contacts drawn)" in graph.get_title(loc="left")
    assert not graph.texts
    assert max(part.get_sizes().max() for part in graph.collections if part is not lines) < 0.2 * (16 + 120)
