from __future__ import annotations

import copy
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elegans_pyg import _threads
from elegans_pyg.dynamics import State, StepWarning, Worm, simulate
from elegans_pyg.dynamics.fused import integrate_fused
from elegans_pyg.dynamics.integrate import integrate
from scripts.build_biophysics import ordinary_currents
from tests.dynamics.circuits import circuit, five
from tests.dynamics.ode import Network, solve

FCM = ["PLML", "PLMR", "AVBL", "AVBR"]


@pytest.fixture(scope="module")
def worm() -> Worm:
    return Worm("c302-C1")


def pulse(dt_ms: float, duration_ms: float, on_ms: float, size: float, inputs: int) -> Tensor:
    current = torch.zeros(1, round(duration_ms / dt_ms), inputs, dtype=torch.float64)
    current[:, round(on_ms / dt_ms) :] = size
    return current


@pytest.mark.parametrize("membrane", ["c302-C1", "kunert"])
def test_small_circuit_converges_in_second_order_to_scipys_solution(membrane: str) -> None:
    data = five()
    small, network = Worm.from_connectome(data, membrane), Network(membrane, data)
    rest = network.start(None if membrane == "c302-C1" else small.data.threshold_mV.numpy())
    if membrane == "kunert":
        rest[5:] = small.initial_state().activation
    size = 4.0

    def current(time_ms: float) -> np.ndarray:
        return np.array([size if time_ms > 2 else 0, 0, 0, 0, 0])

    exact = solve(network, rest, current, [0, 2, 40], small.data.threshold_mV.numpy(), "LSODA", 1e-11, 0.4)
    errors = []
    for dt_ms in (0.1, 0.05, 0.025, 0.0125):
        _, voltage = simulate(small, pulse(dt_ms, 40, 2, size, 1), ["N0"], dt_ms, 40.0)
        errors.append(np.abs(voltage[0, round(0.4 / dt_ms) - 1 :: round(0.4 / dt_ms)].numpy() - exact).max())
    # A calcium spike runs through the circuit, whose slightest shift in time is the error that is seen.
    assert np.ptp(exact[:, :2], axis=0).min() > 10
    assert errors[-1] < (0.2 if membrane == "c302-C1" else 5e-3)
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > 1.8).all(), orders


def test_full_network_agrees_with_scipys_bdf(worm: Worm) -> None:
    network = Network("c302-C1", worm.data)
    rows = [worm.neuron_name.index(name) for name in FCM]

    def current(time_ms: float) -> np.ndarray:
        values = np.zeros(302)
        values[rows] = 5 if time_ms > 2 else 0
        return values

    exact = solve(network, network.start(), current, [0, 2, 12], 0.0, "BDF", 1e-6, 0.1)
    _, voltage = simulate(worm, pulse(0.025, 12, 2, 5, 4), FCM, 0.025, 12.0)
    error = voltage[0, 3::4].numpy() - exact
    assert np.abs(error).max() < 0.2
    assert np.sqrt((error**2).mean()) < 5e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["c302-C1", "kunert"])
def test_fused_equals_reference(name: str, dtype: torch.dtype) -> None:
    pytest.importorskip("numba")
    worm = Worm(name)
    current = 6 * torch.rand(5, 300, 4, dtype=dtype, generator=torch.Generator().manual_seed(0))
    options = {"inputs": FCM, "duration_ms": 15.0, "ablate": ["AVA"], "record": ["DB1", "VB1", "PVR", "AVBL"]}
    _, plain = simulate(worm, current, backend="reference", **options)
    _, fused = simulate(worm, current, backend="fused", **options)
    assert plain.dtype == fused.dtype == dtype
    torch.testing.assert_close(fused, plain, rtol=0, atol=2e-3 if dtype == torch.float32 else 1e-9)


@st.composite
def nervous_systems(draw: st.DrawFn) -> tuple[list[tuple[int, int, float, int]], list[bool]]:
    number = draw(st.integers(1, 6))
    pairs = draw(st.lists(st.tuples(*[st.integers(0, number - 1)] * 2, st.integers(0, 1)), max_size=12))
    unique = {(min(a, b), max(a, b), k) if k else (a, b, k) for a, b, k in pairs}
    edges = [(a, b, float(draw(st.integers(1, 40))), k) for a, b, k in sorted(unique)]
    return edges, draw(st.lists(st.booleans(), min_size=number, max_size=number))


