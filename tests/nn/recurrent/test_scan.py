from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from elegans_pyg.nn.recurrent import CELLS, GATES, choose_backend, recurrent
from elegans_pyg.nn.recurrent.products import LANES, add_products

BACKENDS = ("reference", "fused")


def drawn(cell: str, replicas: int, sequences: int, steps: int, inputs: int, units: int, outputs: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rows = GATES[cell] * units
    weights = [normal(replicas, rows, inputs + units) / math.sqrt(units + 1), normal(replicas, rows)]
    return [normal(sequences, steps, inputs), *weights, normal(replicas, outputs, units), normal(replicas, outputs)]


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def slow(cell: str, x: Tensor, weight: Tensor, bias: Tensor, readout: Tensor, offset: Tensor) -> Tensor:
    """One replica, one sequence, one step, one gate at a time."""
    x_, w, b, c_out, d = (part.numpy() for part in (x, weight, bias, readout, offset))
    units = c_out.shape[2]
    out = np.zeros((len(w), *x.shape[:2], c_out.shape[1]))
    for r in range(len(w)):
        gate = [(w[r, g * units : (g + 1) * units], b[r, g * units : (g + 1) * units]) for g in range(GATES[cell])]
        for s in range(len(x_)):
            h, c = np.zeros(units), np.zeros(units)
            for t in range(x_.shape[1]):
                v = np.concatenate([x_[s, t], h])
                if cell == "rnn":
                    h = np.tanh(gate[0][0] @ v + gate[0][1])
                elif cell == "lstm":
                    i, f, o = (sigmoid(gw @ v + gb) for gw, gb in gate[:3])
                    c = f * c + i * np.tanh(gate[3][0] @ v + gate[3][1])
                    h = o * np.tanh(c)
                else:
                    z, reset = (sigmoid(gw @ v + gb) for gw, gb in gate[:2])
                    candidate = np.tanh(gate[2][0] @ np.concatenate([x_[s, t], reset * h]) + gate[2][1])
                    h = z * h + (1 - z) * candidate
                out[r, s, t] = c_out[r] @ h + d[r]
    return torch.from_numpy(out)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_are_those_of_the_slow_loop(cell: str, backend: str) -> None:
    parts = drawn(cell, 2, 5, 12, 3, 4, 2)
    torch.testing.assert_close(recurrent(cell, *parts, backend=backend), slow(cell, *parts))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_are_those_of_torch_nn(cell: str, backend: str) -> None:
    inputs, units = 3, 5
    x, weight, bias, readout, offset = drawn(cell, 1, 4, 20, inputs, units, 2)
    if cell == "gru":
        # torch's resets the state after the product: the same thing only where the reset gate is open.
        weight[:, units : 2 * units], bias[:, units : 2 * units] = 0, 50
        # and torch stacks r, z, n.
        order = [1, 0, 2]
    else:
        # torch stacks i, f, g, o.
        order = [0, 1, 3, 2] if cell == "lstm" else [0]
    theirs = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell](inputs, units, batch_first=True).double()
    rows = torch.cat([torch.arange(units) + gate * units for gate in order])
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(weight[0, rows, :inputs])
        theirs.weight_hh_l0.copy_(weight[0, rows, inputs:])
        theirs.bias_ih_l0.copy_(bias[0, rows])
        theirs.bias_hh_l0.zero_()
        expected = theirs(x)[0] @ readout[0].T + offset[0]
    torch.testing.assert_close(recurrent(cell, x, weight, bias, readout, offset, backend=backend)[0], expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients(cell: str, backend: str) -> None:
    x, *parameters = drawn(cell, 2, 3, 6, 2, 3, 2)
    parameters = [parameter.requires_grad_() for parameter in parameters]
    assert torch.autograd.gradcheck(lambda *own: recurrent(cell, x, *own, backend=backend), parameters)


@given(
    cell=st.sampled_from(CELLS),
    sizes=st.tuples(*[st.integers(1, high) for high in (3, 40, 40, 5, 7, 5)]),
    seed=st.integers(0, 1000),
    data=st.data(),
)
@settings(max_examples=20, deadline=None)
def test_fused_equals_torch(cell: str, sizes: tuple[int, ...], seed: int, data: st.DataObject) -> None:
    trained = data.draw(st.integers(1, sizes[1]))
    x, *parameters = drawn(cell, *sizes, seed)  # type: ignore[arg-type]
    found = []
    for backend in BACKENDS:
        own = [parameter.clone().requires_grad_() for parameter in parameters]
        out = recurrent(cell, x, *own, trained=trained, backend=backend)
        pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed), dtype=out.dtype)
        (out * pull).sum().backward()
        found.append([out.detach(), *(parameter.grad for parameter in own)])
    for torch_one, fused_one in zip(*found, strict=True):
        torch.testing.assert_close(fused_one, torch_one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_single_precision_stays_close_over_many_steps(cell: str) -> None:
    x, *parameters = drawn(cell, 1, 2, 2000, 2, 4, 2)
    exact = recurrent(cell, x, *parameters, backend="reference")
    single = recurrent(cell, x.float(), *[parameter.float() for parameter in parameters], backend="fused")
    assert single.dtype == torch.float32
    assert float((single - exact).abs().max()) < 2e-5


@pytest.mark.parametrize("huge", [1e3, -1e3])
@pytest.mark.parametrize("cell", CELLS)
def test_saturated_gates_are_finite(cell: str, huge: float) -> None:
    parts = [part.float() for part in drawn(cell, 1, 2, 5, 2, 3, 1)]
    parts[2] += huge
    out = recurrent(cell, *parts, backend="fused")
    torch.testing.assert_close(out, recurrent(cell, *parts, backend="reference"), rtol=1e-5, atol=1e-5)
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("cell", CELLS)
def test_a_replica_is_the_same_alone_and_in_company(cell: str) -> None:
    x, *parameters = drawn(cell, 5, 4, 9, 2, 3, 2)
    before = torch.get_num_threads()
    together = recurrent(cell, x, *parameters, backend="fused")
    try:
        torch.set_num_threads(2)
        assert torch.equal(together, recurrent(cell, x, *parameters, backend="fused"))
    finally:
        torch.set_num_threads(before)
    for replica in range(5):
        alone = recurrent(cell, x, *[parameter[replica : replica + 1] for parameter in parameters], backend="fused")
        assert torch.equal(alone[0], together[replica])


@given(
    rows=st.integers(1, 11),
    count=st.integers(0, 9),
    groups=st.integers(1, 5),
    margin=st.integers(0, 3),
    kind=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 99),
)
@settings(max_examples=20, deadline=None)
def test_products(rows: int, count: int, groups: int, margin: int, kind: type, seed: int) -> None:
    rng, lanes = np.random.default_rng(seed), groups * LANES
    weight = rng.standard_normal((rows, count + margin)).astype(kind)
    v = rng.standard_normal((count + 1, lanes)).astype(kind)
    out = rng.standard_normal((rows + 2, lanes)).astype(kind)
    expected = out.astype(np.float64)
    expected[1:-1] += weight[:, margin:].astype(np.float64) @ v[1:]
    add_products(out.reshape(-1), lanes, weight.reshape(-1), margin, count + margin, v.reshape(-1), lanes, rows, count, lanes)
    np.testing.assert_allclose(out, expected, rtol=1e-4 if kind is np.float32 else 1e-12, atol=1e-5 if kind is np.float32 else 1e-12)


def test_backends_are_chosen_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1, 2, 3)
    assert choose_backend("auto", x) == "fused"
    assert choose_backend("auto", x.half()) == "reference"
    assert choose_backend("auto", x.clone().requires_grad_()) == "reference"
    with pytest.raises(ValueError, match="backend: expected one of auto, reference, fused, got 'quick'"):
        choose_backend("quick", x)
    with pytest.raises(
        ValueError, match=r"backend='fused' does not apply: .*float32 and torch.float64, and the parameters are torch\.float16"
    ):
        choose_backend("fused", x.half())
    with pytest.raises(ValueError, match="give x no gradient, and x requires one"):
        choose_backend("fused", x.clone().requires_grad_())
    monkeypatch.setitem(sys.modules, "numba", None)
    assert choose_backend("auto", x) == "reference"
    with pytest.raises(ValueError, match=r"backend='fused' does not apply: .*need 'numba'.*elegans-pyg\[fast\]"):
        choose_backend("fused", x)
