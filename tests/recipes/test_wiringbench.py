"""The leaderboard of WiringBench on wirings whose values are known functions of their edges, and the example."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch_geometric.data import Data

from elegans_pyg.datasets import WiringBench
from elegans_pyg.datasets.wiringbench import tables as published
from elegans_pyg.datasets.wiringbench.wirings import make_wiring, parts, recipes, wiring_hash
from elegans_pyg.recipes import wiring_predictors, wiringbench
from elegans_pyg.recipes.build_wiringbench import structure
from elegans_pyg.recipes.wiring_predictors import GRAPH_NETWORKS, MODELS, Problem, graph_network, predict_all
from elegans_pyg.recipes.wiringbench import WIRINGBENCH, LeaderboardSettings, answers, compare, share_figure
from elegans_pyg.studies import run_study
from tests.recipes.undrawn import learnt

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
    for cached in (wiringbench._problem, wiringbench._graphs, wiring_predictors._featured):
        cached.cache_clear()
    return found


def test_the_leaderboard(tables: dict[str, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LeaderboardSettings(targets=("memory", "luck"), splits=("family",), models=MODELS[:5], seeds=2, epochs=3, batch_size=8)
    run = learnt(WIRINGBENCH, settings, tmp_path / "run", workers=1)
    board = run.folder.read_table("leaderboard.csv").set_index(["model", "target"])
    assert board.loc[("mean", "memory"), "spearman_mean"] == 0
    for model in ("size", "ridge", "forest"):
        assert board.loc[(model, "memory"), "spearman_mean"] > 0.9
    assert board.loc[("ridge", "memory"), "ceiling_share_mean"] == pytest.approx(
        board.loc[("ridge", "memory"), "spearman_mean"] / 0.99**0.5
    )
    # A ridge regression draws nothing and runs once, a forest does.
    assert np.isnan(board.loc[("ridge", "luck"), "mae_std"])
    assert board.loc[("forest", "luck"), "mae_std"] > 0
    importance = run.folder.read_table("importance.csv").set_index("measure")
    assert importance["memory"].sum() == pytest.approx(1)
    assert importance.loc["edges", "memory"] > importance["memory"].median()
    rows = run.results
    assert rows["chosen"].str.contains("rate").any()
    tested = int((tables["wirings"]["split_family"] == "test").sum())
    assert (rows["tested"] == tested).all()
    assert rows.groupby("family")["run"].nunique().to_dict() == {"mean": 1, "size": 1, "ridge": 1, "forest": 2, "gin": 2}
    # By hand: the validation error of a constant, the training part's mean, relative to the variance there.
    own = tables["results"][tables["results"]["target"] == "memory"].groupby("number")["value"].mean().to_numpy()
    train, valid = (own[tables["wirings"]["split_family"] == part] for part in ("train", "valid"))
    error = rows[(rows["family"] == "mean") & (rows["task"] == "memory")]["valid_error"].item()
    assert error == pytest.approx(1 + (train.mean() - valid.mean()) ** 2 / valid.var())
    assert len(run.folder.read_table("comparison.csv")) == 3
    assert run.summary["answer"][0].startswith("family split: graph networks reach")
    assert (tmp_path / "run" / "figures" / "leaderboard.png").is_file()
    script = runpy.run_path(str(EXAMPLE.parents[1] / "scripts" / "build_wiringbench.py"))
    card = script["leaderboard_text"](tmp_path / "run", tables["wirings"])
    assert "(wiringbench/leaderboard.svg)" in card
    assert "| family | all | chosen " in card
    monkeypatch.setitem(script["leaderboard_text"].__globals__, "bench_hash", lambda settings: {"results": "others"})
    with pytest.raises(ValueError, match="leaderboard: expected a run on the tables of this build"):
        script["leaderboard_text"](tmp_path / "run", tables["wirings"])
    with pytest.raises(ValueError, match="targets: unknown choice 'beauty'; choose from memory, luck"):
        run_study(WIRINGBENCH, LeaderboardSettings(targets=("beauty",)), quiet=True)


def test_each_side_is_chosen_by_validation_error_and_compared_over_runs() -> None:
    """Three runs of networks and forests, one of ridge; the network with the better test scores has the larger validation error."""
    shares = {"gin": (0.9, 0.91, 0.92), "gcn": (0.70, 0.72, 0.77), "forest": (0.2, 0.3, 0.1), "ridge": (0.6,)}
    errors = {"gin": 0.5, "gcn": 0.4, "forest": 0.9, "ridge": 0.8}
    rows = pd.DataFrame(
        [
            {
                "split": "random",
                "family": model,
                "task": task,
                "run": run,
                "ceiling_share": share - place * 0.15,
                "valid_error": errors[model],
            }
            for model, runs in shares.items()
            for place, task in enumerate(("memory", "luck"))
            for run, share in enumerate(runs)
        ]
    )
    # Of luck, the forest stands for the measures.
    rows.loc[(rows["family"] == "forest") & (rows["task"] == "luck"), "valid_error"] = 0.1
    table = compare(rows).set_index("target")
    assert table.loc["memory", ["network", "other"]].tolist() == ["gcn", "ridge"]
    assert table.loc["luck", ["network", "other"]].tolist() == ["gcn", "forest"]
    found = table.loc["memory", ["low", "high"]].tolist()
    assert found == pytest.approx(stats.ttest_1samp(np.array(shares["gcn"]) - 0.6, 0).confidence_interval())
    luck = stats.ttest_ind(np.array(shares["gcn"]), shares["forest"], equal_var=False)
    assert table.loc["luck", ["low", "high"]].tolist() == pytest.approx(luck.confidence_interval())
    network, other = np.array(shares["gcn"]) - 0.075, (0.6 + np.array(shares["forest"]) - 0.15) / 2
    assert table.loc["all", "difference"] == pytest.approx(network.mean() - other.mean())
    said = answers(table.reset_index())
    assert said[0].endswith("; graph networks predict better.")
    assert said[1:] == ["Graph networks predict better by target, random split: memory, luck."]
    # No verdict where an interval includes 0, or where there is none.
    wide = table.reset_index().assign(low=-0.1)
    assert [text.rpartition(")")[2] for text in answers(wide)] == ["."]
    single = compare(rows[rows["run"] == 0])
    assert single["low"].isna().all()
    assert len(answers(single)) == 1
    assert "95 %" not in answers(single)[0]
    assert compare(rows[rows["family"] != "gcn"])["network"].tolist() == ["gin", "gin", "chosen"]
    assert compare(rows[rows["family"].isin(GRAPH_NETWORKS)]).empty
    drawn = {line.get_ydata()[0]: line.get_xdata() for line in share_figure(rows).axes[0].get_lines() if line.get_linewidth() == 2}
    assert drawn[1] == pytest.approx(stats.ttest_1samp(np.array(shares["gcn"]) - 0.075, 0).confidence_interval())
    assert np.isnan(drawn[3]).all()


@pytest.mark.parametrize("name", GRAPH_NETWORKS)
def test_graph_networks_learn_from_edges_alone(name: str, made: tuple[pd.DataFrame, list[Data]]) -> None:
    _, graphs = made
    values = np.array([[graph.num_edges, np.nan if place % 5 == 0 else 1.0] for place, graph in enumerate(graphs)], dtype=float)
    places = np.arange(len(graphs))
    problem = Problem(values, {"train": places[::2], "valid": places[1::2], "test": places[1::2]}, pd.DataFrame(), lambda: graphs)
    one = predict_all(name, problem, seed=3, epochs=20, batch_size=20)
    # Far better than the mean, on wirings not seen.
    error = np.mean((one.values[1::2, 0] - values[1::2, 0]) ** 2)
    assert error < 0.6 * values[1::2, 0].var()
    assert np.isfinite(one.values).all()
    assert one.values[:, 1] == pytest.approx(1.0)
    if name == "gcn":
        # The first epoch is made at both learning rates, the others at one.
        rate, epoch = re.fullmatch(r"rate (0\.\d+), epoch (\d+)", one.chosen[0]).groups()
        assert float(rate) in wiring_predictors.LEARNING_RATES
        assert 1 < int(epoch) <= 20
        assert np.array_equal(predict_all(name, problem, seed=3, epochs=20, batch_size=20).values, one.values)


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
