"""Exported networks, run by processes that never import this package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from elegans_pyg.models import (
    ConnectomeClassifier,
    ConnectomeRNN,
    DenseNetwork,
    EchoStateNetwork,
    ElegansM1,
    ElegansM2,
    ReducedOrder,
    Reservoir,
)
from elegans_pyg.models.export import FORMATS, export_network, files
from elegans_pyg.studies.export import FromPixels
from tests.dags import random_dag
from tests.models.wirings import network, wiring

SMALL = {"encoder_channels": (2, 3, 4, 5), "image_size": (8, 8)}
# Every one runs the files of a folder on the inputs beside them, and leaves the outputs there.
LOADERS = {
    "onnx": "import onnxruntime as ort; run = lambda p, x: ort.InferenceSession(p).run(None, {'inputs': x})[0]",
    "torch": "import torch; run = lambda p, x: torch.export.load(p).module()(torch.from_numpy(x)).numpy()",
    "numpy": "import importlib; run = lambda p, x: importlib.import_module(p[:-4]).predict(dict(np.load(p)), x)",
}
FRESH = """
import sys, glob
import numpy as np
{loader}
for path in sorted(glob.glob("*{suffix}")):
    name = path.rpartition(".")[0]
    np.save(f"{{name}}.out.npy", run(path, np.load(f"{{name}}.in.npy")))
assert not [module for module in sys.modules if module.startswith("elegans_pyg")]
if "{suffix}" == ".npz":
    assert "torch" not in sys.modules
"""


def trained(model: nn.Module) -> nn.Module:
    """Parameters and statistics as a training might leave them: none of them 0 or 1, where they would hide what they do."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and "scale" not in name and not name.startswith("reservoir"):
            tensor.add_(0.3 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype))
    return model.eval()


def classifier(**options: str) -> ConnectomeClassifier:
    dag = random_dag(3, 14, 0.3, share_of_inputs=0.6)
    return ConnectomeClassifier(dag, 1, 4, channels=3, **options)


def m1(**options: object) -> ElegansM1:
    return ElegansM1(network([5], **options), 4, **SMALL)


def echo() -> EchoStateNetwork:
    reservoir = Reservoir(wiring(4), 2, radius=0.8, leak=0.6, bias_scale=0.2, signed=False, dtype=torch.float64)
    return EchoStateNetwork(reservoir, 3)


def connectome_rnn(outputs: int | list[str], **options: str | bool) -> ConnectomeRNN:
    graph = wiring(4)
    graph.edge_type[::5], graph.inhibitory = 1, torch.arange(14) % 4 == 0
    graph.edge_weight, graph.neuron_name = 1.0 + torch.arange(graph.num_edges) % 3, [f"N{number}" for number in range(14)]
    return ConnectomeRNN(graph, 2, outputs, **options)


def reduced_order(cell: str) -> ReducedOrder:
    model = ReducedOrder(cell, ["AVBL", "AVBR"], ["DB1", "VB1", "VB2"], 5)
    model.set_scaling(torch.tensor([2.0, 0.5]), torch.tensor([-58.0, -40.0, -30.0]), torch.tensor([4.0, 9.0, 1.0]))
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "dag": classifier,
    "dag_dale": lambda: classifier(edge_activation="dale", executor="scatter"),
    "dag_levels": lambda: classifier(edge_activation="sigmoid", executor="levels"),
    "m1": m1,
    "m1_frozen": lambda: m1(freeze=True, norm="unit", readout="mean"),
    "m1_sums": lambda: m1(combine="add", heads=2, reapply=[("interneuron", "motor")]),
    "m1_published": lambda: m1(norm="none", activation="tanh"),
    "m1_dense": lambda: ElegansM1(DenseNetwork(6, 3_000), 4, **SMALL),
    "m1_bare": lambda: ElegansM1(None, 4, num_variants=1, **SMALL),
    "m2": lambda: ElegansM2(network([2], width=12), image_size=(11, 9)),
    "echo": echo,
    "recurrent": lambda: connectome_rnn(3),
    "recurrent_last": lambda: connectome_rnn(3, last=True, dale=False, activation="sigmoid", share="type"),
    "recurrent_named": lambda: connectome_rnn(["N1", "N2"], activation="relu"),
    "rnn": lambda: reduced_order("rnn"),
    "lstm": lambda: reduced_order("lstm"),
    "gru": lambda: reduced_order("gru"),
}


