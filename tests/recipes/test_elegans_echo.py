"""The elegans-echo recipe on a wiring of 24 neurons."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Batch

from elegans_pyg.datasets import WiringEnsemble, sequence_task
from elegans_pyg.datasets.connectome import Connectome
from elegans_pyg.datasets.sequences import SEQUENCE_TASKS
from elegans_pyg.models import Reservoir, RidgeReadout
from elegans_pyg.recipes import elegans_echo
from elegans_pyg.recipes.elegans_echo import ELEGANS_ECHO, METRICS, EchoSettings, choose_by_validation, echo_units
from elegans_pyg.studies import Shard, load_run, run_study
from tests.commands import invoke, refused
from tests.recipes.tiny import write_wiring

COMMAND = ("reproduce", "elegans-echo")
SHORT = ("--families", "er", "--variants", 1, "--tasks", "memory", "--radii", "0.9", "--leaks", "1", "--train", 60, "--quiet")


@pytest.fixture
def tiny(tmp_path: Path) -> EchoSettings:
    wiring, neurons = write_wiring(tmp_path)
    return EchoSettings(
        connectome=str(wiring),
        neurons=str(neurons),
        families=("er", "rewired"),
        variants=3,
        tasks=("memory", "parity"),
        radii=(0.5, 0.9),
        leaks=(1.0, 0.5),
        train=60,
    )


def test_the_tasks_are_those_of_datasets() -> None:
    assert {task: metric for task, (_, metric) in SEQUENCE_TASKS.items()} == METRICS


def test_a_sweep_measures_what_each_variant_alone_would(tiny: EchoSettings, tmp_path: Path) -> None:
    result = run_study(ELEGANS_ECHO, tiny, tmp_path / "run", quiet=True)
    sweep, units = pd.read_csv(tmp_path / "run" / "sweep.csv"), echo_units(tiny)
    assert len(sweep) == 9 * 2 * 4
    assert result.results["variant"].tolist() == list(range(18))
    task = sequence_task("parity", 0, train=60, validation=20, test=40)
    for wiring in (0, 4, 8):
        unit = units.table.iloc[2 * wiring + 1]
        graph, settings = units.graphs()[2 * wiring + 1], {"input_scale": 0.3, "bias_scale": 0.1, "dtype": torch.float64}
        reservoir = Reservoir(graph, radius=0.9, leak=0.5, seeds=[int(unit["seed"])], **settings)
        states = reservoir(task.inputs[None])[:, 0]
        x, y = states, task.targets
        readout = RidgeReadout.select(x[:, task.train], y[task.train], x[:, task.validation], y[task.validation])
        own = sweep[sweep["variant"] == unit["variant"]]
        assert own["task"].tolist() == ["parity"] * 4
        row = own.query("radius == 0.9 and leak == 0.5").iloc[0]
        assert row["test"] == pytest.approx(float(task.score(readout(x[:, task.test]), task.test)), abs=1e-12)
        assert row["wiring_radius"] == pytest.approx(float(reservoir.wiring_radius))
        best = result.results.loc[unit["variant"]]
        assert best["validation"] == own["validation"].max()
        assert best["score"] in own.loc[own["validation"] == own["validation"].max(), "test"].tolist()
    comparisons = json.loads((tmp_path / "run" / "summary.json").read_text())["comparisons"]
    assert set(comparisons) == {"memory", "parity"}
    chosen = result.results[(result.results["task"] == "memory") & (result.results["family"] == "er")]
    assert comparisons["memory"]["families"][1]["mean"] == pytest.approx(chosen["score"].mean())
    assert "Shortened: 3 of 30 variants per family, 4 of 14 settings, 60 of 1,500" in result.report.notes[-1]


def test_units_are_the_same_in_any_shard(tiny: EchoSettings, tmp_path: Path) -> None:
    whole = run_study(ELEGANS_ECHO, tiny, quiet=True)
    # A shard begins in the middle of a wiring's tasks.
    apart = run_study(ELEGANS_ECHO, tiny, quiet=True, shards=5)
    pd.testing.assert_frame_equal(apart.results, whole.results, check_exact=False, rtol=1e-9)


def test_wirings_are_an_ensemble_s_before_its_dag_step() -> None:
    units = echo_units(EchoSettings(families=("rewired",), variants=2, tasks=("memory",)))
    table, graphs = units.table, units.graphs()
    assert table["family"].tolist() == ["connectome"] * 2 + ["rewired"] * 2
    assert table["wiring_seed"].tolist()[:2] == [0, 0]
    assert table["seed"].nunique() == 4
    assert len(units.wirings) == 3
    ensemble = WiringEnsemble(Connectome("cook2019-hermaphrodite")[0], "rewired", 2)
    assert [graph.wiring_seed for graph in ensemble] == table["seed"].tolist()[2:]
    # As many edges as the connectome, and cycles, which no DAG has.
    assert all(graph.num_edges == 3567 for graph in graphs)
    Reservoir(Batch.from_data_list(graphs))


def test_grid_points_are_chosen_on_validation_alone() -> None:
    rows = [
        # task, variant, radius, validation, test
        ("memory", 0, 0.5, 3.0, 9.0),
        ("memory", 0, 0.9, 4.0, 1.0),
        ("memory", 1, 0.5, 5.0, 2.0),
        ("memory", 1, 0.9, 5.0, 8.0),
        ("narma10", 0, 0.5, 0.3, 0.7),
        ("narma10", 0, 0.9, 0.4, 0.1),
    ]
    sweep = pd.DataFrame(rows, columns=["task", "variant", "radius", "validation", "test"])
    chosen = choose_by_validation(sweep).set_index(["task", "variant"])
    assert chosen.loc[("memory", 0), ["radius", "score"]].tolist() == [0.9, 1.0]
    assert chosen.loc[("memory", 1), ["radius", "score"]].tolist() == [0.5, 2.0]
    assert chosen.loc[("narma10", 0), ["radius", "score"]].tolist() == [0.5, 0.7]  # an error: less is better


@pytest.fixture
def stops_once(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The second shard is interrupted when it is first tried; the units of all that were tried."""
    tried: list[list[int]] = []
    measure = ELEGANS_ECHO.measure

    def stops(settings: EchoSettings, shard: Shard) -> pd.DataFrame:
        tried.append(shard.units["variant"].tolist())
        if len(tried) == 2:
            raise KeyboardInterrupt
        return measure(settings, shard)

    monkeypatch.setitem(ELEGANS_ECHO.__dict__, "measure", stops)
    return tried


