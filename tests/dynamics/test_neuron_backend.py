from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from elegans_pyg.dynamics import Worm, simulate, simulate_neuron
from elegans_pyg.dynamics.neuron_backend import neuron_missing
from scripts.build_biophysics import DISTAL, KEPT_MV, ORDINARY, ordinary_currents, reference_currents, shape_currents

FCM = ["PLML", "PLMR", "AVBL", "AVBR"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_the_neuron_trace_in_all_302_neurons(dtype: torch.dtype) -> None:
    trace = np.load(Path(__file__).with_name("c302-C1-neuron.npz"))
    worm = Worm("c302-C1")
    time_ms, voltage = simulate(worm, torch.tensor(reference_currents(), dtype=dtype), FCM)
    every = 50
    assert np.allclose(time_ms[every - 1 :: every], trace["time_ms"])
    order = [worm.neuron_name.index(str(name)) for name in trace["neuron_name"]]
    assert sorted(order) == list(range(302))
    error = voltage[:, every - 1 :: every][..., order].double().numpy() - trace["voltage_mV"]
    # 2 pA, 5 pA, pulses. The largest difference is a shift of some microseconds where PLM's voltage jumps.
    assert np.sqrt((error**2).mean((1, 2))).max() < 0.01
    assert np.abs(error).max() < 1
    assert np.ptp(trace["voltage_mV"]) > 80


@pytest.mark.parametrize("name", ordinary_currents())
def test_default_steps_agree_with_the_neuron_traces_of_ordinary_stimuli(name: str) -> None:
    """NEURON extrapolated to a step of 0, in the 16 neurons that move most, to which the simulator was never fitted."""
    kept, worm = np.load(ORDINARY), Worm("c302-C1")
    inputs, current = ordinary_currents()[name]
    limit = KEPT_MV * kept[f"{name}_mV"].cumsum(axis=0, dtype=np.int64)
    record = kept[f"{name}_neurons"].tolist()
    _, voltage = simulate(worm, torch.tensor(current, dtype=torch.float32)[None], inputs, duration_ms=300.0, record=record)
    error = voltage[0, 4::5].double().numpy() - limit
    assert np.sqrt((error**2).mean()) < 0.03
    assert np.abs(error).max() < 1
    assert np.ptp(limit) > 20


@pytest.mark.parametrize("d_lambda", [0, 0.3])
def test_shapes_agree_with_the_neuron_trace(d_lambda: float) -> None:
    """All somata and ten distal segments, with one compartment per section, and with the 10,883 of a ``d_lambda`` of 0.3."""
    pytest.importorskip("numba")
    trace = np.load(Path(__file__).with_name(f"c302-D1-{d_lambda:g}-neuron.npz"))
    record, inputs = trace["record"].tolist(), trace["inputs"].tolist()
    worm = Worm("c302-D1", compartments=d_lambda or "section")
    assert set(record) == {*worm.neuron_name, *DISTAL}
    current = torch.tensor(shape_currents()[:, :, [FCM.index(name) for name in inputs]], dtype=torch.float32)
    _, voltage = simulate(worm, current, inputs, duration_ms=40.0, record=record)
    error = voltage[:, 9::10].double().numpy() - trace["voltage_mV"]
    assert np.sqrt((error**2).mean()) < 0.01
    assert np.abs(error).max() < 0.2
    assert np.ptp(trace["voltage_mV"]) > 60


@pytest.mark.neuron
@pytest.mark.slow
def test_agrees_with_neuron_run_now(tmp_path: Path) -> None:
    if neuron_missing():
        pytest.skip(neuron_missing())
    current = torch.tensor(reference_currents()[1:2, :1000])
    options = {"inputs": FCM, "duration_ms": 50.0, "record": [*FCM, "DB1", "VB1", "LUAL", "PVR"], "ablate": ["AVA"]}
    run = simulate_neuron(current, folder=tmp_path, substeps=10, **options)
    time_ms, voltage = simulate(Worm("c302-C1"), current, **options)
    assert torch.equal(run.time_ms, time_ms)
    error = run.voltage_mV - voltage
    # NEURON's own error at a step of 0.005 ms is 0.8 mV where voltages jump.
    assert float(error.square().mean().sqrt()) < 0.1
    assert float(error.abs().max()) < 1
    assert run.seconds.shape == (1,)
    # What the next call finds.
    assert [folder.name[:8] for folder in tmp_path.iterdir()] == ["c302-C1-"]


@pytest.mark.neuron
@pytest.mark.slow
@pytest.mark.parametrize("name", ordinary_currents())
def test_default_steps_agree_with_neuron_at_a_step_of_0(name: str, tmp_path: Path) -> None:
    if neuron_missing():
        pytest.skip(neuron_missing())
    inputs, current = ordinary_currents()[name]
    current = torch.tensor(current)[None]
    coarse, fine = (simulate_neuron(current, inputs, duration_ms=300.0, substeps=k, folder=tmp_path).voltage_mV for k in (10, 20))
    error = simulate(Worm("c302-C1"), current.float(), inputs, duration_ms=300.0)[1] - (2 * fine - coarse)
    assert float(error.square().mean().sqrt()) < 0.03
    assert float(error.abs().max()) < 1


def interpreter(folder: Path, script: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_names_what_is_missing_and_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (torch.zeros(1, 10, 1), ["AVBL"], 0.05, 0.5)
    with pytest.raises(FileNotFoundError, match=r"python: expected an interpreter, got '.*nowhere', which does not exist"):
        simulate_neuron(*arguments, python=tmp_path / "nowhere")
    without = interpreter(tmp_path, "echo neuron c302")
    with pytest.raises(ImportError, match=r"needs neuron, c302, not installed .* run: pip install 'elegans-pyg\[neuron\]'"):
        simulate_neuron(*arguments, python=without)
    complete = interpreter(tmp_path, "exit 0")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    with pytest.raises(FileNotFoundError, match="needs 'java', which is not on PATH; run: apt install"):
        simulate_neuron(*arguments, python=complete)
    assert "java" in neuron_missing(complete)


def test_a_failing_build_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("java", "g++", "make"):
        (tmp_path / program).symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    failing = interpreter(tmp_path, '[ "$1" = -c ] && exit 0; echo no room >&2; exit 1')
    folder = tmp_path / "networks"
    with pytest.raises(RuntimeError, match="NEURON's worker failed at 'build': no room"):
        simulate_neuron(torch.zeros(1, 10, 1), ["AVBL"], 0.05, 0.5, folder=folder, python=failing)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": "C2"}, "parameters: expected one of C1, D, D1, got 'C2'"),
        ({"substeps": 0}, "substeps: expected 1 or more, got 0"),
        ({"d_lambda": -0.3}, "d_lambda: expected a number above 0, got -0.3"),
        ({"record": []}, "record: expected at least one neuron, got none"),
        ({"inputs": ["AVBQ"]}, "inputs: expected a neuron of this worm's 302, got 'AVBQ'"),
    ],
)
def test_refuses(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate_neuron(**{"current_pA": torch.zeros(1, 10, 1), "inputs": ["AVBL"], "duration_ms": 0.5, **change})


@pytest.mark.neuron
@pytest.mark.slow
@pytest.mark.parametrize("d_lambda", [None, 0.3])
def test_shapes_agree_with_neuron_run_now(d_lambda: float | None) -> None:
    if neuron_missing():
        pytest.skip(neuron_missing())
    current = torch.tensor(shape_currents()[:1, 100:300], dtype=torch.float32)
    options = {"inputs": FCM, "duration_ms": 10.0, "record": [*FCM, *DISTAL]}
    runs = [simulate_neuron(current, parameters="D1", d_lambda=d_lambda, substeps=substeps, **options).voltage_mV for substeps in (5, 10)]
    _, voltage = simulate(Worm("c302-D1", compartments=d_lambda or "section"), current, **options)
    error = 2 * runs[1] - runs[0] - voltage
    assert float(error.square().mean().sqrt()) < 0.05
    assert float(error.abs().max()) < 1


@pytest.mark.neuron
@pytest.mark.slow
def test_neuron_runs_the_neurons_with_their_morphologies(tmp_path: Path) -> None:
    if neuron_missing():
        pytest.skip(neuron_missing())
    current = torch.full((1, 100, 2), 5.0)
    run = simulate_neuron(current, ["PLML", "AVBR"], duration_ms=5.0, record=["PLML", "LUAL"], parameters="D", folder=tmp_path)
    point = simulate_neuron(current, ["PLML", "AVBR"], duration_ms=5.0, record=["PLML", "LUAL"], folder=tmp_path)
    assert torch.isfinite(run.voltage_mV).all()
    # The current meets the soma alone at first, which rises faster than the one compartment that stands for all of the neuron.
    assert float(run.voltage_mV[0, 20, 0]) > float(point.voltage_mV[0, 20, 0]) + 1 > -44
    assert len(list(tmp_path.iterdir())) == 2
