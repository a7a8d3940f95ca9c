"""The kernels' tanh, and both backends against a plain loop over neurons."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans_pyg.nn.executors import refusal
from elegans_pyg.nn.reservoir import ReservoirWeights
from elegans_pyg.nn.reservoir import walk as reservoir_walk


@pytest.mark.parametrize(("dtype", "ulps"), [(torch.float32, 8), (torch.float64, 8)])
def test_tanh_is_exact_to_a_few_units_in_the_last_place(dtype: torch.dtype, ulps: int) -> None:
    kernels = pytest.importorskip("elegans_pyg.nn.reservoir.kernels", reason="needs numba")
    number = np.float32 if dtype == torch.float32 else np.float64
    small = np.float64(10.0) ** np.arange(-30, 2, 0.01)
    x = np.concatenate([np.linspace(-40, 40, 20_001), small, -small]).astype(number)
    out = np.empty_like(x)
    kernels.tanh_into(out, x, *reservoir_walk.TANH[dtype])
    np.testing.assert_allclose(out, np.tanh(x.astype(np.float64)), rtol=ulps * np.finfo(number).eps, atol=0)
    ends = np.array([0.0, np.inf, -np.inf, np.nan], dtype=number)
    out = np.empty_like(ends)
    kernels.tanh_into(out, ends, *reservoir_walk.TANH[dtype])
    np.testing.assert_array_equal(out, [0.0, 1.0, -1.0, np.nan])


def random_weights(seed: int, variants: int, features: int, dtype: torch.dtype) -> tuple[ReservoirWeights, list[dict[str, np.ndarray]]]:
    """Reservoirs of different sizes, packed and as dense matrices; some have no edge or no input."""
    rng = np.random.default_rng(seed)
    dense, packed = [], {name: [] for name in ("rows", "source", "weight", "input_node", "input_weight", "bias", "readout")}
    first, ptr, input_ptr = 0, [0], [0]
    for _ in range(variants):
        n = int(rng.integers(1, 9))
        w = np.where(rng.random((n, n)) < rng.choice([0.0, 0.3, 0.8]), rng.normal(size=(n, n)), 0.0)
        inputs = np.flatnonzero(rng.random(n) < 0.6)
        win, bias, readout = rng.normal(size=(len(inputs), features)), rng.normal(size=n), rng.integers(n, size=2)
        dense.append({"w": w, "inputs": inputs, "win": win, "bias": bias, "readout": readout})
        target, source = w.nonzero()
        packed["rows"].append(np.bincount(target, minlength=n))
        packed["source"].append(source + first)
        packed["weight"].append(w[target, source])
        packed["input_node"].append(inputs + first)
        packed["input_weight"].append(win)
        packed["bias"].append(bias)
        packed["readout"].append(readout + first)
        first += n
        ptr.append(first)
        input_ptr.append(input_ptr[-1] + len(inputs))
    joined = {name: torch.from_numpy(np.concatenate(parts)) for name, parts in packed.items() if name != "readout"}
    leak = torch.from_numpy(rng.uniform(0.1, 1, variants))
    for number, part in enumerate(dense):
        part["leak"] = leak[number].numpy()
    row_ptr = torch.cat([torch.zeros(1, dtype=torch.int64), joined["rows"].cumsum(0)])
    weights = ReservoirWeights(
        torch.tensor(ptr),
        row_ptr,
        joined["source"],
        joined["weight"].to(dtype),
        torch.tensor(input_ptr),
        joined["input_node"],
        joined["input_weight"].to(dtype),
        joined["bias"].to(dtype),
        leak.to(dtype),
        torch.from_numpy(np.stack(packed["readout"])),
    )
    return weights, dense


def loop(part: dict[str, np.ndarray], inputs: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One variant, one sequence, one neuron at a time."""
    states = []
    for u in inputs:
        new = np.empty_like(state)
        for n in range(len(state)):
            drive = part["bias"][n] + sum(part["w"][n, m] * state[m] for m in range(len(state)))
            for i, node in enumerate(part["inputs"]):
                if node == n:
                    drive += sum(part["win"][i, f] * u[f] for f in range(len(u)))
            new[n] = (1 - part["leak"]) * state[n] + part["leak"] * np.tanh(drive)
        state = new
        states.append(state[part["readout"]])
    return np.array(states), state


@pytest.mark.parametrize("walk", ["fused", "reference"])
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    variants=st.integers(1, 3),
    sequences=st.sampled_from([1, 2, 5, 8, 11]),
    features=st.integers(1, 2),
    shared=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_both_backends_follow_the_equation(
    walk: str, seed: int, variants: int, sequences: int, features: int, shared: bool, dtype: torch.dtype
) -> None:
    if walk == "fused" and refusal(torch.device("cpu"), dtype):
        pytest.skip(refusal(torch.device("cpu"), dtype))
    weights, dense = random_weights(seed, variants, features, dtype)
    rng = np.random.default_rng(seed + 1)
    inputs = torch.from_numpy(rng.normal(size=(1 if shared else variants, sequences, 6, features)))
    state = torch.from_numpy(rng.uniform(-1, 1, (sequences, weights.bias.numel())))
    before = state.clone()
    out, last = getattr(reservoir_walk, walk)(weights, inputs.to(dtype), state.to(dtype))
    assert torch.equal(state, before)
    assert out.dtype == dtype
    tolerance = 2e-5 if dtype == torch.float32 else 1e-13
    for v, part in enumerate(dense):
        nodes = slice(int(weights.node_ptr[v]), int(weights.node_ptr[v + 1]))
        for b in range(sequences):
            expected, end = loop(part, inputs[0 if shared else v, b].numpy(), state[b, nodes].numpy())
            np.testing.assert_allclose(out[v, b], expected, atol=tolerance)
            np.testing.assert_allclose(last[b, nodes], end, atol=tolerance)


def test_no_time_steps_leave_the_state() -> None:
    weights, _ = random_weights(0, 2, 1, torch.float64)
    state = torch.rand(3, weights.bias.numel(), dtype=torch.float64)
    for walk in (reservoir_walk.fused, reservoir_walk.reference):
        out, last = walk(weights, torch.empty(1, 3, 0, 1, dtype=torch.float64), state)
        assert out.shape == (2, 3, 0, 2)
        assert torch.equal(last, state)


def test_refusals_say_why() -> None:
    assert "no kernels for device 'cuda', only for cpu" in refusal(torch.device("cuda"), torch.float32, devices=("cpu",))
    assert "torch.bfloat16" in refusal(torch.device("cpu"), torch.bfloat16, devices=("cpu",))