def inputs_of(name: str, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    if name in ("echo", "rnn", "lstm", "gru") or name.startswith("recurrent"):
        return torch.rand(count, 4 * count, 2, generator=generator, dtype=torch.float64 if name == "echo" else torch.float32)
    shape = {"d": (1, 9, 12), "m": (3, 8, 8)}[name[0]] if name != "m2" else (1, 11, 9)
    return torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)


def export(name: str, folder: Path, format: str, model: nn.Module | None = None) -> Tensor:
    """Export one model, and put down inputs beside it; returns what the model makes of them. The number of samples is another one."""
    model = trained(MODELS[name]()) if model is None else model
    images, inputs = name[0] in "dm", inputs_of(name, 5)
    before = FromPixels(name == "m2", "float32") if images else None
    done = export_network(model, folder / f"{name}{FORMATS[format]}", inputs_of(name, 3), format, before=before, about={"family": name})
    assert done.difference is not None
    assert done.difference <= 2e-6
    np.save(folder / f"{name}.in.npy", inputs.numpy())
    with torch.no_grad():
        return (model.predict_mV if isinstance(model, ReducedOrder) else model)(inputs if before is None else before(inputs))[0]


def run_fresh(folder: Path, format: str) -> None:
    code = FRESH.format(loader=LOADERS[format], suffix=FORMATS[format])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_fresh_process_gives_the_same_outputs(tmp_path: Path, format: str) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript", reason="needs the extra onnx")
        pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    # ONNX is made from what torch is made from, so a few of them will do.
    names = ("dag", "m1", "m2", "echo", "recurrent", "lstm", "gru") if format == "onnx" else MODELS
    expected = {name: export(name, tmp_path, format) for name in names}
    run_fresh(tmp_path, format)
    for name, own in expected.items():
        got = torch.from_numpy(np.load(tmp_path / f"{name}.out.npy"))
        assert got.dtype == own.dtype, name
        assert own.std() > 1e-3, name  # not a constant, which would agree whatever is computed
        torch.testing.assert_close(got, own, atol=1e-5 * float(own.abs().max()), rtol=0, msg=name)


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    model, images = classifier().eval(), torch.zeros(2, 1, 9, 12)
    two = ConnectomeClassifier([random_dag(3, 5, 0.5), random_dag(4, 5, 0.5)], 1, 4, channels=2)
    own = ConnectomeClassifier(random_dag(3, 5, 0.5), 1, 4, channels=2, node_operation=lambda channels: nn.Conv2d(channels, channels, 1))
    mish = ElegansM1(network([5], activation="mish"), 4, **SMALL)
    for bad, options, message in (
        (model, {"format": "keras"}, "format: expected one of onnx, torch, numpy, got 'keras'"),
        (two, {"format": "torch"}, "model: expected a single variant, got 2; take one"),
        (own.eval(), {"format": "torch"}, "a custom node_operation"),
        (mish.eval(), {"format": "numpy"}, "activations elu, relu, tanh, and this network's is mish; use torch or onnx"),
    ):
        samples = images if bad is not mish else torch.zeros(2, 3, 8, 8)
        with pytest.raises(ValueError, match=message):
            export_network(bad, tmp_path / "net", samples, **options)
    assert not any(tmp_path.iterdir())


def test_a_model_in_training_mode_is_exported_in_evaluation_and_left_as_it_is(tmp_path: Path) -> None:
    model = trained(classifier()).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    done = export_network(model, tmp_path / "net.npz", inputs_of("dag", 3) / 255, "numpy")
    assert done.difference is not None
    assert done.difference <= 2e-6
    assert model.training
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, msg=name)


def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = files.network_arrays

    def wrong(model: nn.Module) -> dict[str, np.ndarray]:
        return {name: array + 0.01 if name == "linear.bias" else array for name, array in arrays(model).items()}

    monkeypatch.setattr(files, "network_arrays", wrong)
    with pytest.raises(ValueError, match=r"numpy differs from the network by 0\.01, expected at most 0\.0001"):
        export_network(classifier().eval(), tmp_path / "net.npz", torch.zeros(2, 1, 9, 12), "numpy")
    assert not any(tmp_path.iterdir())


def test_an_old_file_is_replaced_and_values_are_kept_beside(tmp_path: Path) -> None:
    (tmp_path / "net.npz").write_text("old")
    done = export_network(
        classifier().eval(), tmp_path / "net.npz", torch.zeros(2, 1, 9, 12), "numpy", about={"seed": 7, "classes": ["a", "b"]}
    )
    assert [path.name for path in done.paths] == ["net.npz", "net.py"]
    kept = np.load(tmp_path / "net.npz")
    assert (int(kept["about.seed"]), kept["about.classes"].tolist()) == (7, ["a", "b"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.npz", "net.py"]
