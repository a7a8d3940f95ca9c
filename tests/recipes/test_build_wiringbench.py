"""The study behind WiringBench: its targets against what they are made from, its reliability against a simulation, and resuming."""

from __future__ import annotations

import math
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from elegans_pyg import datasets
from elegans_pyg.datasets.wiringbench import tables
from elegans_pyg.datasets.wiringbench.wirings import make_wiring, recipes, wiring_hash
from elegans_pyg.models import ConnectomeClassifier
from elegans_pyg.recipes import build_wiringbench, wiring_targets
from elegans_pyg.recipes.build_wiringbench import BUILD_WIRINGBENCH, BuildSettings, reliability
from elegans_pyg.recipes.wiring_targets import GROUPS, measure_group, measure_propagation
from elegans_pyg.studies import load_run, machine, run_study
from elegans_pyg.training import FitSettings, fit

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def two() -> list[Data]:
    """A wiring of 80 neurons with cycles, and a DAG."""
    plan = recipes()
    small = plan[(plan["base"] == "witvliet2021-1") & (plan["share"] == 0.5) & (plan["family"] == "rewired")]
    dag = plan[(plan["base"] == "witvliet2021-1") & (plan["family"] == "random_dag")]
    return [make_wiring(next(own.itertuples())) for own in (small, dag)]


def test_reliability_is_found_again() -> None:
    rng = np.random.default_rng(3)
    wiring = rng.normal(size=400)
    rows = pd.DataFrame({"number": np.repeat(np.arange(400), 4), "base": "one", "family": "er"})
    rows = rows.assign(share=1.0, fraction=np.nan, p=np.nan, density=np.nan)
    rows["noisy"] = np.repeat(wiring, 4) + 2 * rng.normal(size=1_600)
    rows["fixed"] = np.where(np.arange(1_600) % 4 == 0, np.repeat(wiring, 4), np.nan)
    rows["none"] = np.nan
    table = reliability(rows, ["noisy", "fixed", "none"]).set_index("target")
    # One run: 1 / (1 + 4); the mean of four: 1 / (1 + 1).
    assert table.loc["noisy", "icc"] == pytest.approx(0.2, abs=0.05)
    assert table.loc["noisy", "low"] < 0.5 < table.loc["noisy", "high"]
    assert not table.loc["noisy", "ranked"]
    assert table.loc["noisy", "repeats_needed"] == pytest.approx(16, abs=5)
    assert table.loc["none", ["wirings", "ranked"]].tolist() == [0, False]
    # Recipes that differ raise the reliability over all, and not that within recipes, which is that of one recipe.
    assert table.loc["noisy", "within"] == pytest.approx(table.loc["noisy", "reliability"], abs=1e-6)
    of_two = rows.assign(base=np.where(rows["number"] < 200, "one", "two"), noisy=rows["noisy"] + 5 * (rows["number"] < 200))
    apart = reliability(of_two, ["noisy"]).iloc[0]
    assert apart["reliability"] > 0.8
    assert apart["within"] == pytest.approx(0.5, abs=0.1)
    alone = reliability(rows.assign(density=rows["number"]), ["noisy"]).iloc[0]
    assert math.isnan(alone["within"])
    assert table.loc["fixed", ["icc", "reliability", "repeats", "ranked"]].tolist() == [1.0, 1.0, 1, True]


def test_reservoirs_score_what_differs_between_their_runs(two: list[Data], monkeypatch: pytest.MonkeyPatch) -> None:
    cyclic, dag = two
    scores = measure_group("reservoir", [cyclic, dag, cyclic, cyclic], [1, 1, 2, 1])
    for values in scores.values():
        assert math.isnan(values[1])
        assert values[0] == values[3] != values[2]
    monkeypatch.setattr(datasets.SequenceTask, "score", lambda task, predictions, segment: torch.full((len(predictions),), 44.7))
    failed = measure_group("reservoir", [cyclic], [1])
    assert {name: values.item() for name, values in failed.items()} == pytest.approx(
        {"memory": 44.7, "narma10": 1, "mackey-glass": 1, "lorenz": 1, "parity": 44.7}
    )


