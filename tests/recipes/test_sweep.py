"""The sweep: its graphs, its files, and going on where it was."""

from __future__ import annotations

import os
from pathlib import Path

import networkx as nx
import pandas as pd
import pytest
import torch

from elegans_pyg.datasets import Connectome
from elegans_pyg.recipes import sweep as sweep_module
from elegans_pyg.recipes.sweep import Point, PointFiles, make_graph, sweep
from elegans_pyg.transforms import Rewired

STAGE = "witvliet2021-1"


def test_graphs_depend_on_their_point_and_number_alone() -> None:
    base = Connectome(STAGE)[0]
    half = Point(STAGE, "rewired", 0.5, 3)
    graph = make_graph(half, 2, base, 7)
    more = Point(STAGE, "rewired", 0.5, 1000)
    assert torch.equal(graph.edge_index, make_graph(more, 2, base, 7).edge_index)
    assert torch.equal(graph.edge_index, Rewired(half.seed(2, 7), 0.5)(base).edge_index)
    null = Point(STAGE, "rewired", 0.5, 3, "null")
    for other in (make_graph(half, 1, base, 7), make_graph(half, 2, base, 8), make_graph(null, 2, base, 7)):
        assert not torch.equal(graph.edge_index, other.edge_index)
    assert make_graph(Point(STAGE, "connectome"), 0, base, 7) is base


def test_rows_are_the_measures_of_the_graphs(tmp_path: Path) -> None:
    point = Point(STAGE, "random_rewired", 0.3, 3)
    files = PointFiles(tmp_path / "points")
    assert sweep([point], files, "chemical", 1, workers=1, quiet=True)
    table = pd.read_csv(tmp_path / "points" / f"{STAGE}-random_rewired-30.csv", index_col="graph")
    assert table.index.tolist() == [0, 1, 2]
    base = Connectome(STAGE)[0]
    for number in range(3):
        graph = nx.DiGraph(make_graph(point, number, base, 1).edge_index.T.tolist())
        graph.remove_edges_from(list(nx.selfloop_edges(graph)))
        assert table.loc[number, "edges"] == graph.number_of_edges()
        assert table.loc[number, "reciprocity"] == pytest.approx(nx.reciprocity(graph))


def test_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "CHUNK", 2)
    points = [Point(STAGE, "rewired", 1.0, 5), Point(STAGE, "connectome")]
    assert sweep(points, PointFiles(tmp_path / "straight"), "chemical", 0, workers=1, quiet=True)

    made: list[tuple[int, ...]] = []
    measure = sweep_module.measure_chunk

    def press_ctrl_c(task: sweep_module.Task) -> pd.DataFrame:
        made.append(task[1])
        if len(made) == 2:
            os.kill(os.getpid(), 2)
        return measure(task)

    monkeypatch.setattr(sweep_module, "measure_chunk", press_ctrl_c)
    assert not sweep(points, PointFiles(tmp_path / "halves"), "chemical", 0, workers=1, quiet=True)
    assert made == [(0, 1), (2, 3)]
    assert PointFiles(tmp_path / "halves").missing(points[0]) == [4]
    assert sweep(points, PointFiles(tmp_path / "halves"), "chemical", 0, workers=1, quiet=True)
    assert made[2:] == [(4,), (0,)]
    for file in (tmp_path / "straight").iterdir():
        assert file.read_bytes() == (tmp_path / "halves" / file.name).read_bytes()
    # Fewer are wanted: the first ones; none is made.
    fewer = Point(STAGE, "rewired", 1.0, 3)
    assert PointFiles(tmp_path / "halves").read(fewer).index.tolist() == [0, 1, 2]
    assert sweep([fewer], PointFiles(tmp_path / "halves"), "chemical", 0, workers=1, quiet=True)
    assert len(made) == 4


def test_two_processes_find_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "CHUNK", 2)
    points = [Point(STAGE, "er", None, 3)]
    for workers in (1, 2):
        assert sweep(points, PointFiles(tmp_path / str(workers)), "chemical", 0, workers=workers, quiet=True)
    assert (tmp_path / "1" / f"{STAGE}-er.csv").read_bytes() == (tmp_path / "2" / f"{STAGE}-er.csv").read_bytes()


def test_progress_is_said_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep([Point(STAGE, "connectome")], PointFiles(tmp_path), "chemical", 0, workers=1)
    assert "measured 1 of 1 graphs" in capsys.readouterr().err
    sweep([Point(STAGE, "connectome")], PointFiles(tmp_path / "quiet"), "chemical", 0, workers=1, quiet=True)
    assert capsys.readouterr().err == ""


def test_refuses_damaged_files_and_bad_numbers_of_workers(tmp_path: Path) -> None:
    point = Point(STAGE, "connectome", None, 2)
    with pytest.raises(ValueError, match="workers: expected at least 1, got 0"):
        sweep([point], PointFiles(tmp_path), "chemical", 0, workers=0)
    (tmp_path / f"{point.name}.csv").write_text("")
    with pytest.raises(ValueError, match=r"connectome\.csv is damaged \(.*\); delete it"):
        sweep([point], PointFiles(tmp_path), "chemical", 0, workers=1)
    (tmp_path / f"{point.name}.csv").write_text("graph,sigma\n0,1.5\n")
    with pytest.raises(ValueError, match="holds other measures than are taken now; delete it"):
        sweep([point], PointFiles(tmp_path), "chemical", 0, workers=1, quiet=True)