@settings(max_examples=20, deadline=None)
@given(nervous_systems(), st.sampled_from(["c302-C1", "kunert"]), st.floats(-20, 50))
def test_any_circuit_stays_finite_and_fused_equals_reference(system: tuple, membrane: str, size: float) -> None:
    pytest.importorskip("numba")
    small = Worm.from_connectome(circuit(*system), membrane)
    current = torch.full((2, 100, 1), size, dtype=torch.float64)
    current[1] = 0
    _, plain = simulate(small, current, ["N0"], 0.01, 1.0, backend="reference")
    _, fused = simulate(small, current, ["N0"], 0.01, 1.0, backend="fused")
    assert torch.isfinite(plain).all()
    torch.testing.assert_close(fused, plain, rtol=1e-9, atol=1e-8)


def test_stays_finite_where_neurons_export_diverges(worm: Worm) -> None:
    current = torch.tensor([20.0, 50.0, -50.0])[:, None, None].expand(3, 2000, 4)
    _, voltage = simulate(worm, current, FCM, duration_ms=100.0)
    assert torch.isfinite(voltage).all()
    # Positive currents are held by potassium channels; the negative one ends at rest + I / g of leak and gap junctions at the lowest.
    assert float(voltage[:2].max()) < 60
    assert float(voltage[2].min()) > -50 - 50 / float(worm.data.leak_nS[0])


