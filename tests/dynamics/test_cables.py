from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.sparse import coo_matrix, diags
from torch import Tensor

from elegans_pyg.dynamics import State, Worm, simulate
from elegans_pyg.dynamics.cables import Segments, cut, read_segments
from elegans_pyg.dynamics.cables.integrate import integrate_cables
from elegans_pyg.dynamics.cables.trees import Tree, solve, spread
from tests.dynamics.circuits import circuit
from tests.dynamics.ode import FOLDER

RESISTIVITY, CAPACITANCE = 3000.0, 1.0


def cable(*pieces: tuple[float, float, int]) -> Segments:
    """Cylinders of a length and diameter in um, each growing from the end of another: a soma of no account first, which is the first."""
    proximal, distal = [], []
    for length, diameter, parent in pieces:
        start = [0.0, 0.0, 0.0] if parent < 0 else distal[parent][:3]
        proximal.append([*start, diameter])
        distal.append([start[0] + length, *start[1:], diameter])
    number = np.arange(len(pieces))
    return Segments(0 * number, number, number, np.array([piece[2] for piece in pieces]), np.array(proximal), np.array(distal))


def at_rest(segments: Segments, d_lambda: float, leak: float, into: int, out: int) -> float:
    """Steady voltage in mV at one segment's middle under 1 pA into another's, of a leak in nS per um2."""
    cables = cut(segments, d_lambda, RESISTIVITY, CAPACITANCE)
    nodes = len(cables.parent)
    ground, current = torch.zeros(nodes, 1, dtype=torch.float64), torch.zeros(nodes, 1, dtype=torch.float64)
    ground[: len(cables.area_um2), 0] = torch.as_tensor(cables.area_um2) * leak
    current[cables.segment[into]] = 1
    axial = torch.as_tensor(1e5 / (RESISTIVITY * cables.path_per_um))
    found = solve(ground, axial, current, Tree.of(cables.parent, cables.levels, torch.device("cpu")))
    assert torch.allclose(ground * found - spread(found, axial, torch.as_tensor(cables.parent)), current, atol=1e-9)
    return float(found[cables.segment[out], 0])


def test_a_passive_cable_converges_in_second_order_to_its_closed_form() -> None:
    length, diameter, leak = 800.0, 0.7, 1e-3
    # Thirds, so that the middle of the first and of the last one is the middle of a compartment.
    segments = cable(*((length / 3, diameter, piece - 1) for piece in range(3)))
    constant = np.sqrt(diameter / (4 * RESISTIVITY * leak * 1e-5))
    # A current into x of a cable with sealed ends, measured at y > x.
    x, y = length / 6, 5 * length / 6
    input_mV = 1 / (np.pi * diameter * constant * leak)
    exact = input_mV * np.cosh(x / constant) * np.cosh((length - y) / constant) / np.sinh(length / constant)
    errors = [abs(at_rest(segments, d_lambda, leak, 0, 2) - exact) for d_lambda in (0.8, 0.26, 0.087)]
    assert errors[-1] < 2e-3 * exact
    for coarse, fine in pairwise(errors):
        assert 6 < coarse / fine < 12  # three times as many compartments


def test_branches_that_match_are_one_cylinder() -> None:
    """Rall 1962, doi:10.1016/S0006-3495(62)86953-7: daughters whose diameters to the power of 3/2 add up to the mother's."""
    leak, mother = 1e-3, 1.6
    daughter = mother / 2 ** (2 / 3)
    factor = np.sqrt(daughter / mother)
    tree = cable((150, mother, -1), (200 * factor, daughter, 0), (200 * factor, daughter, 0))
    straight = cable((150, mother, -1), (200, mother, 0))
    for d_lambda in (0.3, 0.05):
        assert at_rest(tree, d_lambda, leak, 0, 1) == pytest.approx(
            at_rest(straight, d_lambda, leak, 0, 1), rel=2e-3 if d_lambda == 0.05 else 0.05
        )
        assert at_rest(tree, d_lambda, leak, 0, 1) == pytest.approx(at_rest(tree, d_lambda, leak, 0, 2), rel=1e-12)


