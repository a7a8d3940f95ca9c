"""The elegans-echo recipe on a wiring of 24 neurons."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Batch
from typer.testing import CliRunner

from elegans_pyg import cli
from elegans_pyg.datasets import WiringEnsemble, sequence_task
from elegans_pyg.datasets.connectome import Connectome
from elegans_pyg.models import Reservoir, RidgeReadout
from elegans_pyg.recipes import elegans_echo
from elegans_pyg.recipes.elegans_echo import EchoConfig, EchoFolder, choose_by_validation, echo_variants, run_echo
from tests.recipes.tiny import write_wiring


@pytest.fixture
def tiny(tmp_path: Path) -> EchoConfig:
    wiring, neurons = write_wiring(tmp_path)
    return EchoConfig(
        connectome=str(wiring),
        neuron_table=str(neurons),
        families=("er", "rewired"),
        variants=3,
        tasks=("memory", "parity"),
        radii=(0.5, 0.9),
        leaks=(1.0, 0.5),
        train=60,
    )


def test_a_sweep_measures_what_each_variant_alone_would(tiny: EchoConfig) -> None:
    result = run_echo(tiny, quiet=True)
    assert len(result.sweep) == 9 * 2 * 4
    graphs, variants = echo_variants(tiny)
    task = sequence_task("parity", 0, train=60, validation=20, test=40)
    for v in (0, 4, 8):
        reservoir = Reservoir(
            graphs[v], radius=0.9, leak=0.5, input_scale=0.3, bias_scale=0.1, seeds=[int(variants["seed"][v])], dtype=torch.float64
        )
        states = reservoir(task.inputs[None])[:, 0]
        x, y = states, task.targets
        readout = RidgeReadout.select(x[:, task.train], y[task.train], x[:, task.validation], y[task.validation])
        row = result.sweep.query(f"variant == {v} and task == 'parity' and radius == 0.9 and leak == 0.5").iloc[0]
        assert row["test"] == pytest.approx(float(task.score(readout(x[:, task.test]), task.test)), abs=1e-12)
        assert row["wiring_radius"] == pytest.approx(float(reservoir.wiring_radius))
    assert set(result.comparisons) == {"memory", "parity"}
    memory = result.comparisons["memory"].table.set_index("family")
    chosen = result.results[(result.results["task"] == "memory") & (result.results["family"] == "er")]
    assert memory.loc["er", "mean"] == pytest.approx(chosen["score"].mean())
    assert any("Shortened: 3 of 30 variants a family, 4 of 14 settings, 60 of 1,500" in note for note in result.notes)


def test_wirings_are_an_ensemble_s_before_its_dag_step(tiny: EchoConfig) -> None:
    config = replace(tiny, connectome="cook2019-hermaphrodite", neuron_table=None, families=("rewired",), variants=2)
    graphs, variants = echo_variants(config)
    assert variants["family"].tolist() == ["connectome"] * 2 + ["rewired"] * 2
    assert variants["wiring_seed"].tolist()[:2] == [0, 0]
    assert variants["seed"].nunique() == 4
    ensemble = WiringEnsemble(Connectome("cook2019-hermaphrodite")[0], "rewired", 2)
    assert [graph.variant_seed for graph in ensemble] == variants["seed"].tolist()[2:]
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


def test_an_interrupted_run_goes_on_to_the_same_end(tiny: EchoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_echo(tiny, quiet=True)
    calls = []
    measure = elegans_echo.sweep_chunk

    def stops(*arguments: object) -> pd.DataFrame:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(elegans_echo, "sweep_chunk", stops)
    with pytest.raises(KeyboardInterrupt):
        run_echo(tiny, tmp_path / "run", quiet=True)
    assert EchoFolder(tmp_path / "run").read_sweep()["variant"].nunique() == 5
    resumed = run_echo(EchoConfig(), tmp_path / "run", resume=True, quiet=True)
    assert len(calls) == 3
    assert resumed.config == tiny
    pd.testing.assert_frame_equal(resumed.results, whole.results, check_exact=False, rtol=1e-12)
    for name in ("config.yaml", "sweep.csv", "results.csv", "comparisons.md", "summary.json", "figures/memory.png", "figures/scores.svg"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["variants"] == 9
    assert np.isfinite(summary["comparisons"]["parity"]["families"][1]["difference"])
    with pytest.raises(FileExistsError, match="is not empty"):
        run_echo(tiny, tmp_path / "run", quiet=True)


def test_a_table_of_other_settings_is_not_gone_on_with(tiny: EchoConfig, tmp_path: Path) -> None:
    run_echo(tiny, tmp_path / "run", quiet=True)
    path = tmp_path / "run" / "config.yaml"
    settings = path.read_text()
    for old, new in (("radii: [0.5, 0.9]", "radii: [0.5, 0.8]"), ("seed: 0", "seed: 1"), ("leaks: [1.0, 0.5]", "leaks: [1.0, 0.5, 0.2]")):
        assert old in settings
        path.write_text(settings.replace(old, new))
        with pytest.raises(ValueError, match=r"out: sweep.csv in .* was measured with other settings than config.yaml has"):
            run_echo(tiny, tmp_path / "run", resume=True, quiet=True)


def test_a_run_goes_on_from_another_folder(tiny: EchoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(tiny.connectome).parent)
    relative = replace(tiny, connectome=Path(tiny.connectome).name, neuron_table=Path(str(tiny.neuron_table)).name)
    first = run_echo(relative, tmp_path / "run", quiet=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = run_echo(EchoConfig(), tmp_path / "run", resume=True, quiet=True)
    pd.testing.assert_frame_equal(again.results, first.results, check_exact=False, rtol=1e-12)


def test_a_refused_run_leaves_no_folder_in_the_way(tiny: EchoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise ValueError("no motor neurons")

    with monkeypatch.context() as patch:
        patch.setattr(elegans_echo, "sweep_chunk", refuses)
        with pytest.raises(ValueError, match="no motor neurons"):
            run_echo(tiny, tmp_path / "run", quiet=True)
    run_echo(tiny, tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"families": ["random_dag"]}, ValueError, "families: unknown choice 'random_dag'; choose from ws, er"),
        ({"tasks": ["henon"]}, ValueError, "tasks: unknown choice 'henon'; choose from memory"),
        ({"tasks": []}, ValueError, "tasks: expected each value once and at least one"),
        ({"radii": [0.5, 0.5]}, ValueError, "radii: expected each value once"),
        ({"radii": "0.5"}, TypeError, "radii: expected a list, got '0.5'"),
        ({"leaks": [1.5]}, ValueError, r"leaks: expected numbers above 0 and at most 1, got 1\.5"),
        ({"leaks": ["a"]}, TypeError, "leaks: expected numbers, got 'a'"),
        ({"variants": 0}, ValueError, "variants: expected at least 1, got 0"),
        ({"train": 2.5}, TypeError, r"train: expected a whole number, got 2\.5"),
        ({"input_scale": "a"}, TypeError, "input_scale: expected a number, got 'a'"),
        ({"bias_scale": -1}, ValueError, "bias_scale: expected a finite number of at least 0, got -1"),
        ({"signed": "no"}, TypeError, "signed: expected true or false, got 'no'"),
        ({"alpha": 1}, ValueError, "settings: unknown key 'alpha'; choose from connectome"),
    ],
)
def test_bad_settings(changes: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        EchoConfig.from_dict(changes)


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["reproduce", "elegans-echo", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wiring, neurons = write_wiring(tmp_path)
    short = ("--families", "er", "--variants", 1, "--tasks", "memory", "--radii", "0.9", "--leaks", "1", "--train", 60, "--quiet")
    code, out, err = invoke(*short, "--out", "run")
    assert (code, err) == (0, "")
    assert "memory capacity ↑" in out
    assert "run folder: run" in out
    code, again, _ = invoke("--resume", "--out", "run", "--quiet")
    assert code == 0
    assert again.split("variants took")[0] == out.split("variants took")[0]
    for arguments, message in (
        (("--resume",), "expected --out"),
        (("--resume", "--out", "run", "--variants", 2), "--variants cannot be used with --resume"),
        (("--radii", "x"), "radii: expected numbers with commas between them, got 'x'"),
        (("--readout", "muscle", *short), "readout: unknown choice 'muscle'; choose from motor, all"),
        (("--out", "run", *short), "is not empty"),
        (("--connectome", wiring, *short), "expected a neuron of known type"),
    ):
        code, out, err = invoke(*arguments)
        assert code == 2, (arguments, out, err)
        assert message in err
        assert len(err.splitlines()) == 1
    assert not list((tmp_path / "runs").iterdir())
    assert invoke("--connectome", wiring, "--neuron-table", neurons, *short)[0] == 0
    assert (tmp_path / "runs" / "elegans-echo-1" / "results.csv").is_file()


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(elegans_echo, "sweep_chunk", stops)
    code, _, err = invoke("--quick", "--families", "er", "--variants", 1, "--quiet", "--out", tmp_path / "run")
    assert code == 130
    assert f"go on with: elegans-pyg reproduce elegans-echo --resume --out {tmp_path / 'run'}" in err
