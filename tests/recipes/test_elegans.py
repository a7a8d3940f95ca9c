"""The recipes of M1 and M2 from settings to tables, on small wirings and images, and their commands."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.linear_model import LogisticRegression
from torch_geometric.data import Data
from typer.testing import CliRunner

from elegans_pyg import cli
from elegans_pyg.datasets import load_images
from elegans_pyg.datasets.images import ImageData
from elegans_pyg.recipes import elegans
from elegans_pyg.recipes import elegans_m1 as m1
from elegans_pyg.recipes import elegans_m2 as m2
from elegans_pyg.recipes.elegans import ElegansConfig, draw_arms, network_parameters, read_config, tensor_network
from elegans_pyg.training import FitConfig
from tests.models.wirings import wiring

TRAINING = FitConfig(
    iterations=4,
    batch_size=20,
    eval_every=2,
    checkpoint_every=2,
    validation_fraction=0.1,
    device="cpu",
    schedule="cosine",
    clip_norm=1.0,
    eval_batch_size=400,
)


def make_colours() -> ImageData:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (80, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageData("colours", pixels, torch.arange(80) % 4, pixels[:20], torch.arange(20) % 4, list("abcd"))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wiring of 14 neurons for the worm's, and noise for CIFAR-10."""

    def small(name: str, synapses: str) -> list[Data]:
        assert (name, synapses) == ("varshney2011-hermaphrodite", "both")
        data = wiring(3)
        data.edge_weight, data.neuron_name = torch.ones(data.num_edges), [f"N{n}" for n in range(14)]
        data.inhibitory = torch.zeros(14, dtype=torch.bool)
        data.x = torch.nn.functional.one_hot(data.neuron_type, 6).float()
        return [data]

    monkeypatch.setattr(elegans, "Connectome", small)
    load = elegans.load_images
    monkeypatch.setattr(elegans, "load_images", lambda name, *a, **o: make_colours() if name == "cifar10" else load(name, *a, **o))


def m2_settings(**changes: object) -> ElegansConfig:
    base = {"width": 8, "seeds": 2, "variants": 1, "families": ("er", "rewired"), "dataset": "digits"}
    return ElegansConfig(**{**base, "training": replace(TRAINING, select="best"), **changes})


def m1_settings(**changes: object) -> m1.ElegansM1Config:
    return m1.ElegansM1Config(width=8, seeds=1, variants=1, families=("er",), encoder_channels=(2, 3, 4, 5), training=TRAINING, **changes)


def test_m2_from_settings_to_table(tmp_path: Path) -> None:
    done = m2.reproduce(m2_settings(), tmp_path / "run", quiet=True)
    results = done.run.results
    assert results["family"].tolist() == ["connectome"] * 2 + ["echo"] * 2 + ["er", "rewired"] + ["plain"] * 2
    assert (results["tested_at"] > 0).all()
    assert results[list(m2.SCORES)].notna().all(axis=None)
    wired, plain = results["parameters"][0], results["parameters"][6]
    assert abs(plain - wired) < 0.01 * wired
    assert results["trained"][2] < results["parameters"][2]
    assert (results["trained"] == results["parameters"])[[0, 1, 4, 5, 6, 7]].all()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoint", "config.yaml", "figures", "metrics.csv", "results.csv", "summary.json",
    ]  # fmt: skip
    assert {path.stem for path in (tmp_path / "run" / "figures").iterdir()} == {"reconstructions", "families", "accuracy"}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "run" / "results.csv"), results, rtol=1e-12)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [row["family"] for row in summary["comparison"]["families"]] == ["connectome", "echo", "er", "rewired", "plain"]
    row = done.scores.set_index("family").loc["connectome"]
    assert row["mse"] == pytest.approx(results["mse"][:2].mean())
    assert row["probe_accuracy_sd"] == pytest.approx(results["probe_accuracy"][:2].std())
    assert done.notes[0].startswith("Shortened: 4 of 40,000 iterations, width 8 of 784, 2 of 10 runs and 1 of 10 wirings a family")
    assert read_config(ElegansConfig(), tmp_path / "run") == m2_settings()