@pytest.mark.slow
def test_a_passive_cables_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A current step into one end of a cable with sealed ends: Fourier series in space, exponentials in time."""
    pytest.importorskip("numba")
    length, diameter = 400.0, 1.0
    segments = cable(*((length / 101, diameter, piece - 1) for piece in range(101)))._replace(section=np.zeros(101, dtype=np.int64))
    monkeypatch.setattr("elegans_pyg.dynamics.worm.read_segments", lambda names: segments)
    worm = Worm.from_connectome(circuit([], [False]), "c302-C1", morphology=True, compartments=0.02)
    worm.data.channel_nS = torch.zeros(1, 3, dtype=torch.float64)
    area = np.pi * diameter * length
    worm.data.leak_nS = torch.tensor([1e-3 * area], dtype=torch.float64)
    start = worm.initial_state()
    start = start._replace(voltage_mV=torch.full_like(start.voltage_mV, -50))
    current = torch.full((1, 400, 1), 10.0, dtype=torch.float64)
    _, voltage = simulate(worm, current, ["N0"], 0.05, 20.0, ["N0:50", "N0:100"], initial_state=start, backend="fused")
    tau, constant = 0.01 / 1e-3, np.sqrt(diameter / (4 * 3000 * 1e-3 * 1e-5))
    time = np.arange(1, 401)[:, None, None] * 0.05
    wave, place = np.arange(2000), np.array([50.5, 100.5])[:, None] / 101
    rate = (1 + (wave * np.pi * constant / length) ** 2) / tau
    # The current enters half a segment from the end.
    shape = np.where(wave > 0, 2, 1) * np.cos(wave * np.pi * place) * np.cos(wave * np.pi / 202)
    exact = -50 + 10 * (shape * (1 - np.exp(-rate * time)) / rate).sum(-1) / (0.01 * area)
    assert np.ptp(exact) > 1
    assert np.abs(voltage[0].numpy() - exact)[5:].max() < 0.01


def few(compartments: str | float = "section") -> Worm:
    """Four of D1's neurons with their synapses among each other, one of them inhibitory, and gap junctions."""
    worm = Worm("c302-D1", compartments=compartments)
    kept = {"AVBL", "AVBR", "VB1", "DD1"}
    return worm.without([name for name in worm.neuron_name if name not in kept])


class Shaped:
    """The equations of c302-D1 as one right-hand side for SciPy, written from its file of constants and the compartments' geometry."""

    def __init__(self, worm: Worm) -> None:
        table = json.loads((FOLDER / "c302-D1.json").read_text())
        cables = worm.cables
        self.table, self.area, self.soma = table, cables.area_um2, cables.soma
        self.number, self.nodes, self.neurons = len(self.area), len(cables.parent), len(self.soma)
        child = np.flatnonzero(cables.parent != np.arange(self.nodes))
        link = 1e5 / (table["resistivity_ohm_cm"] * cables.path_per_um[child])
        pair = (child, cables.parent[child])
        whole = coo_matrix((link, pair), shape=(self.nodes, self.nodes))
        whole = (whole + whole.T).tocsr()
        laplacian = (diags(np.asarray(whole.sum(1)).ravel()) - whole).toarray()
        # Branch points have no membrane: they are eliminated.
        inner, branch = slice(self.number), slice(self.number, None)
        reduced = np.linalg.solve(laplacian[branch, branch], laplacian[branch, inner])
        self.axial = laplacian[inner, inner] - laplacian[inner, branch] @ reduced
        data, self.inhibitory = worm.data, worm.data.inhibitory.tolist()
        # As numbers, since the right-hand side is evaluated thousands of times.
        signs = data.inhibitory[data.edge_index[0]].tolist()
        self.edges = list(zip(data.edge_index.T.tolist(), data.edge_type.tolist(), signs, data.edge_weight.tolist(), strict=True))
        self.gates = [gate for channel in table["channels"].values() for gate in channel["gates"].values()]

    def rate(self, y: np.ndarray, current: np.ndarray) -> np.ndarray:
        table, number = self.table, self.number
        v, n, p, q, e, f, ca = y[: 7 * number].reshape(7, number)
        s = y[7 * number :]
        channels, block = table["channels"], table["calcium"]["block"]
        h = 1 / (1 + np.exp((block["half_pM"] - ca) / block["scale_pM"]))
        opened = {"k_slow": n, "k_fast": p**4 * q, "ca_boyle": e**2 * f * (1 + (h - 1) * block["alpha"])}
        flows = {name: channel["conductance_nS"] * opened[name] * (channel["reversal_mV"] - v) for name, channel in channels.items()}
        density = table["leak"]["conductance_nS"] * (table["leak"]["reversal_mV"] - v) + sum(flows.values())
        into = density * self.area - self.axial @ v
        soma, ds = v[self.soma], np.zeros(self.neurons)
        into[self.soma] += current
        for (a, b), kind, sign, weight in self.edges:
            own = table["synapse"]["inhibitory" if sign else "excitatory"]
            if kind == 1:
                into[self.soma[b]] += weight * table["gap_junction_nS"] * (soma[a] - soma[b])
            else:
                into[self.soma[b]] += own["conductance_nS"] * s[a] * (own["reversal_mV"] - soma[b])
        for i in range(self.neurons):
            own = table["synapse"]["inhibitory" if self.inhibitory[i] else "excitatory"]
            phi = 1 / (1 + np.exp((own["threshold_mV"] - soma[i]) / own["delta_mV"]))
            ds[i] = own["rise_per_ms"] * phi * (1 - s[i]) - own["decay_per_ms"] * s[i]
        dv = into / (self.area * table["capacitance_pF"])
        dg = [
            (1 / (1 + np.exp((g["midpoint_mV"] - v) / g["scale_mV"])) - x) / g["tau_ms"]
            for g, x in zip(self.gates, (n, p, q, e, f), strict=True)
        ]
        dca = table["calcium"]["pM_per_pA_ms"] * flows["ca_boyle"] - ca / table["calcium"]["decay_ms"]
        return np.concatenate([dv, *dg, dca, ds])


