"""Recurrent networks wired by connectomes: against a loop over neurons, an ODE solver, long simulations, and themselves alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch import Tensor
from torch_geometric.data import Data

from elegans_pyg.datasets import Connectome, sequence_task
from elegans_pyg.models import ConnectomeRNN
from elegans_pyg.nn.recurrent.sharing import SHARES, neuron_classes
from elegans_pyg.training import FitSettings, fit
from elegans_pyg.training.data import FitData
from elegans_pyg.training.objective import SequenceRegression
from tests.poisoned import assert_second_is_left_alone
from tests.transforms.wirings import connectomes, random_connectome


def wiring(seed: int = 0, nodes: int = 7) -> Data:
    data = random_connectome(seed, nodes, 0.3, 0.25)
    data.neuron_type[-1] = 2
    return data


def model(graphs: Data | list[Data], inputs: object = ("N0", "N1"), outputs: object = ("N2",), **options: object) -> ConnectomeRNN:
    net = ConnectomeRNN(graphs, inputs, outputs, **options).double()  # type: ignore[arg-type]
    with torch.no_grad():
        # Biases and time constants of every neuron differ, as after training.
        for number, name in enumerate(("bias", "log_tau")):
            parameter = net.get_parameter(name)
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return net


def slopes(net: ConnectomeRNN, data: Data) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """``dv/dt`` of one variant, synapse by synapse, from the graph and the parameters that stand in its edges' order."""
    softplus = lambda a: np.log1p(np.exp(a))  # noqa: E731
    weight, gap = softplus(net.weight.detach().numpy()), softplus(net.gap.detach().numpy())
    tau, bias, nodes = np.exp(net.log_tau.detach().numpy()), net.bias.detach().numpy(), data.num_nodes
    edges = list(zip(*data.edge_index.tolist(), data.edge_type.tolist(), data.edge_weight.tolist(), strict=True))
    chemical = [(s, t, w) for s, t, kind, w in edges if kind == 0]
    junctions = sorted((s, t, w) for s, t, kind, w in edges if kind == 1 and s < t)
    of_chemical, of_gaps = sum(w for *_, w in chemical), sum(w for *_, w in junctions)

    def slope(v: np.ndarray, u: np.ndarray) -> np.ndarray:
        total = -v + bias + u
        for (s, t, w), strength in zip(chemical, weight, strict=True):
            sign = -1 if bool(data.inhibitory[s]) else 1
            total[t] += sign * strength * w * nodes / of_chemical * np.tanh(v[s])
        for (a, b, w), strength in zip(junctions, gap, strict=True):
            conductance = strength * w * nodes / 2 / of_gaps
            total[a] += conductance * (v[b] - v[a])
            total[b] += conductance * (v[a] - v[b])
        return total / tau

    return slope