def test_m2_in_parts_gives_the_same_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = m2.reproduce(m2_settings(), quiet=True).run
    fits, fit = [], elegans.fit

    def interrupted(model: object, *arguments: object, **options: object) -> object:
        fits.append(options["out"])
        if len(fits) == 2:
            model.register_forward_pre_hook(lambda module, inputs: signal.raise_signal(signal.SIGINT) if module.training else None)
        return fit(model, *arguments, **options)

    monkeypatch.setattr(elegans, "fit", interrupted)
    config = m2_settings(at_once=3)
    part = m2.reproduce(config, tmp_path / "run", quiet=True)
    assert part.run.interrupted
    assert part.run.comparison is None
    assert len(part.run.results) == 6
    monkeypatch.setattr(elegans, "fit", fit)
    done = m2.reproduce(config, tmp_path / "run", resume=True, quiet=True).run
    pd.testing.assert_frame_equal(done.results, whole.results, rtol=1e-3, atol=1e-4)
    assert done.metrics["variant"].nunique() == 8
    assert [path.name for path in sorted((tmp_path / "run").glob("part-*"))] == ["part-1", "part-2", "part-3"]
    validation = done.metrics[(done.metrics["split"] == "validation") & (done.metrics["iteration"] == 4)]
    assert sorted(validation["variant"]) == list(range(8))


