"""TensorNetwork against an interpreter that walks the synapses one by one."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Batch, Data

from elegans_pyg.datasets import Connectome
from elegans_pyg.nn import TensorNetwork
from elegans_pyg.nn.tensor.roles import PUBLISHED_ORDER, ROLES
from elegans_pyg.transforms import ErdosRenyi, Rewired
from tests.nn.tensor.synapse_by_synapse import SynapseBySynapse
from tests.poisoned import assert_second_is_left_alone
from tests.transforms.wirings import random_connectome

PAIRS = list(product(ROLES, ROLES))


def wiring(types: list[int], edges: list[tuple[int, int]], kinds: list[int] | None = None) -> Data:
    edge_index = torch.tensor(edges, dtype=torch.long).view(-1, 2).T
    return Data(
        edge_index=edge_index,
        edge_type=torch.tensor(kinds or [0] * len(edges), dtype=torch.long),
        neuron_type=torch.tensor(types),
        num_nodes=len(types),
    )


def bare(data: Data) -> Data:
    return wiring(data.neuron_type.tolist(), data.edge_index.T.tolist(), data.edge_type.tolist())


def multigraph(seed: int, num_nodes: int, density: float) -> Data:
    """Both kinds of synapse, self-loops, and some edges two and three times; a sensor that reaches a motor neuron is always there."""
    data = random_connectome(seed, num_nodes, chemical=density, electrical=density / 2)
    generator = torch.Generator().manual_seed(seed)
    data.neuron_type = torch.randint(0, 6, (num_nodes,), generator=generator).minimum(torch.tensor(3))
    sensor, motor = torch.randperm(num_nodes, generator=generator)[:2].tolist()
    data.neuron_type[sensor], data.neuron_type[motor] = 0, 2
    times = torch.randint(1, 4, (data.num_edges,), generator=generator)
    edge_index = torch.cat([data.edge_index.repeat_interleave(times, 1), torch.tensor([[sensor], [motor]])], 1)
    kind = torch.cat([data.edge_type.repeat_interleave(times), torch.tensor([0])])
    shuffle = torch.randperm(len(kind), generator=generator)
    return Data(edge_index=edge_index[:, shuffle], edge_type=kind[shuffle], neuron_type=data.neuron_type, num_nodes=num_nodes)


def network(batch: Data | Batch, width: int, seed: int = 0, **options: object) -> TensorNetwork:
    """In float64, with every parameter away from its tidy start."""
    net = TensorNetwork(batch, width, **options).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2)
    return net


def readout(net: TensorNetwork, x: torch.Tensor, motors: list[dict[int, torch.Tensor]], graphs: list[Data]) -> torch.Tensor:
    outs = []
    for v, (values, data) in enumerate(zip(motors, graphs, strict=True)):
        stack = torch.stack(list(values.values()))
        if net.readout == "mean":
            outs.append(stack.mean(0))
        elif net.readout == "concat":
            zero = torch.zeros_like(stack[0])
            outs.append(torch.cat([values.get(n, zero) for n in range(data.num_nodes) if int(data.neuron_type[n]) == 2], -1))
        else:
            attention = net.attention
            torch_attention = nn.MultiheadAttention(net.width, attention.heads, batch_first=True).double()
            state = {
                "in_proj_weight": attention.weight[v, :3].flatten(0, 1),
                "in_proj_bias": torch.cat([attention.bias[v, 0], torch.zeros_like(attention.bias[v, 0]), attention.bias[v, 1]]),
                "out_proj.weight": attention.weight[v, 3],
                "out_proj.bias": attention.bias[v, 2],
            }
            keys = stack.transpose(0, 1)
            got, _ = torch.func.functional_call(torch_attention, state, (x[v].unsqueeze(1), keys, keys))
            normed = nn.functional.layer_norm(got.squeeze(1), (net.width,))
            outs.append(normed * attention.norm_weight[v] + attention.norm_bias[v])
    return torch.stack(outs)


def interpret(net: TensorNetwork, graphs: list[Data], x: torch.Tensor, order: list, skip: list, reapply: list) -> torch.Tensor:
    first = [0, *torch.tensor([g.num_nodes for g in graphs]).cumsum(0).tolist()]
    walks = [SynapseBySynapse(net, g, v, first[v], order, skip, reapply) for v, g in enumerate(graphs)]
    return readout(net, x, [walk(x[v]) for v, walk in enumerate(walks)], graphs)


def compare(net: TensorNetwork, x: torch.Tensor, expected: torch.Tensor) -> None:
    """Outputs and every gradient, beside the interpreter's."""
    assert torch.isfinite(expected).all()
    out = net(x)
    torch.testing.assert_close(out, expected, rtol=1e-8, atol=1e-8 * max(1.0, float(expected.detach().abs().max())))
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    inputs = {"x": x, **dict(net.named_parameters())}
    got = torch.autograd.grad((out * weight).sum(), inputs.values(), allow_unused=True)
    wanted = torch.autograd.grad((expected * weight).sum(), inputs.values(), allow_unused=True)
    for name, g, w, tensor in zip(inputs, got, wanted, inputs.values(), strict=True):
        g, w = (torch.zeros_like(tensor) if t is None else t for t in (g, w))
        scale = max(1.0, float(w.abs().max())) if w.numel() else 1.0
        torch.testing.assert_close(g, w, rtol=1e-7, atol=1e-8 * scale, msg=lambda m, name=name: f"gradient of {name}: {m}")