def test_a_circuit_of_shaped_neurons_converges_in_second_order_to_scipys_solution() -> None:
    worm = few()
    model, inputs = Shaped(worm), [worm.neuron_name.index(name) for name in ("AVBL", "VB1")]
    state = worm.initial_state()
    start = np.concatenate([state.voltage_mV, *state.gates, state.calcium_pM, state.activation])
    injected = np.zeros(4)
    injected[inputs] = 12, -3
    times = np.arange(1, 101) * 0.4
    exact = solve_ivp(lambda _, y: model.rate(y, injected), (0, 40.0), start, "BDF", times, rtol=1e-8, atol=1e-8).y[model.soma].T
    assert np.ptp(exact, axis=0).min() > 3
    errors = []
    for dt_ms in (0.05, 0.025, 0.0125):
        current = torch.tensor([12.0, -3.0], dtype=torch.float64).expand(1, round(40 / dt_ms), 2)
        _, voltage = simulate(worm, current, ["AVBL", "VB1"], dt_ms, 40.0)
        errors.append(np.abs(voltage[0, round(0.4 / dt_ms) - 1 :: round(0.4 / dt_ms)].numpy() - exact).max())
    assert errors[-1] < 0.02
    assert all(np.log2(coarse / fine) > 1.7 for coarse, fine in pairwise(errors)), errors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{"name": "c302-D1"}, {"name": "c302-C1", "morphology": True}])
def test_fused_equals_reference(options: dict, dtype: torch.dtype) -> None:
    pytest.importorskip("numba")
    worm = Worm(**options)
    current = 10 * torch.rand(11, 60, 4, dtype=dtype, generator=torch.Generator().manual_seed(0))
    more = {
        "inputs": ["PLML", "PLMR", "AVBL", "AVBR:3"],
        "duration_ms": 3.0,
        "ablate": ["AVA"],
        "record": ["DB1", "VB1", "PVDL:1200", "AVBL"],
    }
    _, plain = simulate(worm, current, backend="reference", **more)
    _, fused = simulate(worm, current, backend="fused", **more)
    assert plain.dtype == fused.dtype == dtype
    torch.testing.assert_close(fused, plain, rtol=0, atol=2e-3 if dtype == torch.float32 else 1e-9)


def test_gradients_in_currents_conductances_resistivity_and_initial_state() -> None:
    worm = few()
    generator = torch.Generator().manual_seed(0)
    current = 9 * torch.rand(2, 4, 2, dtype=torch.float64, generator=generator)
    names = ("conductance_nS", "leak_nS", "capacitance_pF", "threshold_mV", "channel_nS", "resistivity_ohm_cm")
    leaves = {name: worm.data[name].clone() for name in names}
    state = worm.initial_state()
    # Away from where calcium is held at 0, with every compartment at a voltage of its own.
    voltage = state.voltage_mV + 20 + torch.rand(state.voltage_mV.shape, dtype=torch.float64, generator=generator)
    state = State(voltage, state.activation + 0.3, state.gates, state.calcium_pM + 50)
    weights = torch.rand(2, 4, 3, dtype=torch.float64, generator=generator)

    def run(backend: str, *given: Tensor) -> Tensor:
        for name, value in zip(leaves, given[1:], strict=False):
            worm.data[name] = value
        options = {"record": ["AVBL", "VB1:9", "DD1"], "initial_state": State(*given[1 + len(leaves) :]), "backend": backend}
        return (simulate(worm, given[0], ["AVBL", "VB1"], 0.05, 0.2, **options)[1] * weights).sum()

    arguments = [tensor.clone().requires_grad_() for tensor in (current, *leaves.values(), *state)]
    found = torch.autograd.grad(run("reference", *arguments), arguments)
    # Along random directions, since finite differences of every number would take minutes.
    for tensor, gradient in zip(range(len(arguments)), found, strict=True):
        way = torch.rand(arguments[tensor].shape, dtype=torch.float64, generator=generator) * arguments[tensor].detach().abs().clamp(
            min=1e-3
        )
        step = 1e-5
        values = [
            run("reference", *(a.detach() + sign * step * way if k == tensor else a.detach() for k, a in enumerate(arguments)))
            for sign in (1, -1)
        ]
        expected = (values[0] - values[1]) / (2 * step)
        assert float((gradient * way).sum()) == pytest.approx(float(expected), rel=2e-5, abs=1e-8)
    pytest.importorskip("numba")
    for own, other in zip(found, torch.autograd.grad(run("auto", *arguments), arguments), strict=True):
        torch.testing.assert_close(other, own, rtol=1e-7, atol=1e-10)


