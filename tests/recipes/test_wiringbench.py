"""The leaderboard of WiringBench on wirings whose values are known functions of their edges, and the example."""

from __future__ import annotations

import contextlib
import io
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from elegans_pyg.datasets import WiringBench
from elegans_pyg.datasets.wiringbench import tables as published
from elegans_pyg.datasets.wiringbench.wirings import make_wiring, parts, recipes, wiring_hash
from elegans_pyg.recipes import wiringbench
from elegans_pyg.recipes.build_wiringbench import structure
from elegans_pyg.recipes.wiring_predictors import GRAPH_NETWORKS, MODELS, Problem, graph_network, predict_all
from elegans_pyg.recipes.wiringbench import WIRINGBENCH, LeaderboardSettings
from elegans_pyg.studies import load_run, run_study

EXAMPLE = Path(__file__).parents[2] / "examples" / "plot_6_predict_from_the_wiring.py"


@pytest.fixture(scope="module")
def made() -> tuple[pd.DataFrame, list[Data]]:
    """Forty wirings of 80 neurons, of seven families."""
    plan = recipes()
    few = plan[(plan["share"] == 0.5) & plan["base"].isin(["witvliet2021-1", "witvliet2021-2"])].iloc[:40].reset_index(names="number")
    return few, [make_wiring(recipe) for recipe in few.itertuples()]


@pytest.fixture
def tables(made: tuple[pd.DataFrame, list[Data]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, pd.DataFrame]:
    """Tables as those published, whose targets are the number of edges, with noise, and noise alone."""
    few, graphs = made
    edges, rng = np.array([graph.num_edges for graph in graphs]), np.random.default_rng(0)
    wirings = few.assign(sha256=[wiring_hash(graph) for graph in graphs], neurons=[graph.num_nodes for graph in graphs], edges=edges)
    split = parts(wirings)
    split["family"] = np.resize(["train", "train", "test", "valid"], len(few))
    values = {"memory": edges + rng.normal(size=(3, len(few))), "luck": rng.normal(size=(3, len(few)))}
    results = [
        pd.DataFrame({"number": few["number"], "repeat": repeat, "target": target, "value": column})
        for target, rows in values.items()
        for repeat, column in enumerate(rows)
    ]
    targets = pd.DataFrame({"target": list(values), "reliability": [0.99, 0.2], "ranked": [True, False]})
    found = {
        "wirings": wirings.join(split.add_prefix("split_")),
        "results": pd.concat(results, ignore_index=True),
        "targets": targets,
        "measures": structure(graphs).assign(number=few["number"]),
    }
    monkeypatch.setattr(published, "read", found.__getitem__)
    monkeypatch.setenv("ELEGANS_PYG_CACHE", str(tmp_path / "cache"))
    for cached in (wiringbench._problem, wiringbench._graphs):
        cached.cache_clear()
    return found


def test_the_leaderboard(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    settings = LeaderboardSettings(targets=("memory", "luck"), splits=("family",), models=MODELS[:5], seeds=2, steps=6, batch_size=8)
    run_study(WIRINGBENCH, settings, tmp_path / "run", quiet=True, workers=1)
    run = load_run(tmp_path / "run")
    board = run.folder.read_table("leaderboard.csv").set_index(["model", "target"])
    assert board.loc[("mean", "memory"), "spearman_mean"] == 0
    for model in ("size", "ridge", "forest"):
        assert board.loc[(model, "memory"), "spearman_mean"] > 0.9
    assert board.loc[("ridge", "memory"), "ceiling_share_mean"] == pytest.approx(
        board.loc[("ridge", "memory"), "spearman_mean"] / 0.99**0.5
    )
    # A ridge regression draws nothing, a forest does.
    assert board.loc[("ridge", "luck"), "mae_std"] == 0 < board.loc[("forest", "luck"), "mae_std"]
    importance = run.folder.read_table("importance.csv").set_index("measure")
    assert importance["memory"].sum() == pytest.approx(1)
    assert importance.loc["edges", "memory"] > importance["memory"].median()
    rows = run.results
    assert rows["chosen"].str.contains("rate").any()
    tested = int((tables["wirings"]["split_family"] == "test").sum())
    assert (rows["tested"] == tested).all()
    assert any(
        "predicts no better than the measures do" in note or "predicts better than the measures do" in note for note in run.summary["notes"]
    )
    with pytest.raises(ValueError, match="targets: unknown choice 'beauty'; choose from memory, luck"):
        run_study(WIRINGBENCH, LeaderboardSettings(targets=("beauty",)), quiet=True)


@pytest.mark.parametrize("name", GRAPH_NETWORKS)
def test_graph_networks_learn_from_edges_alone(name: str, made: tuple[pd.DataFrame, list[Data]]) -> None:
    _, graphs = made
    values = np.array([[graph.num_edges, np.nan if place % 5 == 0 else 1.0] for place, graph in enumerate(graphs)], dtype=float)
    places = np.arange(len(graphs))
    problem = Problem(values, {"train": places[::2], "valid": places[1::2], "test": places[1::2]}, pd.DataFrame(), lambda: graphs)
    one = predict_all(name, problem, seed=3, steps=20, batch_size=20)
    # Far better than the mean, on wirings not seen.
    error = np.mean((one.values[1::2, 0] - values[1::2, 0]) ** 2)
    assert error < 0.6 * values[1::2, 0].var()
    assert np.isfinite(one.values).all()
    assert one.values[:, 1] == pytest.approx(1.0)
    if name == "gcn":
        assert np.array_equal(predict_all(name, problem, seed=3, steps=20, batch_size=20).values, one.values)


def test_a_graph_networks_answer_does_not_depend_on_what_stands_beside_it(made: tuple[pd.DataFrame, list[Data]]) -> None:
    from elegans_pyg.recipes.wiring_predictors import _joined, node_features

    graphs = [node_features(graph) for graph in made[1][:6]]
    for name in GRAPH_NETWORKS:
        torch.manual_seed(0)
        network = graph_network(name, graphs[0].x.size(1), 2).eval()
        together = network(_joined(graphs, np.arange(6)))
        alone = torch.cat([network(_joined(graphs, np.array([place]))) for place in range(6)])
        assert torch.allclose(together, alone, atol=1e-4), name


def test_the_example_trains_a_gin(tables: dict[str, pd.DataFrame]) -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 40
    with contextlib.redirect_stdout(io.StringIO()) as said:
        runpy.run_path(str(EXAMPLE))
    assert "'spearman'" in said.getvalue()
    assert "ceiling_share" in said.getvalue()
    assert len(WiringBench("memory", split="family").get_idx_split()["train"]) == 20