def inputs(net: TensorNetwork, images: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(net.num_variants, images, net.width, generator=generator, dtype=torch.float64).requires_grad_()


@settings(max_examples=60, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 2**16), min_size=1, max_size=3),
    nodes=st.integers(2, 9),
    density=st.sampled_from([0.0, 0.15, 0.4, 0.8]),
    combine=st.sampled_from(["mul", "add"]),
    norm=st.sampled_from(["state", "unit", "none"]),
    order=st.permutations(PAIRS) | st.just(list(PUBLISHED_ORDER)),
    skip=st.lists(st.sampled_from(PAIRS[:1] + PAIRS[3:]), max_size=2, unique=True).filter(lambda s: ("sensor", "motor") not in s),
    reapply=st.lists(st.sampled_from(PAIRS), max_size=4, unique=True),
    how=st.sampled_from([("attention", 1), ("attention", 2), ("mean", 1), ("concat", 1)]),
    activation=st.sampled_from(["elu", "tanh", "relu"]),
    executor=st.sampled_from(["auto", "levels"]),
)
def test_agrees_with_synapse_by_synapse(seeds, nodes, density, combine, norm, order, skip, reapply, how, activation, executor):
    graphs = [multigraph(seed, nodes, density) for seed in seeds]
    if how[0] == "concat":
        graphs = [graphs[0]] * len(graphs)
    net = network(
        Batch.from_data_list(graphs),
        4,
        combine=combine,
        norm=norm,
        activation=activation,
        order=order,
        skip=skip,
        reapply=reapply,
        readout=how[0],
        heads=how[1],
        executor=executor,
    )
    assert net.executor_in_use() == ("fused" if executor == "auto" and combine == "mul" else "levels")
    x = inputs(net, 3)
    if combine == "mul" and norm != "state":
        # Values near one, so that long products seldom overflow, or vanish, or hide the rest behind one term.
        x = (1 + 0.02 * x.detach()).requires_grad_()
        with torch.no_grad():
            weight, bias = (net.unit_weight, net.unit_bias) if norm == "none" else (net.norm_weight, net.norm_bias)
            weight.mul_(0.02)
            bias.mul_(0.02).add_(1.0)
    expected = interpret(net, graphs, x, order, skip, reapply)
    assume(bool(torch.isfinite(expected).all()))
    compare(net, x, expected)


