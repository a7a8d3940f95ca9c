"""WiringBench: its wirings against their hashes, its tables against what is served, and its OGB form."""

from __future__ import annotations

import hashlib
import json
import math
import runpy
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import rankdata
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from elegans_pyg._files import data_folder
from elegans_pyg.datasets import Connectome, WiringBench
from elegans_pyg.datasets.wiringbench import Evaluator, dataset, read_ogb, tables, to_ogb
from elegans_pyg.datasets.wiringbench.wirings import BASES, FAMILY_PARTS, SIZE_PARTS, make_wiring, recipes, wiring_hash
from elegans_pyg.recipes.wiring_targets import BUDGETS
from elegans_pyg.studies.settings import CONTROL_FAMILIES
from elegans_pyg.transforms import Rewired

TARGET = "memory"
ROOT = Path(__file__).parents[2]
BUILD, DOCS = ROOT / "scripts" / "build_wiringbench.py", ROOT / "docs"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The published tables cut to 12 wirings, so that they are made in no time; a cache of their own."""
    published = {name: WiringBench.table(name) for name in tables.TABLES}
    numbers = published["wirings"]["number"].iloc[:: max(1, len(published["wirings"]) // 12)].head(12)
    cut = {name: table[table["number"].isin(numbers)].reset_index(drop=True) for name, table in published.items() if "number" in table}
    monkeypatch.setattr(tables, "read", lambda name: cut.get(name, published[name]))
    monkeypatch.setenv("ELEGANS_PYG_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_the_plan_has_what_the_card_says() -> None:
    plan = recipes()
    assert len(plan) == 3_201
    # Shuffled names leave the graph and its types as they are, and with them what a network achieves.
    assert set(plan["family"]) == {"connectome", *CONTROL_FAMILIES} - {"names_shuffled"}
    assert set(plan["base"]) == set(BASES)
    assert len(BASES) == 11
    drawn = plan[plan["family"] != "connectome"]
    assert not drawn["wiring_seed"].duplicated().any()
    assert (plan.groupby("base").size() == 291).all()
    for family in ("rewired", "type_rewired", "random_rewired"):
        assert set(plan.loc[plan["family"] == family, "fraction"]) == {0.05, 0.1, 0.2, 0.4, 0.7, 1.0}
    # More draws leave those there are as they were.
    more = recipes(draws=8)
    assert len(plan.merge(more)) == len(plan)


def test_the_hash_is_of_the_edges_and_the_neurons_types() -> None:
    herm = Connectome()[0]
    order = torch.randperm(herm.num_nodes, generator=torch.Generator().manual_seed(1))
    place = torch.empty_like(order)
    place[order] = torch.arange(herm.num_nodes)
    shuffled = torch.randperm(herm.num_edges, generator=torch.Generator().manual_seed(2))
    other = Data(
        edge_index=place[herm.edge_index][:, shuffled],
        edge_weight=herm.edge_weight[shuffled],
        neuron_name=[herm.neuron_name[neuron] for neuron in order],
        neuron_type=herm.neuron_type[order],
        num_nodes=herm.num_nodes,
    )
    assert wiring_hash(other) == wiring_hash(herm)
    heavier = herm.clone()
    heavier.edge_weight[5] += 1
    turned = herm.clone()
    turned.edge_index = turned.edge_index.flip(0)
    retyped = herm.clone()
    retyped.neuron_type = herm.neuron_type.flip(0)
    nameless = Data(edge_index=place[herm.edge_index], edge_weight=herm.edge_weight, num_nodes=herm.num_nodes)
    assert len({wiring_hash(graph) for graph in (herm, heavier, turned, retyped, nameless)}) == 5
    # By hand, of two neurons.
    tiny = Data(edge_index=torch.tensor([[1, 0], [0, 1]]), neuron_name=["b", "a"], neuron_type=torch.tensor([2, 1]), num_nodes=2)
    columns = (np.array([1, 2], "<i4"), np.array([0, 1], "<i4"), np.array([1, 0], "<i4"), np.zeros(2, "<i4"), np.ones(2, "<f4"))
    assert wiring_hash(tiny) == hashlib.sha256(b"2 neurons, 2 edges" + b"".join(column.tobytes() for column in columns)).hexdigest()


def test_a_part_of_the_neurons_keeps_its_share_of_each_type_and_all_edges_between() -> None:
    plan = recipes()
    recipe = next(plan[(plan["share"] == 0.5) & (plan["family"] == "connectome")].itertuples())
    part, whole = make_wiring(recipe), Connectome(recipe.base)[0]
    for kind, count in zip(*np.unique(whole.neuron_type, return_counts=True), strict=True):
        assert int((part.neuron_type == kind).sum()) == max(1, round(0.5 * count))
    kept = set(part.neuron_name)
    names = np.array(whole.neuron_name)
    expected = {
        (a, b, w) for (a, b), w in zip(names[whole.edge_index.T], whole.edge_weight.tolist(), strict=True) if a in kept and b in kept
    }
    own = np.array(part.neuron_name)[part.edge_index.T]
    assert {(a, b, w) for (a, b), w in zip(own, part.edge_weight.tolist(), strict=True)} == expected


def test_the_tables_are_as_published() -> None:
    found = {name: WiringBench.table(name) for name in tables.TABLES}
    folder = data_folder("wiringbench")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2 * 2**20
    wirings, results, targets = found["wirings"], found["results"], found["targets"]
    assert not wirings["sha256"].duplicated().any()
    assert set(results["number"]) <= set(wirings["number"])
    assert list(found["measures"]["number"]) == list(wirings["number"])
    assert np.isfinite(found["measures"].to_numpy()).all()
    assert set(results["target"]) == set(targets["target"])
    assert not results.duplicated(["number", "target", "repeat"]).any()
    assert (targets["ranked"] == (targets["reliability"] >= 0.8)).all()
    assert set(targets.loc[targets["more_is_better"].isna(), "target"]) == {"gradient", "jacobian"}
    assert not targets.set_index("target").loc[["narma10", "rnn-loss"], "more_is_better"].any()
    assert len(wirings.merge(recipes().drop(columns="wiring_seed"))) == len(wirings)
    described = json.loads((folder / "croissant.json").read_text())
    for record in described["recordSet"]:
        assert [field["name"] for field in record["field"]] == list(found[record["name"]])


def test_the_metadata_follow_from_the_tables(tmp_path: Path) -> None:
    build = runpy.run_path(str(BUILD))
    published = json.loads((data_folder("wiringbench") / "croissant.json").read_text())["datePublished"]
    build["write_data"]({name: WiringBench.table(name) for name in tables.TABLES}, tmp_path, published)
    assert (tmp_path / "README.md").read_text() == (data_folder("wiringbench") / "README.md").read_text()
    again, known = (json.loads((folder / "croissant.json").read_text()) for folder in (tmp_path, data_folder("wiringbench")))
    for file in (*again["distribution"], *known["distribution"]):
        # Other versions of pyarrow write the same tables in other bytes.
        del file["sha256"]
    assert again == known
    # All that Croissant 1.0 asks of a data set.
    assert {"@context", "@type", "conformsTo", "name", "description", "license", "url", "creator", "datePublished"} <= set(known)
    for name in tables.TABLES:
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / f"{name}.parquet"), WiringBench.table(name))


def test_a_pilot_is_called_one() -> None:
    pilot = len(WiringBench.table("wirings")) < len(recipes())
    assert ("A pilot, version" in (DOCS / "wiringbench.md").read_text()) == pilot
    assert ("This is a pilot" in (data_folder("wiringbench") / "README.md").read_text()) == pilot
    pages = {page.name: page.read_text().splitlines() for page in DOCS.glob("*.md") if page.name != "wiringbench.md"}
    called = [name for name, lines in pages.items() if any("WiringBench" in line and "pilot" in line for line in lines)]
    assert pilot or not called, f"the pilot is over, but not for {called}"


def test_losses_are_more_reliable_than_accuracies() -> None:
    """As docs/what_did_not_work.md says."""
    one_run = WiringBench.targets().set_index("target")["icc"]
    for budget in BUDGETS:
        assert one_run[f"digits-accuracy-{budget}"] < one_run[f"digits-loss-{budget}"]


@pytest.mark.slow
def test_all_wirings_are_made_in_20_s_and_read_again_in_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = recipes().reset_index(names="number")
    started = time.process_time()
    graphs = [make_wiring(recipe) for recipe in plan.itertuples()]
    assert time.process_time() - started < 20
    wirings = plan.assign(sha256=[wiring_hash(graph) for graph in graphs])
    assert not wirings["sha256"].duplicated().any()
    results = pd.DataFrame({"number": plan["number"], "repeat": 0, "target": TARGET, "value": np.arange(len(plan), dtype=np.float32)})
    found = {"wirings": wirings, "results": results, "targets": WiringBench.targets()}
    monkeypatch.setattr(tables, "read", found.__getitem__)
    monkeypatch.setenv("ELEGANS_PYG_CACHE", str(tmp_path))
    monkeypatch.setattr(dataset, "make_wiring", lambda recipe: graphs[recipe.number])
    first = WiringBench(TARGET)
    started = time.process_time()
    again = WiringBench(TARGET)
    assert time.process_time() - started < 2
    assert len(again) == len(plan)
    assert torch.equal(again[-1].edge_index, first[-1].edge_index)


def test_what_is_served_is_what_was_measured(few: Path) -> None:
    bench = WiringBench(TARGET)
    results, wirings = WiringBench.table("results"), WiringBench.table("wirings").set_index("number")
    own = results[results["target"] == TARGET]
    assert [int(data.number) for data in bench] == sorted(own["number"].unique())
    for data in bench:
        row, number = wirings.loc[int(data.number)], int(data.number)
        assert wiring_hash(data) == row["sha256"]
        assert (data.num_nodes, data.num_edges, data.family) == (row["neurons"], row["edges"], row["family"])
        values = own.loc[own["number"] == number].sort_values("repeat")["value"].to_numpy()
        assert np.array_equal(data.repeats[0].numpy(), values)
        assert float(data.y) == pytest.approx(values.mean(), rel=1e-6)
        assert torch.equal(data.x.argmax(1), data.neuron_type)
        assert data.validate()
    herm = Connectome()[0]
    first = bench[0]
    for name in ("edge_index", "edge_weight", "edge_type", "x", "neuron_type", "inhibitory"):
        assert torch.equal(first[name], herm[name])
    assert first.neuron_name == herm.neuron_name


def test_it_is_a_data_set_of_pyg(few: Path) -> None:
    bench = WiringBench(TARGET)
    assert (bench.num_features, bench.num_node_features) == (6, 6)
    graphs = list(bench)
    batch = next(iter(DataLoader(bench, batch_size=len(bench))))
    alone = Batch.from_data_list(graphs)
    for name in ("x", "edge_index", "y", "repeats", "ptr"):
        assert torch.equal(batch[name].nan_to_num(), alone[name].nan_to_num())
    assert batch.y.shape == (len(bench), 1)
    picked = bench[torch.tensor([3, 1])]
    assert [int(data.number) for data in picked] == [int(graphs[3].number), int(graphs[1].number)]
    assert torch.equal(picked.y, torch.cat([graphs[3].y, graphs[1].y]))
    copied = picked.copy()
    assert torch.equal(copied[0].edge_index, graphs[3].edge_index)
    assert copied[0].num_nodes == graphs[3].num_nodes
    shuffled, order = bench.shuffle(return_perm=True)
    assert [int(data.number) for data in shuffled] == [int(graphs[place].number) for place in order]
    twice = WiringBench(TARGET, pre_transform=lambda data: data.update({"y": 2 * data.y}), pre_filter=lambda data: data.num_nodes < 200)
    assert {int(data.number): float(data.y) / 2 for data in twice} == {
        int(data.number): float(data.y) for data in graphs if data.num_nodes < 200
    }


def test_wirings_are_made_once_and_a_damaged_cache_is_noticed(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = list(WiringBench(TARGET))
    (file,) = (few / "cache").rglob("*.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "make_wiring", lambda recipe: pytest.fail("made again"))
        again = list(WiringBench(TARGET))
    assert all(torch.equal(a.edge_index, b.edge_index) and a.neuron_name == b.neuron_name for a, b in zip(first, again, strict=True))
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.warns(UserWarning, match="generated again"):
        mended = list(WiringBench(TARGET))
    assert all(torch.equal(a.edge_weight, b.edge_weight) for a, b in zip(first, mended, strict=True))


def test_a_changed_generator_is_noticed(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redraw = Rewired.redraw
    monkeypatch.setattr(Rewired, "redraw", lambda self, edges, kinds, rng: redraw(self, edges, kinds, np.random.default_rng(1)))
    with pytest.raises(ValueError, match=r"wirings: expected wiring \d+ \(\w+ of .*measured edges, got others; use the package version"):
        WiringBench(TARGET)
    assert not list((few / "cache").rglob("*.safetensors"))


def test_splits() -> None:
    wirings = WiringBench.table("wirings")
    for split in ("random", "family", "size"):
        assert set(wirings[f"split_{split}"]) <= {"train", "valid", "test"}
    assert (wirings["split_family"] == [FAMILY_PARTS.get(family, "train") for family in wirings["family"]]).all()
    largest = wirings.groupby("split_size")["neurons"].max()
    assert largest["train"] <= SIZE_PARTS[0] < wirings.loc[wirings["split_size"] == "test", "neurons"].min()


def test_positions_of_the_parts(few: Path) -> None:
    bench = WiringBench(TARGET, split="family")
    part = bench.get_idx_split()
    assert sorted(torch.cat(list(part.values())).tolist()) == list(range(len(bench)))
    assert {data.family for data in bench[part["test"]]} <= {"ba", "type_rewired", "random_dag"}
    some = bench[torch.arange(2, 8)]
    assert sorted(torch.cat(list(some.get_idx_split("random").values())).tolist()) == list(range(6))
    with pytest.raises(ValueError, match="split"):
        bench.get_idx_split("alphabet")


def test_a_wiring_is_found_whoever_made_it() -> None:
    herm = Connectome()[0]
    found = WiringBench.query(herm)
    results = WiringBench.table("results")
    own = results[(results["number"] == 0) & (results["target"] == TARGET)]["value"]
    row = found.set_index("target").loc[TARGET]
    assert row["number"] == 0
    assert row["repeats"] == len(own)
    assert row["mean"] == pytest.approx(own.mean())
    with pytest.raises(ValueError, match=r"wiring: expected one of the [\d,]+ wirings measured"):
        WiringBench.query(Rewired(seed=123)(herm))


def test_a_changed_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(data_folder("wiringbench"), tmp_path / "wiringbench")
    pd.DataFrame({"target": ["mine"]}).to_parquet(tmp_path / "wiringbench" / "targets.parquet")
    monkeypatch.setattr(tables, "data_folder", lambda kind: tmp_path / kind)
    tables.read.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"expected the table described in croissant\.json"):
            WiringBench.table("targets")
    finally:
        tables.read.cache_clear()


def test_the_evaluator_has_ogbs_input_and_output() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(40, 1))
    predicted = true + rng.normal(size=(40, 1))
    scores = Evaluator(TARGET).eval({"y_true": torch.from_numpy(true), "y_pred": predicted})
    ranks = np.corrcoef(rankdata(true), rankdata(predicted))[0, 1]
    reliability = float(WiringBench.targets().set_index("target").loc[TARGET, "reliability"])
    assert scores["spearman"] == pytest.approx(ranks)
    assert scores["r2"] == pytest.approx(1 - np.mean((true - predicted) ** 2) / np.var(true))
    assert scores["mae"] == pytest.approx(np.mean(np.abs(true - predicted)))
    assert scores["ceiling_share"] == pytest.approx(ranks / math.sqrt(reliability))
    assert Evaluator(TARGET).eval({"y_true": true, "y_pred": np.zeros((40, 1))})["spearman"] == 0
    with pytest.raises(ValueError, match="y_pred: expected finite numbers"):
        Evaluator(TARGET).eval({"y_true": true, "y_pred": predicted[:, 0]})
    with pytest.raises(ValueError, match="y_true: expected"):
        Evaluator(TARGET).eval({"y_pred": predicted})
    with pytest.raises(ValueError, match="target"):
        Evaluator("beauty")


@pytest.mark.ogb
def test_ogb_reads_it_back(few: Path) -> None:
    pytest.importorskip("ogb", reason="needs the extra ogb")
    bench = WiringBench(TARGET, split="family")
    meta = bench.to_ogb(few / "ogb")
    again = read_ogb(f"ogbg-wiringbench-{TARGET}", meta)
    assert len(again) == len(bench)
    for ours, theirs in zip(bench, again, strict=True):
        assert torch.equal(ours.edge_index, theirs.edge_index)
        assert torch.equal(ours.neuron_type, theirs.x[:, 0])
        assert torch.equal(ours.edge_weight, theirs.edge_attr[:, 0])
        assert torch.allclose(ours.y, theirs.y)
        assert ours.num_nodes == theirs.num_nodes
    for split in (None, "random", "family", "size"):
        for part, positions in bench.get_idx_split(split).items():
            assert torch.equal(again.get_idx_split(split)[part], positions)
    # Read again, now from what it has processed, and nothing stays allowed.
    assert len(read_ogb(f"ogbg-wiringbench-{TARGET}", meta)) == len(bench)
    assert Data not in torch.serialization.get_safe_globals()
    with pytest.raises(FileExistsError, match="folder: expected a folder without this data set"):
        to_ogb(bench, few / "ogb")