def test_the_kernels_give_no_gradients() -> None:
    pytest.importorskip("numba")
    with pytest.raises(
        ValueError, match="backend: expected 'reference', since gradients are wanted of neurons with their shape, got 'fused'"
    ):
        simulate(Worm("c302-D1"), torch.zeros(1, 2, 1, requires_grad=True), ["AVBL"], duration_ms=0.1, backend="fused")


def test_gradients_do_not_depend_on_which_states_are_kept() -> None:
    worm = few()

    def gradient(segment: int | None) -> Tensor:
        current = torch.full((1, 12, 1), 5.0, dtype=torch.float64, requires_grad=True)
        rows = torch.tensor(worm.rows(["AVBL"]))
        integrate_cables(worm, worm.initial_state(), current, rows, rows, 0.05, segment=segment)[0, -1].sum().backward()
        assert current.grad is not None
        return current.grad

    torch.testing.assert_close(gradient(1), gradient(12), rtol=1e-10, atol=0)


def test_shapes_are_those_of_c302() -> None:
    names = Worm("c302-C1").neuron_name
    segments = read_segments(names)
    assert len(segments.neuron) == 13_869
    assert len(set(segments.section.tolist())) == 2_041
    assert [int((segments.neuron == names.index(name)).sum()) for name in ("PVDL", "PVDR")] == [1_861, 1_860]
    depth = np.zeros(len(segments.parent), dtype=int)
    above = segments.parent.copy()
    while (above >= 0).any():
        depth += above >= 0
        above = np.where(above >= 0, segments.parent[above], -1)
    assert depth.max() == 98
    # One neuron's shape does not depend on what stands beside it.
    alone, row = read_segments(["PLML"]), names.index("PLML")
    assert np.array_equal(alone.distal, segments.distal[segments.neuron == row])
    for spec, count in (("section", 2_041), (0.3, 10_883), (0.1, 29_143)):
        assert len(Worm("c302-D1", compartments=spec).cables.area_um2) == count


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "kunert", "morphology": True}, "morphology: expected a membrane with densities, got kunert"),
        ({"name": "c302-C1", "compartments": 0.3}, "compartments: expected none without morphology, got 0.3; give morphology=True"),
        ({"name": "c302-D1", "compartments": 0.0}, "compartments: expected a number above 0, got 0.0"),
    ],
)
def test_refuses(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Worm(**change)


def test_refuses_segments_that_are_not_there() -> None:
    worm = few()
    for given in ({"record": ["AVBL:9999"]}, {"record": ["AVBX:1"]}):
        with pytest.raises(ValueError, match="record: expected a neuron of this worm's 4, got 'AVB"):
            simulate(worm, torch.zeros(1, 10, 1), ["AVBL"], duration_ms=0.5, **given)
    with pytest.raises(ValueError, match="ablate: expected a neuron of this worm's 4, got 'AVBL:3'"):
        worm.without(["AVBL:3"])
    with pytest.raises(ValueError, match="record: expected neurons that are left, got AVBR:3, which ablate removes"):
        simulate(worm, torch.zeros(1, 10, 1), ["AVBL"], duration_ms=0.5, ablate=["AVBR"], record=["AVBR:3"])
    # Neurons without a shape are points here, so that none is looked for.
    with pytest.raises(ValueError, match="inputs: expected a neuron of this worm's 1, got 'N0:1'"):
        Worm.from_connectome(circuit([], [False])).resolve(["N0:1"], "inputs")
    with pytest.raises(ValueError, match="cables: expected a worm whose neurons have their shape"):
        _ = Worm("c302-C1").cables
    with pytest.raises(ValueError, match="morphology: expected neurons with a shape, got 'N0', for which c302 has none"):
        Worm.from_connectome(circuit([], [False]), "c302-D1")
    assert Path(FOLDER / "c302-morphologies.safetensors").stat().st_size < 1_000_000