@pytest.fixture(scope="module")
def varshney() -> Data:
    return Connectome("varshney2011-hermaphrodite", synapses="both")[0]


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({}, (0.0, 1.0)),
        ({"executor": "levels"}, (0.0, 1.0)),
        # Plain products overflow; of values near one, and without the synapses among motor neurons, they stay in range.
        ({"norm": "unit", "skip": [("motor", "motor")]}, (1.0, 0.01)),
        ({"norm": "none", "combine": "add", "readout": "mean"}, (0.0, 0.01)),
    ],
    ids=["fused", "levels", "unit", "add"],
)
def test_real_connectomes_agree_with_synapse_by_synapse(varshney, options, values):
    graphs = [varshney, ErdosRenyi(seed=3)(varshney), Rewired(seed=4)(varshney)]
    net = TensorNetwork(Batch.from_data_list(graphs), 4, seeds=[5, 6, 7], **options).double()
    offset, scale = values
    if net.norm == "unit":
        with torch.no_grad():
            net.norm_weight.mul_(0.01)
            net.norm_bias.add_(1.0)
    x = (offset + scale * inputs(net, 2).detach()).requires_grad_()
    compare(net, x, interpret(net, graphs, x, list(PUBLISHED_ORDER), options.get("skip", []), []))


def test_counts_of_the_published_order(varshney):
    """Backwards over the nine passes: in the published order only synapses into motor neurons, and sensor -> interneuron, can matter."""
    program = TensorNetwork(varshney, 2).program
    feeding = [("sensor", "interneuron"), ("sensor", "motor"), ("interneuron", "motor"), ("motor", "motor")]
    role = ["sensor", "interneuron", "motor", "interneuron", "interneuron", "interneuron"]
    types = varshney.neuron_type.tolist()
    pairs = [(role[types[s]], role[types[t]]) for s, t in varshney.edge_index.T.tolist()]
    upper = sum(pair in feeding for pair in pairs)
    assert program.synapses == {"visited": [3225], "passed_over": [58], "effective": [1492]}
    assert program.synapses["effective"][0] <= upper
    assert not any(role[types[n]] == "sensor" for n in program.unit_neuron.tolist())
    dead = [pair for pair in PAIRS if pair not in feeding]
    shorter = TensorNetwork(varshney, 2, skip=dead, norm="none").program
    assert shorter.synapses["effective"] == [1492]


def test_parameters_at_the_published_width(varshney):
    """Counted by hand at a small width, then by the same formula at 784."""
    net = TensorNetwork(varshney, 8)
    units, norms = len(net.program.unit_neuron), len(net.program.norm_neuron)

    def by_hand(width: int) -> int:
        return units * (width**2 + width) + norms * 2 * width + 4 * width**2 + 3 * width + 2 * width

    assert net.parameters_per_variant() == [by_hand(8)] == [sum(p.numel() for p in net.parameters())]
    assert (units, norms) == (168, 251)
    assert by_hand(784) == 106_250_032


def test_variants_together_and_alone(varshney):
    """Parameters, output and gradients of a variant in company are those it has alone with the same seed."""
    graphs = [bare(varshney), bare(ErdosRenyi(seed=1)(varshney)), multigraph(7, 9, 0.4)]
    together = TensorNetwork(Batch.from_data_list(graphs), 6, heads=2, seeds=[11, 5, 11]).double()
    x = inputs(together, 3)
    out = together(x)
    out.sin().sum().backward()
    ptr = together.variant_ptr()
    assert set(ptr) == set(together.state_dict())
    for v, graph in enumerate(graphs):
        alone = TensorNetwork(graph, 6, heads=2, seeds=[[11, 5, 11][v]]).double()
        x_alone = x[v : v + 1].detach().requires_grad_()
        got = alone(x_alone)
        torch.testing.assert_close(got[0], out[v], rtol=1e-10, atol=1e-12)
        got.sin().sum().backward()
        torch.testing.assert_close(x_alone.grad[0], x.grad[v], rtol=1e-9, atol=1e-11)
        for name, parameter in alone.named_parameters():
            low, high = ptr[name][v : v + 2]
            mine = dict(together.named_parameters())[name]
            assert torch.equal(parameter, mine[low:high])
            torch.testing.assert_close(parameter.grad, mine.grad[low:high], rtol=1e-9, atol=1e-11)
        assert alone.parameters_per_variant()[0] == together.parameters_per_variant()[v]


