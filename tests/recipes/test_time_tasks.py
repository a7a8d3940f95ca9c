"""Recurrent networks trained through time, on a wiring of 24 neurons."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from elegans_pyg.datasets import load_images, sequence_task
from elegans_pyg.models import ConnectomeRNN
from elegans_pyg.recipes.time_tasks import MARGINS, METRICS, OPTIONS, PAUSE, TIME_TASKS, TimeSettings, _lesson, time_units
from elegans_pyg.studies import Run, predict, run_study, unit_seed
from elegans_pyg.studies.export import export_run
from elegans_pyg.training import FitSettings
from elegans_pyg.training.objective import SequenceRegression
from tests.commands import invoke, refused
from tests.recipes.tiny import write_wiring
from tests.recipes.undrawn import learnt

COMMAND = ("reproduce", "time-tasks")


def tiny(folder: Path, **changes: object) -> TimeSettings:
    wiring, neurons = write_wiring(folder)
    training = FitSettings(iterations=20, batch_size=8, learning_rate=0.01, eval_every=10, checkpoint_every=10, device="cpu")
    base = {"connectome": str(wiring), "neurons": str(neurons), "families": ("er", "rewired"), "seeds": 3, "variants": 3}
    few = {"tasks": ("parity", "digits"), "steps": 20, "washout": 5, "train": 20, "at_once": 6, "training": training}
    return TimeSettings(**{**base, **few, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("time")
    return learnt(TIME_TASKS, tiny(folder), folder / "run")


def test_arms_share_their_first_parameters_and_shards_one_task(tmp_path: Path) -> None:
    units = time_units(tiny(tmp_path))
    table = units.table
    assert table["task"].tolist() == ["parity"] * 9 + ["digits"] * 9
    assert table["family"].tolist() == (["connectome"] * 3 + ["er"] * 3 + ["rewired"] * 3) * 2
    assert table["seed"].tolist() == [unit_seed(0, "connectome", number) for number in range(3)] * 6
    drawn = [unit_seed(0, family, number) for family in ("er", "rewired") for number in range(3)]
    assert table["wiring_seed"].tolist()[:9] == [0] * 3 + drawn
    assert len(units.wirings) == 7
    first = [ConnectomeRNN(units.graphs()[place], 1, 2, seeds=[int(table["seed"][place])]).state_dict() for place in (1, 4, 7)]
    for name, value in first[0].items():
        assert all(torch.equal(value, other[name]) for other in first[1:]), name


def test_scores_are_those_of_the_test_sequence(run: Run) -> None:
    results, digits = run.results.set_index("variant"), load_images("digits")
    assert run.folder.read_units().table.groupby("task")["shard"].nunique().tolist() == [2, 2]
    task = sequence_task("parity", 0, 5, 400, 40, 40, **OPTIONS["parity"])
    for variant in (1, 8):
        network = run.model(variant=variant)
        found = []
        for start in (task.test.start, task.test.start + 20):
            with torch.no_grad():
                found.append(network(task.inputs[None, start - 5 : start + 20].float())[:, 0, 5:])
        expected = ((torch.cat(found, 1) > 0) == (task.targets[task.test] > 0)).double().mean()
        assert results.loc[variant, "score"] == pytest.approx(float(expected))
    rows = torch.zeros(len(digits.test_images), 8 + PAUSE, 8)
    rows[:, :8] = digits.test_images[:, 0] / 255 - 0.5
    with torch.no_grad():
        right = run.model(variant=17)(rows).argmax(2) == digits.test_labels
    assert results.loc[17, "score"] == pytest.approx(float(right.double().mean()))


def test_what_is_learned_leaves_out_the_washout() -> None:
    assert _lesson("parity", 0, 5, 20, 20).objective == SequenceRegression(washout=5)


def test_the_report_compares_by_task_within_the_registered_margins(run: Run) -> None:
    comparisons = json.loads((run.folder.path / "summary.json").read_text())["comparisons"]
    assert {task: found["margin"] for task, found in comparisons.items()} == {task: MARGINS[task] for task in ("parity", "digits")}
    own = run.results[(run.results["task"] == "digits") & (run.results["family"] == "er")]
    er = comparisons["digits"]["families"][1]
    assert (er["family"], er["mean"]) == ("er", pytest.approx(own["score"].mean()))
    assert {"rank", "effect", "equal_low", "verdict"} <= set(er)
    assert set(METRICS) == set(MARGINS)


def test_networks_answer_sequences_of_one_s_own(run: Run, tmp_path: Path) -> None:
    pd.DataFrame({"bits": [1.0, -1.0] * 8}).to_csv(tmp_path / "bits.csv", index=False)
    report = predict(run, [tmp_path / "bits.csv"], family="er", task="parity")
    found = report.files["predictions.csv"]
    assert len(found) == 3 * 16
    assert found["step"].tolist() == [*range(16)] * 3
    assert report.notes[0].endswith("so ignore the first steps.")
    pd.DataFrame(np.zeros((12, 8)), columns=list("abcdefgh")).to_csv(tmp_path / "rows.csv", index=False)
    # A digit has one row of logits, after its last step.
    report = predict(run, [tmp_path / "rows.csv"], variant=9, task="digits")
    found = report.files["predictions.csv"]
    logits = found.filter(like="output_").to_numpy()
    assert logits.shape == (1, 10)
    assert found["step"].tolist() == [11]
    assert next(iter(report.tables[0].columns[3].cells)).plain == "12"
    assert report.notes[0] == "The networks were trained on 'digits'."
    drawn = report.figures["outputs-1-rows"].axes[0]
    np.testing.assert_array_equal([bar.get_height() for bar in drawn.patches], logits[0])
    with pytest.raises(ValueError, match="networks of different tasks do not fit in one model"):
        run.model()


def test_units_are_the_same_in_any_shard_and_without_a_connectome(run: Run, tmp_path: Path) -> None:
    alone = run_study(TIME_TASKS, tiny(tmp_path, tasks=("parity",), families=("rewired",), seeds=0, at_once=1), quiet=True)
    before = run.results[(run.results["task"] == "parity") & (run.results["family"] == "rewired")]
    np.testing.assert_allclose(alone.results["score"], before["score"], atol=0.02)
    assert alone.results["wiring_seed"].tolist() == before["wiring_seed"].tolist()
    assert alone.report.findings == {"comparisons": {}}


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wiring, neurons = write_wiring(tmp_path)
    short = ("--families", "er", "--seeds", 1, "--variants", 1, "--tasks", "memory", "--steps", 10, "--train", 10, "--iterations", 2)
    code, out, err = invoke(*COMMAND, "--connectome", wiring, "--neurons", neurons, *short, "--batch-size", 4, "--quiet", "--out", "run")
    assert (code, err) == (0, "")
    assert "memory capacity ↑" in out
    assert (tmp_path / "run" / "metrics.csv").is_file()
    for arguments, message in (
        (("--tasks", "henon"), "tasks: unknown choice 'henon'; choose from memory"),
        (("--steps", 0), "steps: expected at least 1, got 0"),
        (("--families", "random_dag"), "families: unknown choice 'random_dag'"),
        (("--connectome", wiring, "--inputs", "nobody"), "nobody"),
        (("--seeds", 0, "--families", ""), "seeds: expected at least 1 where there are no families, got 0"),
        (("--neurons", neurons), "neurons: cook2019-hermaphrodite has its own neurons"),
        (("--precision", "bfloat16"), "precision: recurrent networks compute in float32 or float64, got bfloat16"),
        (("--weight-decay", 0.1), "weight_decay: expected 0.0, got 0.1"),
        (("--augment", "crop_flip_cutout"), "augment: expected none, got crop_flip_cutout"),
        (("--data-order", "variant"), "data_order: expected shared, got variant"),
    ):
        assert message in refused(*COMMAND, *arguments)


def test_networks_of_every_task_are_exported(run: Run, tmp_path: Path) -> None:
    for task in ("parity", "digits"):
        done, unit = export_run(run, "numpy", tmp_path / f"{task}.npz", family="rewired", task=task)
        assert (unit["family"], unit["task"]) == ("rewired", task)
        assert done.difference is not None
        assert done.difference <= 2e-6
