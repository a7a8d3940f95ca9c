"""The command `export` on real runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from elegans_pyg.datasets import load_images
from elegans_pyg.recipes.elegans_echo import ELEGANS_ECHO, EchoSettings
from elegans_pyg.recipes.elegans_m1 import ELEGANS_M1, M1Settings
from elegans_pyg.recipes.elegans_m2 import ELEGANS_M2, M2Settings
from elegans_pyg.recipes.ensemble import ENSEMBLE
from elegans_pyg.recipes.fit_rnn import FIT_RNN, FitRnnSettings
from elegans_pyg.studies import load_run, run_study
from elegans_pyg.studies.export import FromPixels
from elegans_pyg.training.settings import SequenceSettings
from tests.commands import invoke, refused
from tests.recipes.tiny import tensor_settings, tiny_settings, write_wiring
from tests.recipes.undrawn import learnt
from tests.recipes.waves import use_leaky


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished ensemble in the folder ``run``, without figures, which take most of a short run's time."""
    monkeypatch.chdir(tmp_path)
    for figures in ("accuracy_figures", "_classifier_figures"):
        monkeypatch.setattr(f"elegans_pyg.recipes.ensemble.{figures}", lambda *_: {})
    run_study(ENSEMBLE, tiny_settings(tmp_path), tmp_path / "run", quiet=True)
    return tmp_path


def fresh(code: str, folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    check = "import sys\nassert not [module for module in sys.modules if module.startswith('elegans_pyg')]\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_classifier_of_a_run_in_every_format(run: Path) -> None:
    pixels = load_images("digits").test_images[:7]
    np.save("pixels.npy", pixels.numpy())
    with torch.no_grad():
        expected = {
            family: load_run("run").model(family, seed=0)(FromPixels(False, "float32")(pixels))[0] for family in ("connectome", "er")
        }
    code, out, _ = invoke("export", "run", "--format", "numpy")
    assert code == 0
    assert out.startswith("unit 0: connectome, wiring seed 0, seed ")
    assert out.splitlines()[-2:] == ["written: run_connectome_0.npz", "written: run_connectome_0.py"]
    fresh(
        "import numpy as np; from run_connectome_0 import predict\n"
        "np.save('out', predict(dict(np.load('run_connectome_0.npz')), np.load('pixels.npy')))",
        run,
    )
    torch.testing.assert_close(torch.from_numpy(np.load("out.npy")), expected["connectome"], atol=1e-5, rtol=1e-5)
    arrays = np.load("run_connectome_0.npz")
    assert arrays["about.classes"].tolist() == list("0123456789")
    assert arrays["dag.edge_index"].shape[1] == len(arrays["dag.edge_weight"])
    assert len(arrays["about.neuron_name"]) == len(arrays["dag.level"])

    code, out, _ = invoke("export", "run", "--format", "torch", "--family", "er", "--seed", "0", "--out", "net.pt2")
    assert code == 0
    assert "unit 2: er" in out
    fresh(
        "import numpy as np, torch\nnp.save('out', torch.export.load('net.pt2').module()(torch.from_numpy(np.load('pixels.npy'))).numpy())",
        run,
    )
    torch.testing.assert_close(torch.from_numpy(np.load("out.npy")), expected["er"], atol=1e-5, rtol=1e-5)

    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    code, out, _ = invoke("export", "run", "--variant", "2", "--out", "net.onnx")
    assert code == 0
    assert "largest difference from the network on sample inputs: " in out
    session = onnxruntime.InferenceSession("net.onnx")
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"images": pixels.numpy()})[0]), expected["er"], atol=1e-5, rtol=1e-5)
    told = session.get_modelmeta().custom_metadata_map
    assert (told["family"], told["study"], json.loads(told["classes"])) == ("er", "ensemble", list("0123456789"))


def test_bad_input_ends_in_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, message in (
        (("run", "--format", "keras"), '"onnx", "torch", "numpy"'),
        (("run", "--family", "ba"), "has no family 'ba'; choose from connectome, er, rewired"),
        (("run", "--out", "net.onnx", "--format", "numpy"), "ending in .npz for the format numpy, got 'net.onnx'"),
        (("nowhere",), "not a run folder"),
    ):
        assert message in refused("export", *arguments), arguments
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "pip install 'elegans-pyg[onnx]'" in refused("export", "run")
    Path("run/results.csv").unlink()
    assert "results.csv is missing" in refused("export", "run")
    assert not list(run.glob("*.onnx"))


@pytest.mark.slow
def test_networks_of_every_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command checks its own files; that these checks mean something, tests/models/test_export.py says."""
    monkeypatch.chdir(tmp_path)
    wiring, neurons = write_wiring(tmp_path)
    few = {"families": (), "variants": 1, "tasks": ("memory",), "radii": (0.9,), "leaks": (0.5,), "train": 60}
    use_leaky(monkeypatch)
    for study, settings in (
        (ELEGANS_M1, tensor_settings(M1Settings, tmp_path, encoder_channels=(2, 3, 4, 5))),
        (ELEGANS_M2, tensor_settings(M2Settings, tmp_path)),
        (ELEGANS_ECHO, EchoSettings(connectome=str(wiring), neurons=str(neurons), **few)),
        (FIT_RNN, FitRnnSettings(runs=2, training=SequenceSettings(epochs=2))),
    ):
        folder = tmp_path / study.short_name
        families = learnt(study, settings, folder).results["family"].unique()
        for family in families:
            code, out, err = invoke("export", folder, "--format", "numpy", "--family", family)
            assert code == 0, (study.name, family, err)
            assert "largest difference from the network on sample inputs: " in out
