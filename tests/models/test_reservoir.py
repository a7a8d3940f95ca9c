"""Reservoir: its weights, its properties, and reservoirpy's states from the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

from elegans_pyg.datasets import Connectome, sequence_task
from elegans_pyg.models import Reservoir, RidgeReadout
from elegans_pyg.transforms import ConstrainedDAG, ErdosRenyi, Rewired
from elegans_pyg.wirings import NEURON_TYPES
from tests.transforms.wirings import random_connectome

MOTOR = NEURON_TYPES.index("motor")


@pytest.fixture(scope="module")
def hermaphrodite() -> Data:
    return Connectome("cook2019-hermaphrodite", synapses="both")[0]


def dense(reservoir: Reservoir, variant: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Recurrent and input weights of a variant, as matrices."""
    low, high = reservoir.node_ptr[variant].item(), reservoir.node_ptr[variant + 1].item()
    w = np.zeros((high - low, high - low))
    packed = reservoir.weights()
    for n in range(low, high):
        for e in range(int(packed.row_ptr[n]), int(packed.row_ptr[n + 1])):
            w[n - low, int(packed.source[e]) - low] += float(packed.weight[e])
    win = np.zeros((high - low, reservoir.in_features))
    for i in range(int(packed.input_ptr[variant]), int(packed.input_ptr[variant + 1])):
        win[int(packed.input_node[i]) - low] = packed.input_weight[i]
    return w, win


@pytest.mark.parametrize("signed", [True, False])
def test_weights_are_the_wiring_from_source_to_target(hermaphrodite: Data, signed: bool) -> None:
    before = hermaphrodite.clone()
    reservoir = Reservoir(hermaphrodite, radius=0.7, signed=signed, dtype=torch.float64)
    adjacency = np.zeros((hermaphrodite.num_nodes,) * 2)
    columns = (*hermaphrodite.edge_index.tolist(), hermaphrodite.edge_weight.tolist(), hermaphrodite.edge_type.tolist())
    for source, target, weight, kind in zip(*columns, strict=True):
        negative = signed and kind == 0 and bool(hermaphrodite.inhibitory[source])
        adjacency[target, source] += -weight if negative else weight
    radius = np.abs(np.linalg.eigvals(adjacency)).max()
    w, win = dense(reservoir)
    np.testing.assert_allclose(w, adjacency * 0.7 / radius, atol=1e-14)
    assert float(reservoir.wiring_radius) == pytest.approx(radius)
    assert np.abs(np.linalg.eigvals(w)).max() == pytest.approx(0.7)
    assert ((win != 0).any(1) == (hermaphrodite.neuron_type == 0).numpy()).all()
    for name in ("edge_index", "edge_weight", "edge_type", "inhibitory"):
        assert torch.equal(hermaphrodite[name], before[name])


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("sequences", [1, 6])
def test_states_are_reservoirpy_s(hermaphrodite: Data, backend: str, sequences: int) -> None:
    nodes = pytest.importorskip("reservoirpy.nodes", reason="needs reservoirpy (extra dev)")
    reservoir = Reservoir(hermaphrodite, 2, radius=1.1, leak=0.4, bias_scale=0.5, readout="all", backend=backend, dtype=torch.float64)
    w, win = dense(reservoir)
    inputs = np.random.default_rng(0).uniform(-1, 1, (sequences, 150, 2))
    states = reservoir(torch.from_numpy(inputs))
    for b in range(sequences):
        other = nodes.Reservoir(W=w, Win=win, bias=reservoir.bias.numpy(), lr=0.4)
        np.testing.assert_allclose(states[0, b], other.run(inputs[b]), atol=1e-10)


def test_variants_together_are_variants_alone(hermaphrodite: Data) -> None:
    graphs = [hermaphrodite, Rewired(1)(hermaphrodite), ErdosRenyi(2)(hermaphrodite)]
    radii, leaks = [0.5, 0.9, 1.3], [1.0, 0.3, 0.7]
    inputs = torch.rand(3, 2, 40, 1)
    together = Reservoir(Batch.from_data_list(graphs), radius=radii, leak=leaks, bias_scale=0.2, seeds=[5, 9, 2])
    states = together(inputs)
    assert states.shape == (3, 2, 40, int((hermaphrodite.neuron_type == MOTOR).sum()))
    for v, graph in enumerate(graphs):
        alone = Reservoir(graph, radius=radii[v], leak=leaks[v], bias_scale=0.2, seeds=[[5, 9, 2][v]])
        assert torch.equal(alone(inputs[v])[0], states[v])
    assert not torch.equal(together(inputs[0])[1], states[1])