@pytest.mark.parametrize("readout", ["attention", "mean"])
def test_a_variant_with_nan_leaves_the_others_alone(readout):
    """The second variant has fewer motor neurons than the first, whose values stand in for those it lacks."""
    graphs = [wiring([0, 2, 2, 2], [(0, 1), (0, 2), (0, 3)]), wiring([0, 2], [(0, 1)])]
    clean, poisoned = (network(Batch.from_data_list(graphs), 4, readout=readout) for _ in range(2))
    with torch.no_grad():
        poisoned.unit_bias[0] = float("nan")
    assert_second_is_left_alone(clean, poisoned, inputs(clean, 3))


def test_shared_input_is_the_same_input_in_every_variant():
    net = network(Batch.from_data_list([multigraph(1, 6, 0.4), multigraph(2, 6, 0.4)]), 4)
    x = inputs(net, 3)[0].detach()
    assert torch.equal(net(x), net(x.expand(2, -1, -1)))


@pytest.mark.parametrize("readout", ["attention", "mean", "concat"])
def test_motors_that_nothing_reaches(readout):
    """Two of the four motor neurons have a value; concatenation keeps everyone's place."""
    data = wiring([0, 2, 2, 2, 2], [(0, 1), (0, 3), (2, 4)])
    net = network(data, 4, readout=readout, norm="none")
    assert net.program.motor_slot.tolist() == [0, 2]
    out = net(inputs(net, 2))
    assert out.shape == (1, 2, net.out_features)
    assert net.out_features == (16 if readout == "concat" else 4)
    if readout == "concat":
        assert torch.equal(out[..., 4:8], torch.zeros(1, 2, 4, dtype=torch.float64))
        assert bool((out[..., 8:12] != 0).all())


def test_a_source_without_value_is_passed_over():
    """The interneuron speaks before the sensor reaches it, and is heard only where the order lets it wait."""
    data = wiring([0, 1, 2], [(0, 1), (1, 2), (0, 2)])
    order = [("interneuron", "motor"), *[pair for pair in PAIRS if pair != ("interneuron", "motor")]]
    early, late = TensorNetwork(data, 2, order=order).program, TensorNetwork(data, 2).program
    assert early.synapses == {"visited": [3], "passed_over": [1], "effective": [1]}
    assert late.synapses == {"visited": [3], "passed_over": [0], "effective": [3]}
    assert early.unit_neuron.tolist() == [2]


def test_self_loop_squares():
    data = wiring([0, 2], [(0, 1), (1, 1)])
    net = network(data, 3, norm="none", readout="mean", activation="tanh")
    x = inputs(net, 4)
    once = torch.tanh(x[0] @ net.unit_weight[0].T + net.unit_bias[0])
    torch.testing.assert_close(net(x)[0], once**2)


@pytest.mark.parametrize("executor", ["levels", "fused"])
def test_gradient_of_products_with_zeros(executor):
    """relu gives exact zeros, one, two or more in a product: the gradient of each factor is the product of the others."""
    data = wiring([0, *[1] * 5, 2], [*[(0, n) for n in range(1, 6)], *[(n, 6) for n in range(1, 6)]])
    net = network(data, 6, norm="none", activation="relu", readout="mean", seed=2, executor=executor)
    x = inputs(net, 64)
    compare(net, x, interpret(net, [data], x, list(PUBLISHED_ORDER), [], []))
    rows = [torch.relu(x[0] @ net.unit_weight[i].T + net.unit_bias[i]) for i in range(5)]
    zeros = torch.stack([row == 0 for row in rows[1:]]).sum(0)
    assert all(bool((zeros == count).any()) for count in (0, 1, 2))


