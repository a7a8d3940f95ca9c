"""TensorNetwork against an interpreter that walks the synapses one by one."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Batch, Data

from elegans_pyg.datasets import Connectome
from elegans_pyg.nn import TensorNetwork
from elegans_pyg.nn.tensor_program import PUBLISHED_ORDER, ROLES
from elegans_pyg.nn.tensor_readout import MotorAttention
from elegans_pyg.transforms import ErdosRenyi, Rewired
from tests.nn.synapse_by_synapse import SynapseBySynapse
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


def compare(net: TensorNetwork, graphs: list[Data], x: torch.Tensor, order: list, skip: list, reapply: list) -> None:
    """Outputs and every gradient, beside the interpreter's."""
    first = [0, *torch.tensor([g.num_nodes for g in graphs]).cumsum(0).tolist()]
    walks = [SynapseBySynapse(net, g, v, first[v], order, skip, reapply) for v, g in enumerate(graphs)]
    out = net(x)
    expected = readout(net, x, [walk(x[v]) for v, walk in enumerate(walks)], graphs)
    assert torch.isfinite(expected).all()
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
)
def test_agrees_with_synapse_by_synapse(seeds, nodes, density, combine, norm, order, skip, reapply, how, activation):
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
    )
    x = inputs(net, 3)
    if combine == "mul" and norm != "state":
        # Values near one, so that long products neither vanish nor hide the rest behind one term.
        x = (1 + 0.1 * x.detach()).requires_grad_()
    compare(net, graphs, x, order, skip, reapply)
