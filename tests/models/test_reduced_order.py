from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from elegans_pyg.models import ReducedOrder

PUBLISHED = {("rnn", 16): 404, ("lstm", 8): 452, ("gru", 8): 348, ("rnn", 64): 4676, ("lstm", 32): 4868, ("gru", 32): 3684}


@pytest.mark.parametrize(("kind", "count"), PUBLISHED.items())
def test_parameters_are_as_many_as_published(kind: tuple[str, int], count: int) -> None:
    model = ReducedOrder(kind[0], 4, 4, kind[1], replicas=3)
    assert model.parameters_per_replica() == count
    assert sum(parameter.numel() for parameter in model.parameters()) == 3 * count


def test_first_parameters_depend_on_the_replicas_own_seed_alone() -> None:
    state = torch.random.get_rng_state()
    together = ReducedOrder("lstm", 3, 2, 5, replicas=3, seeds=[4, 7, 5])
    alone = ReducedOrder("lstm", 3, 2, 5, seeds=7)
    for name, parameter in alone.named_parameters():
        assert torch.equal(parameter[0], together.get_parameter(name)[1])
    assert not torch.equal(together.weight[0], together.weight[1])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_first_parameters_are_kerass(cell: str) -> None:
    model = ReducedOrder(cell, 3, 2, 6)
    gates = {"rnn": 1, "lstm": 4, "gru": 3}[cell]
    columns = model.weight[0, :, 3:]
    torch.testing.assert_close(columns.T @ columns, torch.eye(6), rtol=0, atol=1e-5)
    limit = (6 / (3 + 6 * gates)) ** 0.5
    assert 0.7 * limit < float(model.weight[0, :, :3].abs().max()) <= limit
    expected = torch.zeros(gates * 6)
    if cell == "lstm":
        expected[6:12] = 1
    assert torch.equal(model.bias[0], expected)
    assert not model.offset.any()


def test_forward_and_units() -> None:
    model = ReducedOrder("gru", ["PLML", "PLMR"], ["DB1", "VB1", "PVR"], 4, replicas=2)
    model.set_scaling(torch.tensor([2.0, 4.0]), torch.tensor([-60.0, -50.0, -40.0]), torch.tensor([10.0, 5.0, 1.0]))
    current = torch.rand(3, 7, 2, generator=torch.Generator().manual_seed(0))
    scaled = model(current / torch.tensor([2.0, 4.0]))
    assert scaled.shape == (2, 3, 7, 3)
    torch.testing.assert_close(
        model.predict_mV(current), scaled.detach() * torch.tensor([10.0, 5.0, 1.0]) + torch.tensor([-60.0, -50, -40])
    )
    one = model.select(1)
    assert one.seeds == [1]
    torch.testing.assert_close(one.predict_mV(current)[0], model.predict_mV(current)[1])


def test_inputs_have_gradients_by_the_reference() -> None:
    model = ReducedOrder("gru", 2, 1, 3).double()
    x = torch.rand(2, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(model, (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saved_and_loaded(tmp_path: Path, dtype: torch.dtype) -> None:
    model = ReducedOrder("lstm", ["A", "B"], ["C"], 3, replicas=2, seeds=[5, 9]).to(dtype)
    model.set_scaling(torch.tensor([1.5, 2.5]), torch.tensor([-61.0]), torch.tensor([7.0]))
    again = ReducedOrder.load(model.save(tmp_path / "model", dt_ms=0.5))
    x = torch.rand(2, 6, 2, dtype=dtype)
    assert torch.equal(model(x), again(x))
    assert torch.equal(model.predict_mV(x), again.predict_mV(x))
    assert (again.input_names, again.output_names, again.seeds) == (["A", "B"], ["C"], [5, 9])
    assert json.loads((tmp_path / "model" / "model.json").read_text())["notes"] == {"dt_ms": 0.5}
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.json", "model.safetensors"]


def test_damaged_models_are_refused(tmp_path: Path) -> None:
    folder = ReducedOrder("rnn", 2, 1, 3).save(tmp_path)
    tensors, settings = folder / "model.safetensors", folder / "model.json"
    whole, text = tensors.read_bytes(), settings.read_text()
    tensors.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"does not hold a complete model .*another sha256"):
        ReducedOrder.load(folder)
    tensors.write_bytes(whole)
    for damaged in (text[:-5], text.replace('"hidden": 3', '"hidden": 4'), text.replace('"format_version": 1', '"format_version": 9')):
        settings.write_text(damaged)
        with pytest.raises(ValueError, match="does not hold a complete model"):
            ReducedOrder.load(folder)
    settings.unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no file .*model\.json"):
        ReducedOrder.load(folder)


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_inputs_are_computed_in_the_precision_of_the_parameters(backend: str) -> None:
    net, x = ReducedOrder(backend=backend), torch.rand(2, 5, 4, dtype=torch.float64)
    assert torch.equal(net(x), net(x.float()))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="cell: expected one of rnn, lstm, gru, got 'esn'"):
        ReducedOrder("esn")
    with pytest.raises(ValueError, match="backend: expected one of auto, reference, fused, got 'fast'"):
        ReducedOrder(backend="fast")
    for name in ("inputs", "outputs", "hidden", "replicas"):
        with pytest.raises(ValueError, match=f"{name}: expected 1 or more, got 0"):
            ReducedOrder(**{name: 0})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seeds must hold one integer for each of the 2 variants, got 3"):
        ReducedOrder(replicas=2, seeds=[1, 2, 3])
    model = ReducedOrder(inputs=3)
    with pytest.raises(ValueError, match=r"x: expected \(sequences, steps, 3\), got \(2, 5, 4\)"):
        model(torch.zeros(2, 5, 4))
    with pytest.raises(ValueError, match="trained: expected 0 to 2 sequences, got 3"):
        model(torch.zeros(2, 5, 3), trained=3)
    with pytest.raises(ValueError, match="replica: expected 0 to 0, got 1"):
        model.select(1)
    with pytest.raises(ValueError, match=r"output_scale: expected .* scales above 0"):
        model.set_scaling(torch.ones(3), torch.zeros(4), torch.tensor([1.0, 0, 1, 1]))