def test_seeds_and_precisions(hermaphrodite: Data) -> None:
    state = torch.random.get_rng_state()
    inputs = torch.rand(1, 60, 1, generator=torch.Generator().manual_seed(0))
    single, double = (Reservoir(hermaphrodite, bias_scale=0.1, seeds=3, dtype=dtype) for dtype in (torch.float32, torch.float64))
    assert single(inputs).dtype == torch.float32
    torch.testing.assert_close(single(inputs).double(), double(inputs), atol=1e-5, rtol=0)
    other = Reservoir(hermaphrodite, bias_scale=0.1, seeds=4, dtype=torch.float64)
    assert not torch.equal(other.input_weight, double.input_weight)
    assert torch.equal(state, torch.random.get_rng_state())


def test_settings_share_the_wiring(hermaphrodite: Data) -> None:
    first = Reservoir(hermaphrodite, radius=0.5)
    second = first.with_settings(radius=1.2, leak=0.5)
    assert second.edge_weight.data_ptr() == first.edge_weight.data_ptr()
    assert (first.radius.item(), first.leak.item()) == (0.5, 1.0)
    inputs = torch.rand(1, 20, 1)
    assert torch.equal(second(inputs), Reservoir(hermaphrodite, radius=1.2, leak=0.5)(inputs))


def test_a_run_goes_on_where_it_stopped(hermaphrodite: Data) -> None:
    reservoir = Reservoir(hermaphrodite, leak=0.3)
    inputs = torch.rand(2, 30, 1)
    first, state = reservoir.run(inputs[:, :12])
    second, end = reservoir.run(inputs[:, 12:], state)
    whole, last = reservoir.run(inputs)
    assert torch.equal(torch.cat([first, second], 2), whole)
    assert torch.equal(end, last)


def test_echo_states_forget_where_they_started(hermaphrodite: Data) -> None:
    inputs = torch.rand(2, 400, 1, dtype=torch.float64)[:1].repeat(2, 1, 1)
    start = torch.zeros(2, hermaphrodite.num_nodes, dtype=torch.float64)
    start[1] = 1.0
    for radius, leak in ((0.5, 1.0), (0.8, 0.5)):
        states = Reservoir(hermaphrodite, radius=radius, leak=leak, dtype=torch.float64)(inputs, start)
        apart = (states[0, 0] - states[0, 1]).abs().amax(1)
        assert apart[0] > 1e-3
        assert apart[-1] < 1e-12
    # Well beyond radius 1 without a strong drive, they do not: at rest 0 is unstable, and its two sides are symmetric.
    far = Reservoir(hermaphrodite, radius=3.0, signed=False, dtype=torch.float64)(0 * inputs, torch.stack([start[1], -start[1]]))
    assert (far[0, 0, -1] - far[0, 1, -1]).abs().max() > 0.1


def delay_line(length: int) -> Data:
    """One sensory neuron, then a ring of motor neurons, the last of which feeds a self-looped bystander that carries the radius."""
    nodes = length + 2
    source = [*range(length), length + 1]
    target = [*range(1, length + 1), length + 1]
    types = torch.full((nodes,), MOTOR)
    types[0] = 0
    types[-1] = NEURON_TYPES.index("other")
    return Data(
        x=torch.nn.functional.one_hot(types, len(NEURON_TYPES)).float(),
        edge_index=torch.tensor([source, target]),
        edge_weight=torch.ones(length + 1),
        edge_type=torch.zeros(length + 1, dtype=torch.int64),
        neuron_type=types,
        neuron_name=[f"N{n}" for n in range(nodes)],
        inhibitory=torch.zeros(nodes, dtype=torch.bool),
    )


def memory(reservoir: Reservoir, delays: int, test: int = 4_000) -> float:
    task = sequence_task("memory", train=2_000, test=test, delays=delays)
    states = reservoir(task.inputs[None])[:, 0]
    readout = RidgeReadout.select(
        states[:, task.train], task.targets[task.train], states[:, task.validation], task.targets[task.validation]
    )
    return float(task.score(readout(states[:, task.test]), task.test))