def test_products_overflow_without_norm_and_not_with_it(varshney):
    """What the default is for: LayerNormed input of the width of a laptop run, float32."""
    x = torch.nn.functional.layer_norm(torch.randn(32, 64, generator=torch.Generator().manual_seed(0)), (64,))
    for norm in ("none", "unit"):
        assert not torch.isfinite(TensorNetwork(varshney, 64, norm=norm, readout="mean")(x)).all()
    net = TensorNetwork(varshney, 64)
    for size in (1e-3, 1.0, 1e3):
        leaf = (size * x).requires_grad_()
        net.zero_grad()
        out = net(leaf)
        out.square().sum().backward()
        assert torch.isfinite(out).all()
        for tensor in (leaf, *net.parameters()):
            assert torch.isfinite(tensor.grad).all()
    # Every unit is reached by a gradient that is no rounding noise.
    net.zero_grad()
    (net(x) * torch.randn(32, 64, generator=torch.Generator().manual_seed(1))).sum().backward()
    reached = net.unit_weight.grad.flatten(1).norm(dim=1)
    assert float(reached.min()) > 1e-4 * float(reached.max())


def test_the_default_starts_below_its_bound(varshney):
    """The docstring's bound: no state is above |first value| * exp(sqrt(width)), whatever the input."""
    from elegans_pyg.nn.tensor import walk as tensor_walk
    from elegans_pyg.nn.tensor.program import RAW, UNIT

    net = TensorNetwork(varshney, 64)
    x = torch.zeros(8, 64)
    x[torch.arange(8), torch.arange(8)] = 1e3  # one feature stands out, so that LayerNorm gives its largest value
    seen = []
    combined = tensor_walk._combined

    def watch(group, rules, table, partial=None):
        total = combined(group, rules, table, partial)
        assert group.kind >= RAW > UNIT
        seen.append(float(total.abs().max()))
        return total

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_walk, "_combined", watch)
        net(x)
    assert len(seen) > 10
    assert max(seen) < 1e3 * torch.tensor(8.0).exp()


def test_frozen_keeps_nothing(varshney):
    free, frozen = TensorNetwork(varshney, 8), TensorNetwork(varshney, 8, freeze=True)
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    out = frozen(x)
    assert torch.equal(out, free(x))
    assert not out.requires_grad
    assert not any(p.requires_grad for p in frozen.parameters())
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        frozen(x)
        assert not saved
        free(x)
    assert saved
    with pytest.raises(ValueError, match=r"frozen network.*x\.detach\(\)"):
        frozen(x.requires_grad_())


def test_leaves_inputs_and_global_generator_alone(varshney):
    before = varshney.clone()
    state = torch.random.get_rng_state()
    net = TensorNetwork(varshney, 8)
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    copy = x.clone()
    net(x).sum().backward()
    assert torch.equal(x, copy)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name in ("edge_index", "neuron_type", "edge_type"):
        assert torch.equal(varshney[name], before[name])


def test_autocast_stays_near_float32(varshney):
    net = TensorNetwork(varshney, 32)
    x = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    full = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        short = net(x)
        short.square().sum().backward()
    assert short.dtype == torch.float32
    assert net.unit_weight.grad.dtype == torch.float32
    assert not torch.equal(short, full)
    assert float((short - full).detach().norm() / full.detach().norm()) < 0.1