def test_stimuli_are_independent_and_times_are_those_of_the_steps_ends(worm: Worm) -> None:
    current = 5 * torch.rand(3, 200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    time_ms, together = simulate(worm, current, ["PLML", "AVBR"], 0.05, 10.0)
    assert torch.allclose(time_ms, torch.arange(1, 201, dtype=torch.float64) * 0.05)
    for stimulus in range(3):
        _, alone = simulate(worm, current[stimulus : stimulus + 1], ["PLML", "AVBR"], 0.05, 10.0)
        torch.testing.assert_close(alone[0], together[stimulus], rtol=0, atol=1e-10)
    # A current that begins with step 100 is felt at that step's end, at index 100, and not before.
    later = current.clone()
    later[:, 100:] += 1
    _, changed = simulate(worm, later, ["PLML", "AVBR"], 0.05, 10.0)
    row = worm.neuron_name.index("PLML")
    assert torch.equal(changed[:, :100], together[:, :100])
    assert bool((changed[:, 100, row] > together[:, 100, row] + 0.01).all())


@pytest.mark.parametrize("membrane", ["c302-C1", "kunert"])
def test_gradients_in_currents_conductances_and_initial_state(membrane: str) -> None:
    small = Worm.from_connectome(circuit([(0, 1, 6.0, 0), (1, 0, 3.0, 0), (0, 1, 20.0, 1)], [False, True]), membrane)
    generator = torch.Generator().manual_seed(0)
    current = 5 * torch.rand(1, 7, 1, dtype=torch.float64, generator=generator)
    leaves = {
        name: small.data[name]
        for name in ("conductance_nS", "leak_nS", "capacitance_pF", "threshold_mV", "channel_nS")
        if name in small.data
    }
    state = small.initial_state()
    # Away from where calcium is held at 0.
    state = State(state.voltage_mV + 30, state.activation + 0.3, state.gates, state.calcium_pM + 50)

    def run(current: Tensor, *rest: Tensor) -> Tensor:
        for name, value in zip(leaves, rest, strict=False):
            small.data[name] = value
        return simulate(small, current, ["N0"], 0.05, 0.35, initial_state=State(*rest[len(leaves) :]))[1]

    arguments = [tensor.clone().requires_grad_() for tensor in (current, *leaves.values(), *state)]
    assert torch.autograd.gradcheck(run, arguments, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("membrane", ["c302-C1", "kunert"])
def test_fused_gradients_equal_those_of_the_reference(membrane: str, dtype: torch.dtype) -> None:
    """While neurons fire, over several kept states, with several stimuli per kernel, and with three internal steps."""
    pytest.importorskip("numba")
    generator = torch.Generator().manual_seed(0)
    worm = Worm(membrane)
    current = 6 * torch.rand(6, 117, 4, dtype=dtype, generator=generator)
    tables = {name: table for name, table in worm.data.to_dict().items() if isinstance(table, Tensor) and table.is_floating_point()}
    given = torch.randn(6, 117, 3, dtype=dtype, generator=generator)
    state = worm.initial_state()
    state = state._replace(
        voltage_mV=state.voltage_mV + 20 * torch.rand(6, len(worm.neuron_name), dtype=torch.float64, generator=generator)
    )

    def run(backend: str) -> tuple[list[Tensor], Tensor]:
        leaves = [part.clone().requires_grad_() for part in (current, *tables.values(), *state)]
        for name, leaf in zip(tables, leaves[1:], strict=False):
            worm.data[name] = leaf
        begin = State(*leaves[-4:])
        _, voltage = simulate(worm, leaves[0], FCM, duration_ms=5.85, record=["DB1", "VB1", "AVBL"], initial_state=begin, backend=backend)
        return list(torch.autograd.grad(voltage, leaves, given, allow_unused=True)), voltage.detach()

    plain, voltage = run("reference")
    if membrane == "c302-C1":
        assert float(voltage.diff(dim=1).abs().max()) > 0.05, "expected a neuron fast enough to be extrapolated"
    fused, _ = run("fused")
    assert len(tables) >= 5
    for one, other in zip(fused, plain, strict=True):
        if other is not None and other.numel():
            torch.testing.assert_close(one, other, rtol=0, atol=float(other.abs().max()) * (1e-3 if dtype == torch.float32 else 1e-11))
    if dtype == torch.float64:
        inputs, record = (torch.tensor(worm.rows(names)) for names in (FCM, ["DB1", "VB1", "AVBL"]))
        found = []
        for walk in (integrate_fused, integrate):
            leaf = current.clone().requires_grad_()
            voltage = walk(worm, worm.initial_state(), leaf, inputs, record, 0.05, 3)
            found.append(torch.autograd.grad(voltage, leaf, given)[0])
        assert float(found[0].abs().max()) > 1e-3
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


def test_kernels_can_be_compiled_by_a_call_for_no_stimuli(worm: Worm, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the first call of a kernel is one for no items, while a message says that it is being compiled."""
    pytest.importorskip("numba")
    called = []

    def shared(kernel: Any, count: int, *arguments: Any, **options: Any) -> None:
        kernel(0, 0, *_threads._arrays(arguments))
        called.append(kernel.__name__)
        _threads.share(kernel, count, *arguments, **options)

    monkeypatch.setattr(sys.modules["elegans_pyg.dynamics.fused"], "share", shared)
    current = torch.full((2, 20, 1), 3.0, dtype=torch.float64, requires_grad=True)
    _, voltage = simulate(worm, current, ["PLML"], duration_ms=1.0, estimate=False)
    voltage.sum().backward()
    assert set(called) == {"integrate_stimuli", "differentiate_stimuli"}
    assert float(current.grad.abs().min()) > 0  # type: ignore[union-attr]


def test_gradient_reaches_the_current_through_a_synapse(worm: Worm) -> None:
    current = torch.full((1, 100, 1), 3.0, requires_grad=True)
    _, voltage = simulate(worm, current, ["PLML"], duration_ms=5.0, record=["AVBL"])
    voltage[0, -1, 0].backward()
    assert current.grad is not None
    assert torch.isfinite(current.grad).all()
    assert float(current.grad.abs().sum()) > 0


def test_continues_from_a_state_and_leaves_its_arguments_alone(worm: Worm) -> None:
    state = worm.initial_state()
    raised = state._replace(voltage_mV=(state.voltage_mV + 10).expand(2, -1).clone())
    current = torch.zeros(2, 40, 1, dtype=torch.float64)
    before = [part.clone() for part in (*raised, current)]
    _, voltage = simulate(worm, current, ["AVBL"], duration_ms=2.0, initial_state=raised)
    assert float(voltage[:, 0].mean()) > -40
    assert all(torch.equal(part, old) for part, old in zip((*raised, current), before, strict=True))


def test_numba_is_optional(worm: Worm, monkeypatch: pytest.MonkeyPatch) -> None:
    current = torch.full((1, 20, 1), 5.0, dtype=torch.float64)
    _, expected = simulate(worm, current, ["AVBL"], duration_ms=1.0)
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(sys.modules["elegans_pyg.dynamics.simulate"], "find_spec", lambda _: None)
    _, plain = simulate(worm, current, ["AVBL"], duration_ms=1.0)
    torch.testing.assert_close(plain, expected, rtol=0, atol=1e-10)
    with pytest.raises(ImportError, match=r"the fused backend needs 'numba'.*pip install 'elegans-pyg\[fast\]'"):
        simulate(worm, current, ["AVBL"], duration_ms=1.0, backend="fused")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_cuda_equals_the_cpu(worm: Worm) -> None:
    current = 5 * torch.rand(3, 200, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, expected = simulate(worm, current, FCM, duration_ms=10.0)
    time_ms, voltage = simulate(worm, current.cuda(), FCM, duration_ms=10.0)
    assert time_ms.is_cuda
    torch.testing.assert_close(voltage.cpu(), expected, rtol=0, atol=1e-9)


def test_gradients_do_not_depend_on_which_states_are_kept(worm: Worm) -> None:
    def gradient(segment: int | None) -> Tensor:
        current = torch.full((1, 30, 1), 5.0, dtype=torch.float64, requires_grad=True)
        row = torch.tensor([worm.neuron_name.index("AVBL")])
        integrate(worm, worm.initial_state(), current, row, row, 0.05, segment=segment)[0, -1].sum().backward()
        assert current.grad is not None
        return current.grad

    expected = gradient(None)
    for segment in (1, 7, 30):
        torch.testing.assert_close(gradient(segment), expected, rtol=1e-10, atol=0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the process's memory from /proc")
def test_memory_does_not_grow_with_every_step(worm: Worm) -> None:
    def resident_mb() -> float:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def run(steps: int) -> Tensor:
        current = torch.full((1, steps, 1), 2.0, requires_grad=True)
        return simulate(worm, current, ["PLML"], duration_ms=steps * 0.05, record=["AVBL"])[1]

    run(50)
    before = resident_mb()
    voltage = run(900)
    # The graph of every step, without any tensor, would take 90 MB.
    assert resident_mb() - before < 40
    assert voltage.requires_grad


def test_kunerts_network_stays_at_rest_without_input() -> None:
    worm = Worm("kunert")
    _, voltage = simulate(worm, torch.zeros(1, 2000, 1, dtype=torch.float64), ["AVBL"], duration_ms=100.0)
    torch.testing.assert_close(voltage[0, -1], worm.data.threshold_mV, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"inputs": ["PLML", "AVBX"]}, ValueError, r"inputs: .* got 'AVBX'; nearest are .*AVB[LR]"),
        ({"inputs": "PLML"}, TypeError, "inputs: expected a list of neurons, got the string 'PLML'"),
        ({"inputs": ["PLML", "PLML"]}, ValueError, "inputs: expected each neuron once, got 'PLML' twice"),
        ({"record": ["XYZ"]}, ValueError, "record: expected a neuron of this worm's 302, got 'XYZ'"),
        ({"record": []}, ValueError, "record: expected at least one neuron"),
        ({"ablate": ["PLM"]}, ValueError, "inputs: expected neurons that are left, got PLML, which ablate removes"),
        ({"ablate": ["DB1"], "record": ["DB1"]}, ValueError, "record: expected neurons that are left, got DB1"),
        ({"ablate": ["QQ"]}, ValueError, "ablate: expected a neuron"),
        ({"dt_ms": 0.1}, ValueError, r"current_pA: expected \(stimuli, 100 steps, 2 inputs\).* got \(1, 200, 2\)"),
        ({"dt_ms": 0.03}, ValueError, "duration_ms: expected a whole number of steps of 0.03 ms, got 10.0"),
        ({"dt_ms": 0.0}, ValueError, "dt_ms: expected a finite number of ms above 0"),
        ({"duration_ms": float("nan")}, ValueError, "duration_ms: expected a finite number"),
        (
            {"current_pA": torch.zeros(1, 200, 2, dtype=torch.int64)},
            TypeError,
            "current_pA: expected a tensor of float32 or float64, got torch.int64",
        ),
        (
            {"current_pA": torch.zeros(1, 200, 2, dtype=torch.float16)},
            TypeError,
            "current_pA: expected a tensor of float32 or float64, got torch.float16",
        ),
        ({"current_pA": torch.zeros(0, 200, 2)}, ValueError, "current_pA: expected"),
        ({"backend": "fast"}, ValueError, "backend: expected one of auto, reference, fused, got 'fast'"),
    ],
)
def test_refuses(worm: Worm, change: dict, error: type[Exception], message: str) -> None:
    arguments = {"current_pA": torch.zeros(1, 200, 2), "inputs": ["PLML", "PVR"], "duration_ms": 10.0, **change}
    with pytest.raises(error, match=message):
        simulate(worm, **arguments)


@pytest.mark.parametrize(
    ("name", "spoil", "error", "message"),
    [
        ("channel_nS", lambda table: table[:300], ValueError, r"channel_nS: expected \(302, 3\), got \(300, 3\)"),
        ("leak_nS", lambda table: table[:1], ValueError, r"leak_nS: expected \(302,\), got \(1,\)"),
        ("conductance_nS", lambda table: table * torch.nan, ValueError, "conductance_nS: expected finite numbers"),
        ("conductance_nS", lambda table: -table, ValueError, "conductance_nS: expected no negative number"),
        ("capacitance_pF", lambda table: 0 * table, ValueError, "capacitance_pF: expected numbers above 0"),
        ("reversal_mV", lambda table: table.float(), TypeError, "reversal_mV: expected a float64 tensor, got torch.float32"),
    ],
)
@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_refuses_tables_that_do_not_fit(worm: Worm, name: str, spoil: object, error: type[Exception], message: str, backend: str) -> None:
    own = copy.deepcopy(worm)
    own.data[name] = spoil(own.data[name])  # type: ignore[operator]
    with pytest.raises(error, match=message):
        simulate(own, torch.zeros(1, 10, 1), ["PLML"], 0.05, 0.5, backend=backend)


def test_refuses_currents_that_are_not_finite(worm: Worm) -> None:
    current = torch.zeros(2, 20, 2)
    current[1, 7, 0] = float("nan")
    with pytest.raises(ValueError, match="got nan in stimulus 1 at step 7 into PLML"):
        simulate(worm, current, ["PLML", "PVR"], duration_ms=1.0)


def test_refuses_a_step_too_long_for_the_gap_junctions() -> None:
    with pytest.raises(ValueError, match=r"dt_ms: expected at most 0\.133, the shortest time constant .* got 1.0"):
        simulate(Worm("kunert"), torch.zeros(1, 10, 1), ["AVBL"], 1.0, 10.0)


def test_refuses_a_state_of_another_worm(worm: Worm) -> None:
    with pytest.raises(ValueError, match=r"initial_state.voltage_mV: expected \(300,\), or 1 of these, got \(302,\)"):
        simulate(worm, torch.zeros(1, 10, 1), ["AVBL"], duration_ms=0.5, ablate=["AVA"], initial_state=worm.initial_state())


def test_default_steps_are_accurate_and_their_error_is_estimated(worm: Worm) -> None:
    """Against the same equations in steps of 1/8 and 1/16, extrapolated; these against NEURON in test_neuron_backend.py."""
    current = torch.full((1, 600, 1), 8.0, dtype=torch.float64)
    options = {"inputs": ["AVDL"], "duration_ms": 30.0}
    done = simulate(worm, current, **options)
    fine = [simulate(worm, current.repeat_interleave(k, 1), ["AVDL"], 0.05 / k, 30.0, estimate=False)[1][:, k - 1 :: k] for k in (8, 16)]
    exact = (4 * fine[1] - fine[0]) / 3
    error = (done.voltage_mV - exact).abs()
    # A neuron fires, and before fast neurons were extrapolated this was off by millivolts.
    assert float(exact.max()) > 20
    assert float(error.square().mean().sqrt()) < 0.03
    assert float(error.max()) < 1
    assert float(error.max()) / 5 < float(done.error_mV[0]) < max(5 * float(error.max()), 0.2)
    within = simulate(worm, current, tolerance_mV=0.02, **options)
    assert float(within.error_mV[0]) <= 0.02
    assert float((within.voltage_mV - exact).abs().max()) < 0.06


def test_the_error_is_estimated_where_steps_twice_as_long_lose_the_plateaus(worm: Worm) -> None:
    inputs, current = ordinary_currents()["motor"]
    flowing = torch.from_numpy(current)[None]
    coarse = simulate(worm, flowing.view(1, -1, 2, 4).mean(2), inputs, 0.1, 300.0, estimate=False).voltage_mV
    with warnings.catch_warnings():
        warnings.simplefilter("error", StepWarning)
        done = simulate(worm, flowing, inputs, 0.05, 300.0)
        single = simulate(worm, flowing.float(), inputs, 0.05, 300.0)
    assert float(single.error_mV[0]) == pytest.approx(float(done.error_mV[0]), rel=0.01)
    assert float((done.voltage_mV[:, 1::2] - coarse).abs().max()) / 3 > 5
    fine = simulate(worm, flowing.repeat_interleave(4, 1), inputs, 0.0125, 300.0, estimate=False).voltage_mV[:, 3::4]
    error = float((done.voltage_mV - fine).abs().max()) * 16 / 15
    assert error < 1
    assert float(done.error_mV[0]) == pytest.approx(error, rel=0.2)


def test_each_stimulus_has_the_internal_steps_that_it_needs(worm: Worm) -> None:
    quiet, strong = torch.zeros(120, 1, dtype=torch.float64), torch.full((120, 1), 8.0, dtype=torch.float64)
    current = torch.stack([quiet, strong])
    options = {"inputs": ["AVDL"], "duration_ms": 6.0, "record": ["AVDL", "AVAL"]}
    once, within = simulate(worm, current, **options), simulate(worm, current, tolerance_mV=0.02, **options)
    assert torch.equal(within.voltage_mV[0], once.voltage_mV[0])
    assert not torch.equal(within.voltage_mV[1], once.voltage_mV[1])
    assert float(within.error_mV.max()) <= 0.02
    # The same steps with gradients.
    wanted = current.clone().requires_grad_()
    again = simulate(worm, wanted, tolerance_mV=0.02, **options).voltage_mV
    torch.testing.assert_close(again, within.voltage_mV, rtol=0, atol=1e-9)
    slope = torch.autograd.grad(again[1, -1, 0], wanted)[0][1, 100, 0]
    moved = []
    for change in (1e-4, -1e-4):
        other = current.clone()
        other[1, 100] += change
        moved.append(simulate(worm, other, tolerance_mV=0.02, **options).voltage_mV[1, -1, 0])
    assert float(slope) == pytest.approx(float(moved[0] - moved[1]) / 2e-4, rel=1e-5)


def test_three_steps_are_compared_at_the_same_time() -> None:
    kunert = Worm("kunert")
    current = torch.full((1, 3, 1), 2e3, dtype=torch.float64)
    options = {"inputs": ["AVBL"], "record": ["AVBL"]}
    done = simulate(kunert, current, dt_ms=0.05, duration_ms=0.15, **options)
    coarse = simulate(kunert, current[:, :1], dt_ms=0.1, duration_ms=0.1, estimate=False, **options).voltage_mV
    expected = float((done.voltage_mV[:, 1] - coarse[:, 0]).abs().max()) / 3
    assert expected < 1
    assert float(done.error_mV[0]) == pytest.approx(expected)


def test_warns_of_steps_that_are_too_long() -> None:
    kunert = Worm("kunert")
    current = torch.zeros(2, 20, 1)
    current[1, 10:] = 2e4
    with pytest.warns(StepWarning, match=r"voltages of stimulus 1 may be off by .* mV at dt_ms=0\.05; give tolerance_mV=0\.1"):
        done = simulate(kunert, current, ["AVBL"], 0.05, 1.0)
    assert float(done.error_mV[1]) > 1
    assert bool(done.error_mV[0].isnan())
    with pytest.raises(ValueError, match="tolerance_mV: expected a number above 0, got 0"):
        simulate(kunert, current, ["AVBL"], 0.05, 1.0, tolerance_mV=0)
