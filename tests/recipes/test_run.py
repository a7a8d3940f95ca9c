from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import networkx as nx
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from elegans_pyg.datasets import Connectome, load_images
from elegans_pyg.recipes import run as run_module
from elegans_pyg.recipes.config import RunConfig
from elegans_pyg.recipes.run import build_variants, run
from elegans_pyg.recipes.run_folder import RunFolder
from elegans_pyg.recipes.saved_runs import compare_runs, join_runs, redraw
from elegans_pyg.training import fit
from tests.recipes.tiny import tiny_config


@pytest.fixture
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of a short run's time."""
    monkeypatch.setattr(run_module, "draw_figures", lambda *_: [])


def test_variants_do_not_depend_on_their_company(tmp_path: Path) -> None:
    few, _ = build_variants(tiny_config(tmp_path, families=["rewired"], seeds=1))
    many, variants = build_variants(tiny_config(tmp_path, families=["er", "rewired"], seeds=2, variants=2, repeats=2))
    assert variants["family"].tolist() == ["connectome"] * 2 + ["er"] * 4 + ["rewired"] * 4
    assert variants["variant"].tolist() == list(range(10))
    assert torch.equal(few.get_example(1).edge_index, many.get_example(6).edge_index)
    assert not torch.equal(many.get_example(6).edge_index, many.get_example(8).edge_index)
    controls = variants[variants["family"] == "rewired"]
    assert controls["wiring_seed"].nunique() == 2
    assert controls["seed"].tolist() == [seed + repeat for seed in controls["wiring_seed"].unique() for repeat in range(2)]
    assert set(variants["wiring_seed"][:2]) == {0}
    assert variants["seed"].is_unique


def test_another_connectome_trains_beside_the_first(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, neuron_table=None, connectome="witvliet2021-1", beside=["witvliet2021-2"], families=[], seeds=1)
    batch, variants = build_variants(config)
    assert variants["family"].tolist() == ["connectome", "witvliet2021-2"]
    assert batch.get_example(1).neuron_name == Connectome("witvliet2021-2")[0].neuron_name


def test_random_wirings_are_drawn_anew_for_every_run(tmp_path: Path) -> None:
    batch, variants = build_variants(tiny_config(tmp_path, wiring="random", families=[], seeds=2))
    assert variants["wiring_seed"].nunique() == 2
    assert not torch.equal(batch.get_example(0).edge_index, batch.get_example(1).edge_index)


