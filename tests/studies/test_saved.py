"""Trained networks, taken up again from their run folders: what they score is what their run says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from elegans_pyg.datasets import load_images, sequence_task
from elegans_pyg.models import ConnectomeClassifier, ReducedOrder
from elegans_pyg.recipes.barbulescu import BARBULESCU, BarbulescuSettings
from elegans_pyg.recipes.elegans_echo import ELEGANS_ECHO, EchoSettings
from elegans_pyg.recipes.elegans_m1 import ELEGANS_M1, M1Settings
from elegans_pyg.recipes.elegans_m2 import ELEGANS_M2, M2Settings
from elegans_pyg.recipes.ensemble import ENSEMBLE, TRAIN, ClassifierSettings, TrainSettings
from elegans_pyg.recipes.fit_rnn import FIT_RNN, FitRnnSettings
from elegans_pyg.recipes.park_kim import PARK_KIM
from elegans_pyg.recipes.time_tasks import TIME_TASKS, TimeSettings
from elegans_pyg.studies import load_run, run_study
from elegans_pyg.studies.saved import _differences, compare_runs
from elegans_pyg.training import FitSettings, SequenceSettings
from elegans_pyg.training.objective import Autoencoding, evaluate, replica_rmse
from tests.recipes.tiny import tensor_settings, tiny_settings, write_wiring
from tests.recipes.undrawn import learnt, undrawn
from tests.recipes.waves import leaky, use_leaky

SEVERAL: dict[str, Any] = {"seeds": 2, "families": ("er", "rewired")}


def accuracies(model: Any) -> list[float]:
    images = load_images("digits")
    found = evaluate(model, images.test_images, images.test_labels)
    assert found is not None
    return found.scores["accuracy"].tolist()


@pytest.mark.parametrize("select", ["last", "best"])
def test_classifiers_score_what_their_run_says(select: str, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    settings = settings.model_copy(update={"training": {"select": select, "validation_fraction": 0.1}})
    run = learnt(ENSEMBLE, settings, tmp_path / "run", shards=3)
    expected = run.results["accuracy"].tolist()
    # The variants of all shards, those of a family, and each alone.
    everyone = run.model()
    assert not everyone.training
    assert accuracies(everyone) == expected
    assert accuracies(run.model(family="connectome")) == expected[:2]
    images = load_images("digits").test_images[:7] / 255 - 0.5
    for row in run.results.itertuples():
        alone = run.model(variant=row.variant)
        assert isinstance(alone, ConnectomeClassifier)
        assert alone(images).shape == (1, 7, 10)
        torch.testing.assert_close(alone(images)[0], everyone(images)[row.variant])
        for seed in (row.seed, row.variant % 2 if row.family == "connectome" else 0):
            assert accuracies(run.model(family=row.family, seed=seed)) == [row.accuracy]


def test_a_wider_precision_is_kept(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path).model_copy(update={"training": {"precision": "float64"}})
    run = learnt(ENSEMBLE, settings, tmp_path / "run")
    assert next(run.model(variant=0).parameters()).dtype == torch.float64


def test_train_and_park_kim(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    shared = {name: getattr(settings, name) for name in ("connectome", "neurons", "channels", "executor", "training")}
    run = learnt(TRAIN, TrainSettings(**shared, seeds=2), tmp_path / "train")
    assert accuracies(run.model(seed=1)) == [run.results["accuracy"][1]]
    run = learnt(PARK_KIM, settings.model_copy(update={"families": ("random_dag",)}), tmp_path / "park-kim")
    assert accuracies(run.model()) == run.results["accuracy"].tolist()


def test_encoders_with_heads_of_every_kind(tmp_path: Path) -> None:
    settings = tensor_settings(M1Settings, tmp_path, encoder_channels=(2, 3, 4, 5), **SEVERAL)
    run = learnt(ELEGANS_M1, settings, tmp_path / "run", shards=2)
    expected = run.results["accuracy"].tolist()
    assert accuracies(run.model()) == expected
    for row in run.results.itertuples():
        assert accuracies(run.model(variant=row.variant)) == [row.accuracy]
    for family, own in run.results.groupby("family"):
        assert accuracies(run.model(family=family)) == own["accuracy"].tolist()


def test_autoencoders(tmp_path: Path) -> None:
    settings = tensor_settings(M2Settings, tmp_path, {"select": "best"}, **SEVERAL)
    run, images = learnt(ELEGANS_M2, settings, tmp_path / "run"), load_images("digits")
    for chosen in ({}, *({"variant": variant} for variant in range(8))):
        found = evaluate(run.model(**chosen), images.test_images, images.test_labels, objective=Autoencoding())
        assert found is not None
        for name, own in found.scores.items():
            assert own.tolist() == pytest.approx(run.select(**chosen).join(run.results[name])[name].tolist(), rel=1e-5)


def test_reservoirs_with_their_readouts(tmp_path: Path) -> None:
    wiring, neurons = write_wiring(tmp_path)
    few = {"families": ("er",), "variants": 2, "tasks": ("memory", "parity"), "radii": (0.5, 0.9), "leaks": (1.0, 0.5), "train": 60}
    # A shard begins in the middle of a wiring's tasks.
    run = learnt(ELEGANS_ECHO, EchoSettings(connectome=str(wiring), neurons=str(neurons), **few), tmp_path / "run", shards=3)
    for name in ("memory", "parity"):
        task, own = sequence_task(name, 0, train=60, validation=20, test=40), run.results[run.results["task"] == name]
        for chosen, rows in (({}, own), ({"family": "er", "seed": 1}, own[3:])):
            predicted = run.model(task=name, **chosen)(task.inputs[None])[:, 0, task.test]
            assert task.score(predicted, task.test).tolist() == pytest.approx(rows["score"].tolist(), rel=1e-9)
    with pytest.raises(ValueError, match=r"task: readouts of different tasks do not fit in one model \(memory, parity\); choose one"):
        run.model(family="er")
    # As the runs are that were made before readouts were kept.
    (tmp_path / "run" / "shards" / "00001" / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"run: there are no trained weights in .*00001: .*; run it again in another folder"):
        run.model(task="memory")


def test_reduced_order_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_leaky(monkeypatch)
    settings = FitRnnSettings(cell="lstm", hidden=3, runs=3, count=8, training=SequenceSettings(epochs=2))
    run = learnt(FIT_RNN, settings, tmp_path / "run", shards=2)
    inputs, targets = leaky(count=8).scaled("test")
    for chosen in ({}, {"seed": 2}):
        model = run.model(**chosen)
        assert isinstance(model, ReducedOrder)
        expected = run.select(**chosen).join(run.results["test"])["test"].tolist()
        assert replica_rmse(model(inputs), targets).tolist() == pytest.approx(expected, rel=1e-6)
    # In mV too: the scaling is that of the waveforms learnt from.
    kept = ReducedOrder.load(tmp_path / "run" / "shards" / "00002")
    torch.testing.assert_close(model.predict_mV(inputs), kept.predict_mV(inputs))


@pytest.mark.parametrize("number", [3, 4, 5])
def test_reduced_order_models_of_many_sizes(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_leaky(monkeypatch)
    settings = BarbulescuSettings(experiment=number, epochs=1, runs=2, count=8)
    run = learnt(BARBULESCU, settings, tmp_path / "run")
    for shard, rows in run.units.table.groupby("shard"):
        kept, own = ReducedOrder.load(tmp_path / "run" / "shards" / f"{shard:05}"), rows.iloc[1]
        alone = run.model(family=own["family"], task=own["task"], seed=1)
        assert (alone.input_names, alone.output_names) == (kept.input_names, kept.output_names)
        current = torch.rand(1, 9, len(kept.input_names))
        torch.testing.assert_close(alone.predict_mV(current)[0], kept.predict_mV(current)[1])
    with pytest.raises(ValueError, match=r"family: models of different sizes do not fit in one model .*; choose a family"):
        run.model()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    run = learnt(ENSEMBLE, tiny_settings(tmp_path), tmp_path / "run")
    for chosen, said in (
        ({"family": "ws"}, r"family: .* has no family 'ws'; choose from connectome, er, rewired"),
        ({"seed": 2}, r"seed: .* has no seed 2; choose from 0 to 1"),
        ({"family": "er", "seed": 1}, r"seed: .* has no seed 1; choose from 0"),
        ({"variant": 4}, r"variant: .* has no variant 4; choose from 0 to 3"),
        ({"task": "memory"}, r"task: expected no value, since the run's units have no task, got 'memory'; leave it out"),
    ):
        with pytest.raises(ValueError, match=said):
            run.model(**chosen)
    for shard in (tmp_path / "run" / "shards" / "00001" / "checkpoint").iterdir():
        shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"checkpoint: .* is damaged"):
        run.model()
    (tmp_path / "run" / "summary.json").unlink()
    (tmp_path / "run" / "results.csv").unlink()
    with pytest.raises(FileNotFoundError, match="its run is not finished; finish it with: elegans-pyg ensemble --resume"):
        run.model()


def test_images_are_needed_no_more(tmp_path: Path) -> None:
    run = learnt(ENSEMBLE, tiny_settings(tmp_path), tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("dataset: digits", "dataset: elsewhere"))
    assert accuracies(load_run(tmp_path / "run").model()) == run.results["accuracy"].tolist()


def test_studies_without_networks_say_so(tmp_path: Path) -> None:
    from tests.studies.counting import COUNTING

    with undrawn():
        run_study(COUNTING, out=tmp_path / "run", quiet=True)
    with pytest.raises(ValueError, match="which trains no network; give a run of one that does"):
        load_run(tmp_path / "run", COUNTING).model()
    run = load_run(tmp_path / "run", COUNTING)
    pd.testing.assert_frame_equal(run.select(), run.units.table)


def test_the_margin_of_a_comparison_is_the_settings_own_or_said_to_be_given_later(tmp_path: Path) -> None:
    run = learnt(ENSEMBLE, tiny_settings(tmp_path, margin=0.05), tmp_path / "run")
    (own,), (later,) = compare_runs([run.folder.path]), compare_runs([run.folder.path], margin=0.02)
    assert (own.margin, later.margin) == (0.05, 0.02)
    assert own.notes == run.summary["comparison"]["notes"]
    assert later.notes[0].startswith("The margin was given to this comparison")
    with pytest.raises(ValueError, match="run: expected one run folder or more, got none"):
        compare_runs([])


def test_tasks_are_compared_apart_in_their_own_units(tmp_path: Path) -> None:
    wiring, neurons = write_wiring(tmp_path)
    tasks = {"tasks": ("memory", "parity"), "families": ("rewired",), "variants": 2, "train": 200, "radii": (0.9,), "leaks": (1.0,)}
    settings = EchoSettings(connectome=str(wiring), neurons=str(neurons), **tasks)
    run = learnt(ELEGANS_ECHO, settings, tmp_path / "run")
    own = compare_runs([run.folder.path])
    assert [(comparison.value, comparison.margin) for comparison in own] == [("memory capacity", 0.4), ("parity accuracy", 0.012)]
    assert [comparison.to_dict() for comparison in own] == list(run.summary["comparisons"].values())
    with pytest.raises(ValueError, match=r"margin: expected none for 2 tasks, whose scores have different units, got 0\.1"):
        compare_runs([run.folder.path], margin=0.1)


def test_families_of_other_wirings_are_not_pooled(tmp_path: Path) -> None:
    whole = tiny_settings(tmp_path, families=("rewired",), seeds=0)
    part = TrainSettings(
        **{name: getattr(whole, name) for name in ClassifierSettings.model_fields},
        family="rewired",
        family_options={"rewired": {"fraction": 0.1}},
    )
    assert _differences(whole, part) == _differences(part, whole) == ["family_options"]
    assert _differences(whole, part.model_copy(update={"family_options": {}})) == []
    beside = [whole.model_copy(update={"beside": (name,)}) for name in ("a/worm.tsv", "b/worm.tsv", "c/other.tsv")]
    assert _differences(*beside[:2]) == ["beside"]
    assert _differences(*beside[1:]) == []


def test_tasks_that_are_no_sequences_of_this_package_are_compared(tmp_path: Path) -> None:
    wiring, neurons = write_wiring(tmp_path)
    training = FitSettings(iterations=2, batch_size=8, eval_every=2, checkpoint_every=2, device="cpu")
    few = {"tasks": ("digits",), "families": ("rewired",), "seeds": 2, "variants": 2, "training": training}
    run = learnt(TIME_TASKS, TimeSettings(connectome=str(wiring), neurons=str(neurons), **few), tmp_path / "run")
    (own,) = compare_runs([run.folder.path])
    assert (own.value, own.margin) == ("digits accuracy", 0.036)