@pytest.mark.drawn
def test_an_interrupted_run_is_resumed_to_the_same_end(tiny: EchoSettings, tmp_path: Path, stops_once: list[list[int]]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_study(ELEGANS_ECHO, tiny, tmp_path / "run", quiet=True)
    resumed = run_study(ELEGANS_ECHO, tiny, tmp_path / "run", resume=True, quiet=True)
    # The five wirings that were done are not measured again.
    assert stops_once == [list(range(10)), list(range(10, 18)), list(range(10, 18))]
    run_study(ELEGANS_ECHO, tiny, tmp_path / "whole", quiet=True)
    for name in ("config.yaml", "sweep.csv", "results.csv", "comparisons.md"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "| connectome | 3 |" in (tmp_path / "run" / "comparisons.md").read_text()
    assert {figure.name for figure in resumed.figures} == {"memory", "parity", "scores"}
    assert all(figure.with_name(f"{figure.name}{suffix}").stat().st_size for figure in resumed.figures for suffix in (".png", ".svg"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert np.isfinite(summary["comparisons"]["parity"]["families"][1]["difference"])
    assert load_run(tmp_path / "run").results["variant"].nunique() == 18


def test_what_reservoirs_refuse_is_refused_before_anything_is_written(tiny: EchoSettings, tmp_path: Path) -> None:
    (tmp_path / "loops.csv").write_text("pre,post,weight,synapse\nN00,N00,3,chemical\nN06,N06,2,chemical\nN07,N07,1,chemical\n")
    (tmp_path / "chain.csv").write_text("pre,post,weight,synapse\nN00,N06,3,chemical\nN06,N07,2,chemical\n")
    for name, message in (("loops.csv", "has no chemical synapse between two neurons"), ("chain.csv", "spectral radius above 0")):
        with pytest.raises(ValueError, match=message):
            run_study(ELEGANS_ECHO, tiny.model_copy(update={"connectome": str(tmp_path / name)}), tmp_path / "run", quiet=True)
    with pytest.raises(ValueError, match="memory: one unit needs about"):
        run_study(ELEGANS_ECHO, tiny.model_copy(update={"train": 10**10}), tmp_path / "run", quiet=True)
    with pytest.raises(ValueError, match="variants: 20,000,000,000 wirings do not fit in memory"):
        run_study(ELEGANS_ECHO, tiny.model_copy(update={"variants": 10**10}), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": ["random_dag"]}, "families: unknown choice 'random_dag'; choose from ws, er"),
        ({"tasks": ["henon"]}, "tasks: unknown choice 'henon'; choose from memory"),
        ({"tasks": []}, "tasks: expected at least 1 value"),
        ({"radii": [0.5, 0.5]}, "radii: expected each value once"),
        ({"radii": "0.5"}, "radii: expected a list such as .* got '0.5'"),
        ({"radii": [0]}, "radii: expected numbers above 0, got 0"),
        ({"radii": [float("inf")]}, r"radii.*: expected a finite number, got inf"),
        ({"leaks": [1.5]}, r"leaks: expected numbers above 0 and at most 1, got 1\.5"),
        ({"leaks": ["a"]}, "leaks.*: expected a number, got 'a'"),
        ({"variants": 0}, "variants: expected at least 1, got 0"),
        ({"train": 2.5}, r"train: expected a whole number, got 2\.5"),
        ({"train": 29}, r"train: expected at least 30, got 29"),
        ({"input_scale": "a"}, "input_scale: expected a number, got 'a'"),
        ({"bias_scale": -1}, "bias_scale: expected at least 0, got -1"),
        ({"signed": "no"}, "signed: expected true or false, got 'no'"),
        ({"alpha": 1}, "settings: unknown key 'alpha'; choose from neurons"),
    ],
)
def test_bad_settings(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EchoSettings(**changes)


def test_the_short_form_is_shorter() -> None:
    quick = ELEGANS_ECHO.make({"leaks": [0.5]}, quick=True)
    assert (quick.variants, quick.radii, quick.leaks) == (5, (0.5, 0.9, 1.2), (0.5,))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wiring, neurons = write_wiring(tmp_path)
    code, out, err = invoke(*COMMAND, *SHORT, "--out", "run")
    assert (code, err) == (0, "")
    assert "memory capacity ↑" in out
    assert "run folder: run" in out
    assert max(map(len, out.splitlines())) <= 80
    code, again, err = invoke(*COMMAND, "--resume", "--out", "run", "--quiet")
    assert (code, err) == (0, "")
    assert again.split(" units took")[0] == out.split(" units took")[0]
    for arguments, message in (
        (("--resume",), "expected --out"),
        (("--resume", "--out", "run", "--variants", 2), "variants is 1 in"),
        (("--radii", "x"), "radii: expected numbers separated by commas, got 'x'"),
        (("--readout", "muscle", *SHORT), "muscle"),
        (("--out", "run", *SHORT), "holds a run already"),
        (("--connectome", wiring, *SHORT, "--inputs", "nobody"), "nobody"),
    ):
        assert message in refused(*COMMAND, *arguments)
    assert not list(tmp_path.glob("runs/*"))
    assert invoke(*COMMAND, "--connectome", wiring, "--neurons", neurons, *SHORT)[0] == 0
    assert (tmp_path / "runs" / "elegans-echo-1" / "results.csv").is_file()


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(elegans_echo, "_task", stops)
    code, _, err = invoke(*COMMAND, *SHORT, "--quick", "--out", tmp_path / "run")
    assert code == 130
    assert f"resume with: elegans-pyg reproduce elegans-echo --resume --out {tmp_path / 'run'}" in err