def test_the_gradient_at_the_start_is_that_of_each_classifier_alone(two: list[Data], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring_targets, "EXECUTOR", "levels")
    seeds = [5, 6]
    together = measure_group("start", two, seeds)
    alone = [measure_group("start", [graph], [seed]) for graph, seed in zip(two, seeds, strict=True)]
    for name, values in together.items():
        assert values == pytest.approx([own[name][0] for own in alone], rel=1e-5)
    # By finite differences, along the gradient's own direction: its norm is the slope there.
    images = datasets.load_images("digits", quiet=True)
    dag = wiring_targets.as_dags(two)[1]
    model = ConnectomeClassifier([dag], 1, 10, wiring_targets.CHANNELS, seeds=[6], executor="scatter").double()
    pixels = images.train_images[:100].double() / 255 - 0.5

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(pixels)[0], images.train_labels[:100])

    weight = model.dag.edge_weight
    (gradient,) = torch.autograd.grad(loss(), weight)
    with torch.no_grad():
        step = 1e-6 * gradient / gradient.norm()
        weight += step
        high = float(loss())
        weight -= 2 * step
        slope = (high - float(loss())) / 2e-6
    assert together["gradient"][1] == pytest.approx(math.log10(slope), abs=1e-3)


def test_digits_and_recurrent_networks_are_scored_at_their_budgets(two: list[Data], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RNN_ITERATIONS": 3, "BUDGETS": (2, 4, 8), "EXECUTOR": "levels"}.items():
        monkeypatch.setattr(wiring_targets, name, value)
    seeds = [1, 2]
    digits, rows = wiring_targets.measure_digits(wiring_targets.as_dags(two), seeds), measure_group("rnn", two, seeds)
    assert list(digits) == [f"digits-{name}-{budget}" for name in ("accuracy", "loss") for budget in (2, 4, 8)]
    for scores in (digits, rows):
        for name, values in scores.items():
            assert ((values > 0) & (values < (1 if "accuracy" in name else 5))).all(), name
    # A loss is the mean since the budget before: here over two, two and four steps of a run by hand.
    images = datasets.load_images("digits", quiet=True)
    model = ConnectomeClassifier(wiring_targets.as_dags(two), 1, 10, wiring_targets.CHANNELS, seeds=seeds, executor="levels")
    settings = FitSettings(
        iterations=8, batch_size=wiring_targets.DIGITS_BATCH, lr_decay=1.0, eval_every=1, validation_fraction=0.25, device="cpu"
    )
    metrics = fit(model, images, settings, quiet=True).metrics
    losses = metrics[metrics["split"] == "train"].pivot(index="variant", columns="iteration", values="loss").to_numpy()
    for name, steps in {"digits-loss-2": slice(0, 2), "digits-loss-4": slice(2, 4), "digits-loss-8": slice(4, 8)}.items():
        assert digits[name] == pytest.approx(losses[:, steps].mean(axis=1), rel=1e-4)


def test_propagation_is_the_area_under_the_curve_of_the_linear_response(two: list[Data], monkeypatch: pytest.MonkeyPatch) -> None:
    graph = two[0]
    nodes = graph.num_nodes
    generator = torch.Generator().manual_seed(4)
    q, seen = torch.rand(nodes, nodes, generator=generator), torch.rand(nodes, nodes, generator=generator) < 0.2
    atlas = type("Atlas", (), {"align": lambda self, wiring: Data(q=q, pair_mask=seen, num_nodes=nodes)})
    monkeypatch.setattr(datasets, "SignalPropagation", atlas)
    (found,) = measure_propagation([graph], [0])["propagation"]
    # A series of walks in place of the inverse; pairs counted one by one.
    weight = np.zeros((nodes, nodes))
    for (a, b), w in zip(graph.edge_index.T.tolist(), graph.edge_weight.tolist(), strict=True):
        weight[a, b] = w if a != b else 0.0
    into = weight.sum(0)
    # The gain as a model holds it, in single precision, which tells a step from two half as strong.
    gain = 0.95 * math.tanh(np.float32(math.atanh(wiring_targets.RESPONSE_GAIN / 0.95)))
    step = gain * weight / np.maximum(into, 1)
    response, walk = np.eye(nodes), np.eye(nodes)
    for _ in range(80):
        walk = walk @ step
        response += walk
    hit, miss = (response[(seen & side).numpy()] for side in (q < 0.05, q >= 0.05))
    higher = np.mean([(high > miss + 1e-12).mean() + 0.5 * (np.abs(high - miss) <= 1e-12).mean() for high in hit])
    assert found == pytest.approx(higher, abs=1e-6)


@pytest.mark.drawn
def test_a_build_is_resumed_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    def quick(name: str, graphs: list[Data], seeds: list[int]) -> dict[str, np.ndarray]:
        asked.append(name)
        if len(asked) == 4:
            raise KeyboardInterrupt
        edges = np.array([graph.num_edges for graph in graphs], dtype=float)
        return {target: edges + np.array(seeds) % 5 / 16 for target in GROUPS[name].targets}

    monkeypatch.setattr(build_wiringbench, "measure_group", quick)
    settings = BuildSettings(every=1_600, groups=("reservoir", "propagation"))
    with pytest.raises(KeyboardInterrupt):
        run_study(BUILD_WIRINGBENCH, settings, tmp_path / "run", quiet=True, workers=1)
    # On a machine without Numba it is several times slower, and says what is missing.
    here = machine.versions()
    monkeypatch.setattr(machine, "versions", lambda: {name: own for name, own in here.items() if name != "numba"})
    run_study(BUILD_WIRINGBENCH, settings, tmp_path / "run", resume=True, quiet=True, workers=1)
    assert ("numba" in here) == (f"numba {here.get('numba')} -> None" in " ".join(capsys.readouterr().err.split()))
    run = load_run(tmp_path / "run")
    rows, wirings = run.results, run.results.drop_duplicates("number")
    # What was there was read, and what was under way came again.
    assert asked.count("reservoir") == asked.count("propagation") - (asked[3] == "propagation") + (asked[3] == "reservoir") == len(wirings)
    assert len(rows) == len(wirings) * build_wiringbench.REPEATS
    known = [build_wiringbench.build_data(BuildSettings(groups=groups)) for groups in (("rnn",), ("rnn", "propagation"))]
    assert set(known[1]) - set(known[0]) == {"wild-type", "unc-31"}
    plan = recipes()
    for row in wirings.itertuples():
        recipe = next(plan.iloc[[row.number]].itertuples())
        graph = make_wiring(recipe)
        assert row.sha256 == wiring_hash(graph)
        own = rows[rows["number"] == row.number]
        assert own["memory"].round().eq(graph.num_edges).all()
        assert own["propagation"].notna().tolist() == [True] + [False] * (build_wiringbench.REPEATS - 1)
    table = run.folder.read_table("reliability.csv").set_index("target")
    assert table["ranked"].all()
    measures = run.folder.read_table("measures.csv")
    assert (measures["edges"] + measures["self_loops"]).tolist() == wirings["edges"].tolist()
    assert measures["nodes"].tolist() == wirings["neurons"].tolist()
    assert measures["levels"].gt(1).all()

    # What is published of it.
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=lambda folder, names: set(names) - {"wiringbench.md"})
    script = runpy.run_path(str(ROOT / "scripts" / "build_wiringbench.py"))
    main = script["main"]
    monkeypatch.setitem(main.__globals__, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["build", "--run", str(tmp_path / "run"), "--every", "1600", "--groups", "reservoir,propagation"])
    main()
    card = (tmp_path / "docs" / "wiringbench.md").read_text()
    assert f"version 0.1.0:** {len(wirings)} of 3,201 wirings" in card
    assert "![Reliability of each target, with the least of a ranked one](wiringbench/reliability.svg)" in card
    assert "<svg" in (tmp_path / "docs" / "wiringbench" / "reliability.svg").read_text()
    assert "Not run yet on these wirings: the test parts have " in card
    folder = tmp_path / "data" / "wiringbench"
    assert {path.name for path in folder.iterdir()} == {"README.md", "croissant.json", *(f"{name}.parquet" for name in tables.TABLES)}
    assert f"{len(wirings)} of 3,201" in " ".join((folder / "README.md").read_text().split())
    assert pd.read_parquet(folder / "wirings.parquet")["sha256"].tolist() == wirings["sha256"].tolist()