def test_matching_leaves_alone_families_without_a_density(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, connectome="witvliet2021-1", neuron_table=None, match="dag", seeds=1)
    batch, _ = build_variants(config)
    edges = [batch.get_example(number).num_edges for number in range(3)]
    assert abs(edges[1] - edges[0]) <= 0.01 * edges[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connectome": "cook2020"}, "name must be one of cook2019-hermaphrodite"),
        ({"connectome": "no/such.csv"}, r"no/such\.csv"),
        ({"families": ["lattice"]}, "family: expected one of connectome, ws"),
        ({"family_options": {"rewired": {"share": 1}}}, "share: expected an option of family 'rewired'"),
        ({"dataset": "imagenet"}, "expected one of digits"),
        ({"edge_activation": "tanh"}, "edge_activation must be one of"),
        ({"executor": "warp"}, "executor must be one of"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_written(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    out = tmp_path / "out"
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        run(tiny_config(tmp_path, **changes), out, quiet=True)
    assert not out.exists()


def test_two_families_cannot_have_one_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"beside: 'other/er\.csv' would be known as 'er'"):
        build_variants(tiny_config(tmp_path, beside=["other/er.csv"]))


def test_a_run_leaves_everything_behind(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    result = run(config, tmp_path / "out", quiet=True)
    folder = RunFolder(tmp_path / "out")
    assert {path.name for path in folder.path.iterdir()} == {
        *("config.yaml", "metrics.csv", "results.csv", "predictions.safetensors", "summary.json", "checkpoint", "figures")
    }
    assert folder.read_config() == config.with_absolute_paths()
    assert len(result.figures) >= 6
    for figure in result.figures:
        assert figure.with_name(figure.name + ".png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in figure.with_name(figure.name + ".svg").read_text()[:600]
    assert {"families", "accuracy", "confusion", "dag-connectome", "dag-er", "dag-rewired"} <= {figure.name for figure in result.figures}

    # Accuracies are what the stored predictions say about the images.
    labels = load_images("digits").test_labels
    predictions = load_file(folder.path / "predictions.safetensors")["predictions"].long()
    stored = pd.read_csv(folder.path / "results.csv")
    assert stored["accuracy"].tolist() == pytest.approx((predictions == labels).double().mean(1).tolist())
    assert stored["family"].tolist() == ["connectome", "connectome", "er", "rewired"]

    summary = json.loads((folder.path / "summary.json").read_text())
    assert summary["versions"]["torch"] == torch.__version__
    assert (summary["variants"], summary["iterations"], summary["executor"]) == (4, 4, "levels")
    assert summary["test_accuracy"]["er"] == stored.loc[stored["family"] == "er", "accuracy"].tolist()
    assert summary["comparison"]["reference"] == "connectome"
    # Match report, against NetworkX on the DAGs themselves.
    batch, _ = build_variants(config)
    for row, number in zip(summary["match"], (0, 2, 3), strict=True):
        dag = batch.get_example(number)
        graph = nx.DiGraph(dag.edge_index.T.tolist())
        graph.add_nodes_from(range(24))
        reached = set().union(*({n} | nx.descendants(graph, n) for n in range(24) if dag.input_mask[n]))
        assert (row["nodes"], row["edges"], row["inputs"]) == (24, graph.number_of_edges(), 6)
        assert row["outputs"] == sum(graph.out_degree(n) == 0 for n in reached)
        assert row["unreached"] == 24 - len(reached)
        assert row["levels"] == nx.dag_longest_path_length(graph.subgraph(reached), weight=None) + 1
        # Edges, 3x3 kernel and BatchNorm a node and channel; source, sink and linear layers.
        assert row["parameters"] == graph.number_of_edges() + 24 * 2 * 11 + 2 * 10 + 2 * 3 + 10 * 3
    edges = [row["edges"] for row in summary["match"]]
    assert ("edges" in summary["match"][1]["differs"]) == (abs(edges[1] - edges[0]) > 0.01 * edges[0])

    # Drawn again from the folder, the figures are the same bytes.
    before = {figure: figure.with_name(figure.name + ".svg").read_bytes() for figure in result.figures}
    assert redraw(folder.path) == result.figures
    assert {figure: figure.with_name(figure.name + ".svg").read_bytes() for figure in result.figures} == before


@pytest.mark.usefixtures("_no_figures")
def test_the_same_settings_give_the_same_numbers(tmp_path: Path) -> None:
    run(tiny_config(tmp_path), tmp_path / "a", quiet=True)
    run(RunFolder(tmp_path / "a").read_config(), tmp_path / "b", quiet=True)
    for name in ("metrics.csv", "results.csv", "predictions.safetensors", "config.yaml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.usefixtures("_no_figures")
def test_resuming_ends_like_an_uninterrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path)
    run(config, tmp_path / "straight", quiet=True)

    def cut_short(model: object, images: object, settings: object, **options: object) -> object:
        done = fit(model, images, replace(config.training, iterations=2), **options)  # type: ignore[arg-type]
        return replace(done, interrupted=True, test_predictions=None)

    monkeypatch.setattr(run_module, "fit", cut_short)
    half = run(config, tmp_path / "halves", quiet=True)
    assert half.interrupted
    assert half.comparison is None
    assert not (tmp_path / "halves" / "results.csv").exists()
    with pytest.raises(FileNotFoundError, match=r"has no results yet.*elegans-pyg ensemble --resume --out"):
        join_runs([tmp_path / "halves"])
    monkeypatch.setattr(run_module, "fit", fit)
    run(RunFolder(tmp_path / "halves").read_config(), tmp_path / "halves", resume=True, quiet=True)
    for name in ("metrics.csv", "results.csv", "predictions.safetensors"):
        assert (tmp_path / "halves" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


@pytest.mark.usefixtures("_no_figures")
def test_resuming_before_the_first_checkpoint_starts_anew(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    folder = RunFolder(tmp_path / "out")
    folder.write_config(config)
    (folder.path / "metrics.csv").write_text("iteration,variant\n")
    assert run(config, folder.path, resume=True, quiet=True).fit.iterations == 4
    assert len(folder.read_metrics()) == 4 * (2 + 2 + 1)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="is not empty; give another folder"):
        run(tiny_config(tmp_path), tmp_path / "out", quiet=True)
    with pytest.raises(NotADirectoryError, match="expected a folder, got the file"):
        run(tiny_config(tmp_path), tmp_path / "small.csv", quiet=True)
    with pytest.raises(ValueError, match="expected the folder of the run to resume"):
        run(tiny_config(tmp_path), resume=True, quiet=True)


def test_free_folders_are_numbered(tmp_path: Path) -> None:
    names = [RunFolder.free("train", tmp_path / "runs").path.name for _ in range(3)]
    assert names == ["train-1", "train-2", "train-3"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config(RunConfig())
    before = (tmp_path / "config.yaml").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.write_config(RunConfig(seed=1))
    assert (tmp_path / "config.yaml").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def _finished(folder: Path, config: RunConfig, seed: int, accuracies: list[float]) -> Path:
    run_folder = RunFolder(folder)
    run_folder.write_config(config)
    families = ["connectome", "connectome", "er", "er"]
    seeds = range(seed, seed + 4)
    results = pd.DataFrame(
        {"variant": range(4), "family": families, "wiring_seed": [0, 0, *seeds[2:]], "seed": seeds, "accuracy": accuracies}
    )
    run_folder.write_results(results, torch.zeros(4, 1), {})
    return folder


def test_runs_with_the_same_settings_are_pooled(tmp_path: Path) -> None:
    first = _finished(tmp_path / "a", RunConfig(seed=0), 0, [0.9, 0.8, 0.7, 0.6])
    second = _finished(tmp_path / "b", RunConfig(seed=9, seeds=2), 9, [0.5, 0.6, 0.4, 0.3])
    joined, notes = join_runs([first, second])
    assert notes == []
    assert joined["variant"].tolist() == list(range(8))
    table = compare_runs([first, second]).table.set_index("family")
    assert table.loc["connectome", "runs"] == 4
    assert table.loc["er", "mean"] == pytest.approx((0.7 + 0.6 + 0.4 + 0.3) / 4)
    assert compare_runs([first, second], reference="er").reference == "er"


def test_runs_with_other_settings_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    first = _finished(tmp_path / "x" / "run", RunConfig(), 0, [0.9, 0.8, 0.7, 0.6])
    second = _finished(tmp_path / "y" / "run", RunConfig(channels=4), 0, [0.5, 0.6, 0.4, 0.3])
    comparison = compare_runs([first, second])
    assert comparison.table["family"].tolist() == ["x/run/connectome", "x/run/er", "y/run/connectome", "y/run/er"]
    assert comparison.notes[0] == "The runs differ in channels; families are kept apart by run."


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    first = _finished(tmp_path / "a", RunConfig(), 0, [0.9, 0.8, 0.7, 0.6])
    other = _finished(tmp_path / "b", RunConfig(dataset="mnist"), 0, [0.9, 0.8, 0.7, 0.6])
    with pytest.raises(ValueError, match="is named twice"):
        join_runs([first, tmp_path / "b" / ".." / "a"])
    with pytest.raises(ValueError, match="accuracies on different images cannot be compared"):
        join_runs([first, other])
    with pytest.raises(FileNotFoundError, match="is no run folder"):
        join_runs([first, tmp_path])
    (first / "results.csv").write_text("variant,family\n0,er\n")
    with pytest.raises(ValueError, match="has no column wiring_seed"):
        join_runs([first])
    (first / "results.csv").write_bytes(b"")
    with pytest.raises(ValueError, match="is damaged"):
        join_runs([first])
    (first / "predictions.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="is damaged"):
        RunFolder(first).read_predictions()
