"""The M2 recipe from settings to tables, on a wiring of 24 neurons, and once on the worm's."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from elegans_pyg.models import ElegansM2
from elegans_pyg.recipes import elegans_m2 as m2
from elegans_pyg.recipes.elegans_m2 import ELEGANS_M2, M2Settings
from elegans_pyg.recipes.tensor_networks import network_parameters, tensor_network
from elegans_pyg.studies import Interrupted, fitting, load_run, run_study, shards
from elegans_pyg.studies.units import unit_seed
from tests.commands import invoke, refused
from tests.recipes.tiny import tensor_settings

COMMAND = ("reproduce", "elegans-m2")
FILES = ("results.csv", "metrics.csv", "networks.csv", "units.csv")


@pytest.fixture
def tiny(tmp_path: Path) -> M2Settings:
    training = {"iterations": 4, "checkpoint_every": 2, "schedule": "cosine", "clip_norm": 1.0, "select": "best", "eval_batch_size": 400}
    return tensor_settings(M2Settings, tmp_path, training, seeds=2, families=("er", "rewired"))


def options(settings: M2Settings) -> tuple[object, ...]:
    """The settings of :func:`tiny`, but for one run each and one family, as on the command line."""
    wiring = ("--connectome", settings.connectome, "--neurons", settings.neurons, "--dataset", "digits", "--width", 8)
    return (*wiring, "--seeds", 1, "--variants", 1, "--families", "er", "--iterations", 2, "--batch-size", 20, "--device", "cpu", "-q")


@pytest.mark.drawn
@pytest.mark.slow
def test_from_settings_to_table(tiny: M2Settings, tmp_path: Path) -> None:
    done = run_study(ELEGANS_M2, tiny, tmp_path / "run", quiet=True)
    results = done.results
    assert results["family"].tolist() == ["connectome"] * 2 + ["echo"] * 2 + ["er", "rewired"] + ["plain"] * 2
    assert (results["tested_at"] > 0).all()
    assert results[list(m2.SCORES)].notna().all(axis=None)
    wired, plain = results["parameters"][0], results["parameters"][6]
    assert abs(plain - wired) < 0.01 * wired
    assert results["trained"][2] < results["parameters"][2]
    assert (results["trained"] == results["parameters"])[[0, 1, 4, 5, 6, 7]].all()
    assert {path.stem for path in done.figures} == {"reconstructions", "families", "accuracy"}
    assert all(path.with_suffix(".png").is_file() for path in done.figures)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    families = {row["family"]: row for row in summary["comparison"]["families"]}
    assert list(families) == ["connectome", "echo", "er", "rewired", "plain"]
    assert [families[name]["pairs"] for name in families] == [None, 2, None, None, 2]
    row = pd.read_csv(tmp_path / "run" / "networks.csv").set_index("family").loc["connectome"]
    assert row["mse"] == pytest.approx(results["mse"][:2].mean())
    assert row["probe_accuracy_sd"] == pytest.approx(results["probe_accuracy"][:2].std())
    assert done.report.notes[0].startswith("Shortened: 4 of 40,000 iterations, width 8 of 784, 2 of 10 runs and 1 of 10 wirings per family")
    assert done.report.notes[-1] == "The paper has no numbers for digits: it used mnist."
    loaded = load_run(tmp_path / "run")
    assert loaded.settings == done.settings
    assert {path.stem for path in loaded.redraw()} == {"reconstructions", "families", "accuracy"}


def test_validation_images_pick_the_weights_that_are_tested(tiny: M2Settings, tmp_path: Path) -> None:
    done = run_study(ELEGANS_M2, tiny, tmp_path / "run", quiet=True)
    metrics = load_run(tmp_path / "run").metrics
    validation = metrics[metrics["split"] == "validation"]
    best = validation.loc[validation.groupby("variant")["pixel_accuracy"].idxmax()]
    assert best["iteration"].tolist() == done.results["tested_at"].tolist()


@pytest.mark.slow
def test_shards_give_the_same_and_an_interrupted_run_goes_on_to_the_same_bytes(
    tiny: M2Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_study(ELEGANS_M2, tiny, quiet=True)
    settings = tiny.model_copy(update={"at_once": 3})
    straight = run_study(ELEGANS_M2, settings, tmp_path / "straight", quiet=True)
    # Up to the order of sums, which products of dozens of values make more of.
    pd.testing.assert_frame_equal(straight.results, whole.results, rtol=1e-3, atol=1e-4)
    fits, fit = [], fitting.fit

    def interrupted(model: torch.nn.Module, *arguments: object, **options: object) -> object:
        fits.append(options["out"])
        if len(fits) == 2:
            steps: list[int] = []

            def hook(module: torch.nn.Module, inputs: object) -> None:
                steps.extend([1] * module.training)
                if module.training and len(steps) == 3:
                    signal.raise_signal(signal.SIGINT)

            model.register_forward_pre_hook(hook)
        return fit(model, *arguments, **options)

    monkeypatch.setattr(fitting, "fit", interrupted)
    with pytest.raises(Interrupted):
        run_study(ELEGANS_M2, settings, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "results.csv").exists()
    assert [path.name for path in fits] == ["00001", "00002"]
    monkeypatch.setattr(fitting, "fit", fit)
    done = run_study(ELEGANS_M2, settings, tmp_path / "run", resume=True, quiet=True)
    assert done.results["variant"].tolist() == list(range(8))
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name
    for number in ("00001", "00002", "00003"):
        sample = Path("shards") / number / m2.SAMPLES
        assert (tmp_path / "run" / sample).read_bytes() == (tmp_path / "straight" / sample).read_bytes()


def test_a_run_stopped_between_training_and_probe_goes_on_to_the_same_bytes(
    tiny: M2Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny.model_copy(update={"families": (), "seeds": 1})
    run_study(ELEGANS_M2, settings, tmp_path / "straight", quiet=True)

    def stopped(*arguments: object) -> None:
        raise Interrupted

    monkeypatch.setattr(m2, "_probe", stopped)
    with pytest.raises(Interrupted):
        run_study(ELEGANS_M2, settings, tmp_path / "run", quiet=True)
    monkeypatch.undo()
    run_study(ELEGANS_M2, settings, tmp_path / "run", resume=True, quiet=True)
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name


def test_reconstructions_are_those_of_each_familys_first_unit(tiny: M2Settings, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run_study(ELEGANS_M2, tiny.model_copy(update={"at_once": 3}), tmp_path / "run", quiet=True)
    kept = [set(load_file(path)) for path in sorted((tmp_path / "run" / "shards").glob(f"*/{m2.SAMPLES}"))]
    assert kept == [{"connectome", "echo"}, {"echo", "er", "rewired"}, {"plain"}]
    shape = load_file(tmp_path / "run" / "shards" / "00001" / m2.SAMPLES)["connectome"].shape
    assert shape == (m2.PICTURES, 1, 8, 8)
    (tmp_path / "run" / "shards" / "00002" / m2.SAMPLES).write_bytes(b"no")
    with pytest.raises(ValueError, match=r"run: .*00002.samples.safetensors is missing or damaged"):
        load_run(tmp_path / "run").redraw()


def test_resuming_with_other_settings_changes_nothing(tiny: M2Settings, tmp_path: Path) -> None:
    settings = tiny.model_copy(update={"families": (), "seeds": 1})
    run_study(ELEGANS_M2, settings, tmp_path / "run", quiet=True)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"resume: norm is 'state' in .*config.yaml, and 'unit' was given"):
        run_study(ELEGANS_M2, settings.model_copy(update={"norm": "unit"}), tmp_path / "run", resume=True, quiet=True)
    line = refused("reproduce", "elegans-m1", "--resume", "--out", tmp_path / "run", "-q")
    assert "holds a run of another command; resume it with: elegans-pyg reproduce elegans-m2 --resume" in line
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"batch_size": 100_000}}, "batch_size"),
        ({"width": 100_000}, "memory: one unit needs about"),
        ({"variants": 2_000_000_000}, "variants: 4,000,000,000 wirings do not fit in memory"),
        ({"dataset": "mnist", "image_root": "nowhere"}, "nowhere"),
    ],
)
def test_a_refused_run_leaves_no_folder_in_the_way(tiny: M2Settings, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        run_study(ELEGANS_M2, tiny.model_copy(update=changes), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_units_are_split_by_the_memory_that_there_is(tiny: M2Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    units = ELEGANS_M2.units(tiny)
    memory = m2.m2_memory(tiny, units)
    room = (memory.fixed + 3.5 * memory.unit) / shards.MEMORY_SHARE
    monkeypatch.setattr(shards.machine, "free_memory", lambda device: room)
    assert shards.split(ELEGANS_M2, tiny, units).tolist() == [1, 1, 1, 2, 2, 2, 3, 3]
    wider = m2.m2_memory(tiny.model_copy(update={"width": 16}), units)
    larger = m2.m2_memory(tiny.model_copy(update={"training": {"batch_size": 40}}), units)
    assert memory.unit < min(wider.unit, larger.unit)


def test_the_layers_around_are_counted_as_they_are(tiny: M2Settings) -> None:
    from elegans_pyg.models.elegans_m2 import CODE, outer_layers
    from elegans_pyg.models.variants import footprint

    network = tensor_network(tiny, [ELEGANS_M2.units(tiny).wirings[0]], [0])
    model = ElegansM2(network, 1, (8, 8))
    shapes = ((1, 8, 8), (8,), (CODE,))
    counts = [footprint(build, *shape)[0] for build, shape in zip(outer_layers(8, 1, (8, 8)), shapes, strict=True)]
    assert sum(counts) == model.parameters_per_variant()[0] - network.parameters_per_variant()[0]


def test_a_run_without_a_finished_connectome_ends_with_its_tables(
    tiny: M2Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = fitting.fit

    def stopped(*arguments: object, **options: object) -> object:
        fitted = fit(*arguments, **options)
        fitted.results.loc[fitted.results["family"] == "connectome", list(m2.SCORES[:4])] = float("nan")
        fitted.stopped.update({0: "non-finite loss at iteration 2", 1: "non-finite loss at iteration 2"})
        return fitted

    monkeypatch.setattr(fitting, "fit", stopped)
    done = run_study(ELEGANS_M2, tiny, tmp_path / "run", quiet=True)
    assert "families" not in {path.name for path in done.figures}
    assert "Unit 1 (connectome) was stopped: non-finite loss at iteration 2." in done.report.notes
    assert pd.read_csv(tmp_path / "run" / "networks.csv").set_index("family").loc["connectome", "runs"] == 0


def test_parameters_are_counted_without_building_the_width(tiny: M2Settings) -> None:
    base = ELEGANS_M2.units(tiny).wirings[0]
    for width in (2, 5, 12):
        settings = tiny.model_copy(update={"width": width})
        assert network_parameters(settings) == tensor_network(settings, [base], [0]).parameters_per_variant()[0]


def test_seeds_and_wirings_do_not_depend_on_the_company(tiny: M2Settings) -> None:
    few = ELEGANS_M2.units(tiny.model_copy(update={"families": ("rewired",)}))
    many = ELEGANS_M2.units(tiny.model_copy(update={"families": ("ws", "rewired"), "variants": 3}))
    one, same = (units.first_of_families()["rewired"] for units in (few, many))
    base = few.first_of_families()["connectome"]
    assert torch.equal(one.edge_index, same.edge_index)
    assert not torch.equal(one.edge_index, base.edge_index)
    assert torch.equal(one.neuron_type, base.neuron_type)
    seeds = {str(family): rows["seed"].tolist() for family, rows in many.table.groupby("family")}
    own = [unit_seed(0, "connectome", number) for number in range(2)]
    assert seeds["connectome"] == seeds["echo"] == seeds["plain"] == own
    rewired = many.table[many.table["family"] == "rewired"]
    assert rewired["wiring_seed"].tolist() == rewired["seed"].tolist() == [unit_seed(0, "rewired", number) for number in range(3)]


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
    for changes, message in (
        ({"families": ("random_dag",)}, "families: unknown choice 'random_dag'; choose from ws, er"),
        ({"width": 1}, "width: expected at least 2, got 1"),
        ({"seeds": 1.5}, r"seeds: expected a whole number, got 1\.5"),
        ({"depth": 3}, "settings: unknown key 'depth'; choose from dataset, .*connectome"),
    ):
        with pytest.raises(ValueError, match=message):
            M2Settings(**changes)


def test_defaults_say_what_is_published() -> None:
    full, quick = ELEGANS_M2.make(), ELEGANS_M2.make(quick=True)
    assert full == M2Settings(at_once=10)
    assert (full.width, full.seeds, full.variants, full.families) == (784, 10, 10, ("ws", "er", "ba", "rewired"))
    assert (full.connectome, full.synapses) == ("varshney2011-hermaphrodite", "both")
    assert (full.training.select, quick.training.select, quick.width) == ("best", "best", 64)
    assert (full.training.iterations, quick.training.iterations, quick.training.validation_fraction) == (40_000, 300, 1 / 120)
    assert ELEGANS_M2.make({"width": 64}).at_once == 0
    assert ELEGANS_M2.make({"seed": 7}).training.data_seed == 7


@pytest.mark.drawn
def test_command_ends_with_table_and_folder(tiny: M2Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke(*COMMAND, "--quick", *options(tiny))
    assert (code, err) == (0, "")
    for expected in (
        "99.791",
        "no tensor",
        "• Shortened: 2 of 40,000",
        "run folder: runs/elegans-m2-1",
        "figures/reconstructions.png",
    ):
        assert expected in out
    code, again, err = invoke(*COMMAND, "--resume", "--out", "runs/elegans-m2-1", "-q")
    assert (code, err) == (0, "")
    assert out.partition(" units took")[0] == again.partition(" units took")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--families", "nets"), "families: unknown choice 'nets'; choose from ws, er"),
        (("--resume",), "resume: expected --out with the folder of the run to resume"),
        (("--resume", "--out", "nowhere"), "run: nowhere is not a run folder"),
        (("--width", 1), "width: expected at least 2, got 1"),
        (("--width", 100_000, "--dataset", "digits"), "memory: one unit needs about"),
        (("--connectome", "nobody"), "name"),
        (("--device", "cuda:77", "--dataset", "digits"), "device"),
    ],
)
def test_command_refuses_in_one_line(arguments: tuple[object, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused(*COMMAND, *arguments, "-q")
    assert line.startswith("error: ")
    assert message in line
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.drawn
@pytest.mark.slow
def test_the_worms_own_autoencoders(tmp_path: Path) -> None:
    root = os.environ.get("ELEGANS_PYG_IMAGES")
    if root is None:
        pytest.skip("ELEGANS_PYG_IMAGES names no folder with mnist")
    short = ("--width", 4, "--seeds", 1, "--variants", 1, "--families", "rewired", "--iterations", 2, "--batch-size", 10)
    images = ("--image-root", root, "--train-images", 200, "--validation-fraction", 0.1, "--eval-batch-size", 1_000)
    code, out, err = invoke(*COMMAND, "--quick", *short, *images, "--device", "cpu", "--out", tmp_path / "run", "-q")
    assert (code, err) == (0, "")
    loaded = load_run(tmp_path / "run")
    assert loaded.results["family"].tolist() == ["connectome", "echo", "rewired", "plain"]
    assert loaded.wirings["connectome"].num_nodes == 279
    assert loaded.results["pixel_accuracy"].between(0.1, 1).all()
    # No ink at all scores 84.7 % on all test images.
    assert "84.7" in out