def test_initial_parameters_follow_their_own_seed(varshney):
    pair = Batch.from_data_list([varshney, varshney])
    net = TensorNetwork(pair, 4, seeds=[3, 3])
    other = TensorNetwork(pair, 4, seeds=[3, 4])
    for name, tensor in net.state_dict().items():
        half = len(tensor) // 2
        assert torch.equal(tensor[:half], tensor[half:])
        assert torch.equal(other.state_dict()[name][:half], tensor[:half])
    assert not torch.equal(other.unit_weight[:168], other.unit_weight[168:])
    assert not torch.equal(other.attention.weight[0], other.attention.weight[1])
    assert float(net.unit_weight.detach().abs().max()) <= 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be at least 2.*got 0"),
        ({"width": 1, "norm": "none"}, "width must be at least 2"),
        ({"combine": "max"}, "combine: expected one of mul, add, got 'max'"),
        ({"norm": "batch"}, "norm: expected one of state, unit, none, got 'batch'"),
        ({"activation": "prelu"}, "activation: expected one of celu, elu.*got 'prelu'"),
        ({"readout": "sum"}, "readout: expected one of attention, mean, concat, got 'sum'"),
        ({"executor": "cuda"}, "executor: expected one of auto, levels, fused, got 'cuda'"),
        ({"executor": "fused", "combine": "add"}, "executor='fused' does not apply: its kernels are for products"),
        ({"heads": 3}, "heads must divide width, 4, got 3"),
        ({"order": PUBLISHED_ORDER[1:]}, r"order: expected all 9 role pairs, but \[\('sensor', 'interneuron'\)\] are missing"),
        ({"order": [*PUBLISHED_ORDER, PUBLISHED_ORDER[0]]}, "order: expected every pair at most once"),
        ({"skip": [("sensor", "muscle")]}, r"skip: expected pairs.*got \('sensor', 'muscle'\)"),
        ({"reapply": ["motor"]}, "reapply: expected pairs.*got 'motor'"),
        ({"skip": [("sensor", "motor")]}, "expected a motor neuron that the sensors reach.*none among the 1 of variant 0"),
        ({"seeds": [1, 2]}, "seeds must hold one integer for each of the 1 variants, got 2"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        TensorNetwork(wiring([0, 2], [(0, 1)]), **{"width": 4, **options})


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (wiring([0, 2], []), ValueError, "expected a motor neuron that the sensors reach.*none among the 1"),
        (wiring([0, 1], [(0, 1)]), ValueError, "none among the 0 of variant 0"),
        (wiring([1, 2], [(0, 1)]), ValueError, "none among the 1 of variant 0"),
        (wiring([], []), ValueError, "at least one, got 0"),
        (wiring([0, 9], [(0, 1)]), ValueError, r"neuron_type: expected 0\.\.5, got 0\.\.9"),
        (wiring([0, 2], [(0, 2)]), ValueError, r"edge_index: expected neurons 0\.\.1, got 0\.\.2"),
        (Data(edge_index=torch.empty(2, 0, dtype=torch.long)), ValueError, "no neuron_type"),
        (["no wiring"], TypeError, "batch: expected a Data, a Batch, a data set or a list of graphs, got list"),
    ],
)
def test_refuses_wirings(data, error, message):
    with pytest.raises(error, match=message):
        TensorNetwork(data, 4)


def test_refuses_ragged_concatenation_and_edges_between_variants():
    one, two = wiring([0, 2], [(0, 1)]), wiring([0, 2, 2], [(0, 1)])
    batch = Batch.from_data_list([one, two])
    with pytest.raises(ValueError, match=r"as many motor neurons in every variant, got \[1, 2\]"):
        TensorNetwork(batch, 4, readout="concat")
    batch.edge_index = batch.edge_index.flip(1).clone()
    batch.edge_index[1, 0] = 1
    with pytest.raises(ValueError, match="edges inside each variant"):
        TensorNetwork(batch, 4)


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4), (4,), (1, 1, 3, 4)])
def test_refuses_inputs(shape):
    net = TensorNetwork(wiring([0, 2], [(0, 1)]), 4)
    with pytest.raises(ValueError, match=r"x must be \(B, 4\) or \(1, B, 4\), got"):
        net(torch.zeros(shape))