def test_resuming_with_other_settings_changes_nothing(tmp_path: Path) -> None:
    m2.reproduce(m2_settings(families=(), seeds=1), tmp_path / "run", quiet=True)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"out: .* holds a run with other settings"):
        m2.reproduce(m2_settings(families=(), seeds=1, norm="unit"), tmp_path / "run", resume=True, quiet=True)
    with pytest.raises(ValueError, match=r"out: .* another command; go on with it by: elegans-pyg reproduce elegans-m2 --resume"):
        m1.reproduce(m1_settings(), tmp_path / "run", resume=True, quiet=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("at_once", [0, 1])
def test_a_refused_run_leaves_no_folder_in_the_way(tmp_path: Path, at_once: int) -> None:
    settings = m2_settings(families=(), seeds=1, at_once=at_once)
    with pytest.raises(ValueError, match="batch_size"):
        m2.reproduce(replace(settings, training=replace(TRAINING, batch_size=100_000)), tmp_path / "run", quiet=True)
    m2.reproduce(settings, tmp_path / "run", quiet=True)


def test_a_run_without_a_finished_connectome_ends_with_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = elegans.fit

    def stopped(*arguments: object, **options: object) -> object:
        fitted = fit(*arguments, **options)
        fitted.results.loc[fitted.results["family"] == "connectome", "pixel_accuracy"] = float("nan")
        return fitted

    monkeypatch.setattr(elegans, "fit", stopped)
    done = m2.reproduce(m2_settings(), tmp_path / "run", quiet=True)
    assert "families" not in {path.name for path in done.run.figures}
    assert (tmp_path / "run" / "results.csv").is_file()
    assert done.scores.set_index("family").loc["connectome", "runs"] == 0


def test_m1_from_settings_to_table(tmp_path: Path) -> None:
    done = m1.reproduce(m1_settings(), tmp_path / "run", quiet=True)
    results = done.run.results
    assert results["family"].tolist() == ["connectome", "reservoir", "er", "dense", "encoder"]
    assert results["accuracy"].between(0, 1).all()
    wired, frozen, _, dense, bare = results["parameters"]
    assert abs(dense - wired) < 0.01 * wired
    assert frozen == wired > bare
    assert results["trained"][1] == wired - network_parameters(m1_settings())
    assert done.accuracy["mean"].tolist() == results["accuracy"].tolist()
    assert "The published 99.99 % cannot be reproduced" in done.notes[1]


def test_parameters_are_counted_without_building_the_width() -> None:
    for width in (2, 5, 12):
        config = m2_settings(width=width)
        assert network_parameters(config) == tensor_network(draw_arms(config, "echo", ())[:1], config).parameters_per_variant()[0]


def test_a_wiring_does_not_depend_on_the_company() -> None:
    few, many = (draw_arms(m2_settings(variants=count, families=families), "echo", ("plain",)) for count, families in
                 ((1, ("rewired",)), (3, ("ws", "rewired"))))  # fmt: skip
    one = next(arm for arm in few if arm.family == "rewired")
    same = next(arm for arm in many if arm.family == "rewired")
    assert torch.equal(one.wiring.edge_index, same.wiring.edge_index)
    base = wiring(3)
    assert not torch.equal(one.wiring.edge_index, base.edge_index)
    assert torch.equal(one.wiring.neuron_type, base.neuron_type)


def test_cifar100_is_read_from_a_folder_by_its_fine_labels(tmp_path: Path) -> None:
    """In the layout of the hub's file, which has both kinds of labels; a small one, of four classes."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "cifar100").mkdir()
    for split, rows in (("train", [0, 1, 2, 3]), ("test", [4, 5])):
        encoded = []
        for row in rows:
            buffer = BytesIO()
            image.fromarray(pixels[row]).save(buffer, format="PNG")
            encoded.append({"bytes": buffer.getvalue(), "path": None})
        names = {"fine_label": [3, 1, 2, 0][: len(rows)], "coarse_label": [1, 2, 0, 1][: len(rows)]}
        pq.write_table(pa.table({"img": encoded, **names}), tmp_path / "cifar100" / f"{split}.parquet")
    images = load_images("cifar100", tmp_path, cache=tmp_path / "cache", quiet=True)
    assert images.train_labels.tolist() == [3, 1, 2, 0]
    assert (images.num_classes, images.in_channels, images.image_size) == (4, 3, (32, 32))
    assert (images.test_images.permute(0, 2, 3, 1).numpy() == pixels[4:]).all()


def test_probe_reads_what_is_linear() -> None:
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(4, 12))
    labels, other = torch.arange(200) % 4, torch.arange(80) % 4
    train, test = (torch.from_numpy(centres[part.numpy()] + rng.normal(size=(len(part), 12))).float() for part in (labels, other))
    plain = LogisticRegression(max_iter=300).fit(train.numpy(), labels.numpy()).score(test.numpy(), other.numpy())
    assert m2.probe_accuracy(train, labels, test, other) == pytest.approx(plain, abs=0.08)
    assert m2.probe_accuracy(train, labels, test, other) > 0.9
    assert m2.probe_accuracy(train[torch.randperm(200, generator=torch.Generator().manual_seed(1))], labels, test, other) < 0.6


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"families: expected each name once, from ws, er, .*, got random_dag; change them"):
        m2_settings(families=("random_dag",))
    with pytest.raises(ValueError, match="width: expected at least 2, got 1; raise it"):
        m2_settings(width=1)
    with pytest.raises(TypeError, match=r"seeds: expected a whole number, got 1\.5"):
        m2_settings(seeds=1.5)
    with pytest.raises(ValueError, match="settings: unknown key 'depth'; choose from connectome, families"):
        m2_settings().updated({"depth": 3})
    assert m2_settings().updated(yaml.safe_load(m2_settings().to_yaml())) == m2_settings()
    assert m1_settings().updated(yaml.safe_load(m1_settings().to_yaml())) == m1_settings()


def test_defaults_say_what_is_published() -> None:
    full, quick = m2.elegans_m2_config(), m2.elegans_m2_config(quick=True)
    assert (full.width, full.seeds, full.variants, full.families) == (784, 10, 10, ("ws", "er", "ba", "rewired"))
    assert (full.training.select, quick.training.select, quick.width) == ("best", "best", 64)
    assert m2.elegans_m2_config(width=64).at_once == 0
    assert m1.elegans_m1_config(device="cpu").training.precision == "float32"


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


TINY = ("--width", 8, "--seeds", 1, "--variants", 1, "--families", "er", "--iterations", 2, "--batch-size", 20, "--device", "cpu", "-q")


def test_commands_end_with_table_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elegans.plots, "save", lambda figure, path: None)  # drawn, but writing takes most of a short run
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke("reproduce", "elegans-m2", "--quick", "--dataset", "digits", *TINY)
    assert (code, err) == (0, "")
    for expected in ("99.791", "no tensor", "• Shortened: 2 of 40,000", "run folder: runs/elegans-m2-1", "figures/reconstructions.png"):
        assert expected in out
    code, out, err = invoke("reproduce", "elegans-m2", "--resume", "--out", "runs/elegans-m2-1", "-q")
    assert (code, err) == (0, "")
    code, out, err = invoke("reproduce", "elegans-m1", "--quick", *TINY)
    assert (code, err) == (0, "")
    assert "99.99" in out
    assert "bare encoder" in out


def test_commands_refuse_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, message in (
        (("--families", "nets"), "families: expected each name once, from ws, er"),
        (("--resume",), "out: expected the folder of the run to resume, got none; give it with --out"),
        (("--resume", "--out", "nowhere"), "out: nowhere is no run folder"),
        (("--width", 1), "width: expected at least 2, got 1"),
    ):
        code, out, err = invoke("reproduce", "elegans-m2", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {message}")
        assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())