def test_it_solves_the_equation_and_its_error_is_of_first_order() -> None:
    data, duration = wiring(), 2.0
    state = torch.randn(1, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    errors = []
    for steps in (20, 40, 80, 160):
        net = model(data, dt=duration / steps)
        slope, current = slopes(net, data), np.array([0.7, -0.4, 0, 0, 0, 0, 0])
        exact = solve_ivp(lambda _, v: slope(v, current), (0, duration), state[0].numpy(), rtol=1e-10, atol=1e-12).y[:, -1]  # noqa: B023
        x = torch.tensor([0.7, -0.4], dtype=torch.float64).expand(1, steps, 2)
        _, last = net.run(x, state)
        errors.append(float(np.abs(last[0].detach().numpy() - exact).max()))
    assert errors[-1] < 2e-3
    assert np.log2(np.array(errors[:-1]) / errors[1:]) == pytest.approx([1, 1, 1], abs=0.1)


@given(
    data=connectomes(max_nodes=6),
    share=st.sampled_from(SHARES),
    counts=st.booleans(),
    dale=st.booleans(),
    sequences=st.sampled_from([1, 5]),
)
@settings(max_examples=25, deadline=None)
def test_backends_agree_on_any_wiring(data: Data, share: str, counts: bool, dale: bool, sequences: int) -> None:
    x = torch.randn(sequences, 6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for backend in ("reference", "fused"):
        net = model(data, ["N0"], 2, share=share, counts=counts, dale=dale, readout="all", backend=backend)
        net(x).square().sum().backward()
        found.append([net(x).detach(), *(parameter.grad for parameter in net.parameters())])
        assert sum(net.parameters_per_variant()) == sum(parameter.numel() for parameter in net.parameters())
    for reference, fused in zip(*found, strict=True):
        torch.testing.assert_close(fused, reference, rtol=1e-9, atol=1e-9)


def test_gradients_of_all_parameters_inputs_and_the_state() -> None:
    net = model([wiring(1, 4), wiring(2, 5)], 1, 1, readout="all")
    x = torch.randn(2, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    state = torch.randn(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    names, parameters = zip(*net.named_parameters(), strict=True)

    def run(x: Tensor, state: Tensor, *own: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.functional_call(_Runs(net), {f"net.{name}": value for name, value in zip(names, own, strict=True)}, (x, state))

    assert torch.autograd.gradcheck(run, (x, state, *parameters))


class _Runs(torch.nn.Module):
    def __init__(self, net: ConnectomeRNN) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.net.run(x, state)


def test_trained_together_equals_trained_alone() -> None:
    graphs, seeds = [wiring(1), wiring(2, 9), wiring(3)], [5, 8, 5]
    x, y = torch.rand(3, 30, 2), torch.rand(3, 30, 1)

    def trained(net: ConnectomeRNN) -> ConnectomeRNN:
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(4):
            optimizer.zero_grad()
            (net(x) - y).square().mean((1, 2, 3)).sum().backward()
            optimizer.step()
        return net

    together = trained(ConnectomeRNN(graphs, 2, 1, seeds=seeds, readout="all"))
    for variant, (graph, seed) in enumerate(zip(graphs, seeds, strict=True)):
        alone = trained(ConnectomeRNN(graph, 2, 1, seeds=[seed], readout="all"))
        for name, value in together.variant_state_dict(variant).items():
            torch.testing.assert_close(value, alone.state_dict()[name], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(together(x)[variant], alone(x)[0], rtol=1e-5, atol=1e-6)
    again = ConnectomeRNN(graphs[1], 2, 1, seeds=[8], readout="all")
    again.load_state_dict(together.variant_state_dict(1))
    torch.testing.assert_close(again(x)[0], together(x)[1])


def test_a_variant_with_nan_leaves_the_others_alone() -> None:
    """The second variant has fewer motor neurons than the first, whose voltages stand in for those it lacks."""
    graphs = [wiring(0, 9), wiring(1, 6)]
    graphs[0].neuron_type[-4:] = 2
    clean, poisoned = (model(graphs, inputs=["N0"], outputs=2) for _ in range(2))
    with torch.no_grad():
        poisoned.bias[:9] = float("nan")
    x = torch.randn(3, 5, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_second_is_left_alone(clean, poisoned, x)


def test_signs_are_kept_and_gap_junctions_stay_symmetric_under_training() -> None:
    data = wiring(4, 9)
    data.edge_sign = torch.randint(-1, 2, (data.num_edges,), generator=torch.Generator().manual_seed(0))
    net = ConnectomeRNN(data, 1, 1, readout="all")
    x, y = torch.rand(4, 20, 1), 5 * torch.randn(4, 20, 1)
    before = net.coefficients()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.3)
    for _ in range(30):
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
    after, sign = net.coefficients(), data.edge_sign[data.edge_type == 0]
    assert torch.equal(after.weight.sign()[sign != 0], sign[sign != 0].float())
    assert bool((after.weight.sign() != before.weight.sign())[sign == 0].any())
    assert bool((after.gap > 0).all())
    assert float((after.gap - before.gap).detach().abs().max()) > 0.05
    leak = net._matrices()[1][0]
    assert torch.equal(leak, leak.T)


def test_steady_states_are_where_long_simulations_end() -> None:
    net = model([wiring(1), wiring(2, 9)], gain=0.8)
    x = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, simulated = net.run(x[:, None].expand(3, 2000, 2))
    torch.testing.assert_close(net.steady_state(x), simulated, rtol=1e-9, atol=1e-9)
    parameters = list(net.parameters())
    steady, long = net.steady_state(x), net.run(x[:, None].expand(3, 400, 2))[1]
    pull = torch.randn(steady.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for own, expected in zip(
        *(torch.autograd.grad((out * pull).sum(), parameters, materialize_grads=True) for out in (steady, long)), strict=True
    ):
        torch.testing.assert_close(own, expected, rtol=1e-6, atol=1e-8)


def test_solutions_of_variants_of_several_sizes_are_those_of_each_alone() -> None:
    graphs, x = (
        [wiring(1), wiring(2, 9), wiring(3, 5)],
        torch.randn(3, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    net = model(graphs, gain=0.8)
    together, responses = net.steady_state(x).split(net.node_ptr.diff().tolist(), dim=1), net.linear_response()
    for number, graph in enumerate(graphs):
        alone = model(graph, gain=0.8)
        alone.load_state_dict(net.variant_state_dict(number))
        torch.testing.assert_close(together[number], alone.steady_state(x[number]))
        torch.testing.assert_close(responses[number], alone.linear_response()[0])


def test_the_linear_response_is_the_slope_of_the_steady_state() -> None:
    net, names = model(wiring(2)), [f"N{n}" for n in range(7)]
    every = model(wiring(2), names, names)
    every.load_state_dict(net.state_dict())
    response = torch.autograd.functional.jacobian(lambda x: every.steady_state(x[None])[0], torch.zeros(7, dtype=torch.float64))
    torch.testing.assert_close(every.linear_response()[0], response)
    step, rest = 1e-3, every.run(torch.zeros(1, 2000, 7, dtype=torch.float64))[1]
    pushed = every.run(step * torch.eye(7, dtype=torch.float64)[:, None].expand(7, 2000, 7))[1]
    torch.testing.assert_close(((pushed - rest) / step).T, response, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("what", ["steady_state", "linear_response"])
def test_gradients_of_solutions(what: str) -> None:
    net = model(wiring(3, 5))
    names, parameters = zip(*net.named_parameters(), strict=True)

    class Solves(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net.steady_state(x) if what == "steady_state" else self.net.linear_response()[0] + 0 * x.sum()

    def solve(x: Tensor, *own: Tensor) -> Tensor:
        return torch.func.functional_call(Solves(), {f"net.{name}": value for name, value in zip(names, own, strict=True)}, (x,))

    x = torch.tensor([[0.3, -0.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(solve, (x, *parameters))


def sequences(name: str) -> tuple[FitData, int]:
    """A task's segments cut into sequences of 50 steps."""
    task = sequence_task(name, washout=50, train=1000, validation=100, test=100, **({"delays": 3} if name == "memory" else {}))

    def cut(segment: slice) -> tuple[Tensor, Tensor]:
        return task.inputs[segment].view(-1, 50, 1).float(), task.targets[segment].view(-1, 50, task.targets.size(1)).float()

    return FitData(name, cut(task.train), cut(task.test), cut(task.validation)), task.targets.size(1)


@pytest.mark.parametrize("name", ["memory", "narma10"])
def test_it_learns_tasks_in_time(name: str) -> None:
    data, outputs = sequences(name)
    net = ConnectomeRNN([wiring(1, 20), wiring(2, 20)], 1, outputs, readout="all", dt=1.0, seeds=3)
    options = FitSettings(
        iterations=60, batch_size=20, last_batch="keep", learning_rate=0.03, lr_decay=1.0, eval_every=10, device="cpu", precision="float32"
    )
    found = fit(net, data, options, objective=SequenceRegression(), quiet=True)
    loss = found.metrics[found.metrics["split"] == "train"].groupby("variant")["loss"]
    assert bool((loss.last() < 0.8 * loss.first()).all())
    assert bool((found.results["rmse"] < 0.9 * data.test[1].std().item()).all())


def test_it_classifies_pictures_row_by_row() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    rows = torch.rand(90, 9, 4, generator=generator) * 0.3
    for sample, label in enumerate(labels.tolist()):
        rows[sample, 3 * label : 3 * label + 3] += 1
    data = FitData("bars", (rows[:60], labels[:60]), (rows[60:], labels[60:]), classes=("a", "b", "c"))
    net = ConnectomeRNN(wiring(1, 15), 4, 3, readout="all", last=True, dt=1.0, tau=3.0)
    found = fit(net, data, FitSettings(iterations=40, batch_size=20, learning_rate=0.03, device="cpu", precision="float32"), quiet=True)
    assert found.results["accuracy"].tolist()[0] > 0.9


def test_a_run_goes_on_from_its_last_state() -> None:
    net, x = model([wiring(1), wiring(2, 9)]), torch.rand(2, 3, 12, 2, dtype=torch.float64)
    whole, last = net.run(x)
    first, state = net.run(x[:, :, :5])
    second, end = net.run(x[:, :, 5:], state)
    torch.testing.assert_close(torch.cat([first, second], 2), whole)
    torch.testing.assert_close(end, last)
    net(x, trained=2).sum().backward()
    grad, net.bias.grad = net.bias.grad, None
    net(x[:, :2]).sum().backward()
    torch.testing.assert_close(grad, net.bias.grad)
    assert torch.equal(net(x, trained=3), net(x))


def test_what_is_shared_on_the_worm() -> None:
    worm = Connectome("cook2019-hermaphrodite", synapses="chemical")[0]
    counts = {share: ConnectomeRNN(worm, ["ASEL"], ["AIYL"], share=share) for share in SHARES}
    classes = len(set(neuron_classes(worm.neuron_name)))
    assert counts["edge"].parameters_per_variant() == [worm.num_edges + 2 * worm.num_nodes]
    assert len(counts["class"].bias) == classes
    assert len(counts["type"].bias) == len(worm.neuron_type.unique())
    assert [len(counts["global"].get_parameter(name)) for name in ("weight", "gap", "log_tau", "bias")] == [2, 0, 1, 1]
    assert neuron_classes(["AVAL", "AVAR", "AVL", "VA01", "VA12", "M1", "IL1DL", "IL1DR", "RIR"]) == [
        "AVA", "AVA", "AVL", "VA", "VA", "M1", "IL1D", "IL1D", "RIR",
    ]  # fmt: skip


def test_wrong_arguments_are_refused() -> None:
    data = wiring()
    with pytest.raises(ValueError, match="share: expected one of edge, class, type, global, got 'neuron'"):
        ConnectomeRNN(data, share="neuron")
    with pytest.raises(ValueError, match="dt: expected a number above 0, got 0"):
        ConnectomeRNN(data, dt=0)
    with pytest.raises(TypeError, match=r"inputs: expected a number or a list of names, got the string 'N0'; write \['N0'\]"):
        ConnectomeRNN(data, "N0")
    with pytest.raises(ValueError, match=r"outputs: expected names of neurons of every wiring, got \['X'\], which are not in variant 0"):
        ConnectomeRNN(data, 1, ["N0", "X"])
    for role, argument, kind in (("sensory", "inputs", 1), ("motor", "outputs", 0)):
        other = data.clone()
        other.neuron_type[:] = kind
        with pytest.raises(ValueError, match=f"{argument}: expected {role} neurons in every wiring, got none in variant 1"):
            ConnectomeRNN([data, other])
    other = data.clone()
    del other.inhibitory
    with pytest.raises(ValueError, match=r"batch: expected edge_sign.*or inhibitory.*or set dale=False"):
        ConnectomeRNN(other)
    other.edge_sign = torch.ones(3)
    with pytest.raises(ValueError, match=r"batch\.edge_sign: expected 1, -1 or 0 for each of"):
        ConnectomeRNN(other)
    net = model(data)
    with pytest.raises(ValueError, match=r"x: expected \(B, T, 2\) or \(1, B, T, 2\), got \(3, 5, 1\)"):
        net(torch.zeros(3, 5, 1))
    with pytest.raises(ValueError, match=r"state: expected voltages \(3, 7\), got \(3, 6\)"):
        net.run(torch.zeros(3, 5, 2), torch.zeros(3, 6))
    grows = model(data, activation="relu", gain=30.0, dale=False)
    with pytest.raises(ValueError, match="state: expected a start from which Newton's method converges, got none for variant 0"):
        grows.steady_state(torch.full((1, 2), torch.nan))
    with pytest.raises(ValueError, match="got none for variant 1"):
        model([data, data]).steady_state(torch.tensor([[[0.0, 0.0]], [[torch.nan, 0.0]]]))