@pytest.mark.parametrize("length", [1, 7])
def test_a_linear_delay_line_remembers_as_many_steps_as_it_is_long(length: int) -> None:
    reservoir = Reservoir(delay_line(length), radius=1.0, input_scale=1e-3, dtype=torch.float64)
    # 1/n a delay is chance, on the delays beyond the line.
    assert memory(reservoir, 20) == pytest.approx(length, abs=0.05)


def test_memory_cannot_exceed_the_neurons_read() -> None:
    wiring = random_connectome(4, 14, chemical=0.3)
    for radius in (0.5, 0.95):
        reservoir = Reservoir(wiring, radius=radius, input_scale=0.1, dtype=torch.float64)
        read = reservoir.readout_node.numel()
        assert 0.5 < memory(reservoir, 40) < read + 0.05


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_inputs_that_require_a_gradient_get_none(hermaphrodite: Data, backend: str) -> None:
    reservoir, inputs = Reservoir(hermaphrodite, backend=backend), torch.rand(2, 5, 1)
    states = reservoir(inputs.clone().requires_grad_())
    assert not states.requires_grad
    assert torch.equal(states, reservoir(inputs))


def test_refusals(hermaphrodite: Data) -> None:
    chemical = Connectome("cook2019-hermaphrodite")[0]
    with pytest.raises(ValueError, match=r"spectral radius above 0, got 0 for variant 0.*cyclic connectome"):
        Reservoir(ConstrainedDAG()(chemical))
    with pytest.raises(ValueError, match="equal numbers of motor neurons, got 2 to 3; build a Reservoir for each number"):
        Reservoir(Batch.from_data_list([delay_line(2), delay_line(3)]))
    with pytest.raises(ValueError, match=r"leak must be above 0 and at most 1, got 1\.5"):
        Reservoir(chemical, leak=1.5)
    with pytest.raises(ValueError, match="radius must be finite and above 0, got 0"):
        Reservoir(chemical, radius=0.0)
    with pytest.raises(ValueError, match=r"one for each of the 1 variants, got shape \(2,\)"):
        Reservoir(chemical, radius=[0.5, 0.9])
    with pytest.raises(ValueError, match="readout: expected one of motor, all, got 'muscle'"):
        Reservoir(chemical, readout="muscle")
    with pytest.raises(ValueError, match="input_scale must be finite and at least 0, got -1"):
        Reservoir(chemical, input_scale=-1)
    with pytest.raises(ValueError, match="in_features must be at least 1"):
        Reservoir(chemical, 0)
    with pytest.raises(TypeError, match="batch: expected a Data, a Batch, a data set or a list of graphs, got list"):
        Reservoir([3])  # type: ignore[arg-type]
    unknown = chemical.clone()
    del unknown.inhibitory
    with pytest.raises(ValueError, match="set signed=False"):
        Reservoir(unknown)
    blind = chemical.clone()
    blind.neuron_type = torch.full_like(blind.neuron_type, MOTOR)
    with pytest.raises(ValueError, match="wirings with sensory neurons, got none in variant 0"):
        Reservoir(blind)
    with pytest.raises(ValueError, match=r"dtype must be torch.float32 or torch.float64, got torch.bfloat16"):
        Reservoir(chemical, dtype=torch.bfloat16)
    reservoir = Reservoir(chemical)
    for backend in ("fused", "reference"):
        reservoir.backend = backend
        assert reservoir(torch.rand(0, 5, 1)).shape == (1, 0, 5, reservoir.readout_node.numel())
    with pytest.raises(ValueError, match=r"inputs must be \(B, T, 1\) or \(1, B, T, 1\), got \(5, 3\)"):
        reservoir(torch.rand(5, 3))
    with pytest.raises(ValueError, match=r"state must be \(2, 282\), got \(1, 282\)"):
        reservoir(torch.rand(2, 5, 1), torch.zeros(1, 282))
    with pytest.raises(ValueError, match=r"backend='fused' does not apply: .*torch.bfloat16"):
        Reservoir(chemical, backend="fused").to(torch.bfloat16)(torch.rand(1, 2, 1))
