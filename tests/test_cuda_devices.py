"""No model mixes tensors of two devices in training or evaluation: shown on a device that needs no hardware, see tests/second_device.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MODELS = [
    *(f"DAGNet {executor}" for executor in ("scatter", "levels", "auto", "modules")),
    *(f"ConnectomeClassifier {activation}" for activation in ("sigmoid", "identity", "dale")),
    *("Reservoir", "EchoStateNetwork", "RidgeReadout", "ReducedOrder rnn", "ReducedOrder lstm", "ReducedOrder gru"),
    *("TensorNetwork", "DenseNetwork", "ElegansM1", "ElegansM2"),
    *("ConnectomeRNN edge", "ConnectomeRNN class", "ConnectomeRNN at rest", "LinearPropagation"),
    *("fit images", "fit reconstructions"),
    *(f"fit sequences {model}" for model in ("rnn", "lstm", "gru", "ConnectomeRNN")),
    *("simulate", "mixed tensors"),
]


@pytest.fixture(scope="module")
def reports() -> str:
    # The device takes a place that PyTorch has once in a process.
    command = [sys.executable, "-W", "ignore", "-m", "tests.second_device"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert [line.partition(":")[0] for line in done.stdout.splitlines() if line.endswith(": ok")] == MODELS, done.stdout + done.stderr
    assert done.returncode == 0
    return done.stdout


@pytest.mark.parametrize("model", MODELS)
def test_a_step_leaves_no_tensor_behind(reports, model):
    assert f"{model}: ok\n" in reports, reports
