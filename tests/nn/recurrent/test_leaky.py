"""Leaky units on random wirings: the fused walk against the definition, and the definition against a loop over synapses."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elegans_pyg.nn.recurrent import ACTIVATIONS, LeakyWalk

Drawn = tuple[dict[str, Tensor], list[Tensor]]
FEATURES = 2


def drawn(
    sizes: list[int], edges: int, sequences: int, steps: int, seed: int = 0, shared: bool = False, dtype: Any = torch.float64
) -> Drawn:
    """Variants of these sizes with random edges (self-loops and repeated ones too), inputs and outputs; and random numbers for them."""
    generator = torch.Generator().manual_seed(seed)
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    nodes = int(ptr[-1])

    def some(count: int) -> Tensor:
        """Nodes, as many of every variant."""
        return torch.cat([low + torch.randint(size, (count,), generator=generator) for low, size in zip(ptr.tolist(), sizes, strict=False)])

    source, count = some(edges), edges * len(sizes)
    graph = {
        "node_ptr": ptr,
        "source": source + nodes * torch.randint(2, (count,), generator=generator),
        "target": some(edges),
        "input_node": some(2),
        "input_feature": torch.randint(FEATURES, (2 * len(sizes),), generator=generator),
        "read_node": some(3),
    }
    shapes = [
        (nodes,),
        (count,),
        (2 * len(sizes),),
        (nodes,),
        (1 if shared else len(sizes), sequences, steps, FEATURES),
        (nodes, sequences),
    ]
    numbers = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    numbers[0], numbers[1] = numbers[0].sigmoid(), 0.5 * numbers[1]
    return graph, [part.to(dtype) for part in numbers]


def results(graph: dict[str, Tensor], numbers: list[Tensor], activation: str, backend: str) -> list[Tensor]:
    """What a walk gives, and the gradients of a random sum of it."""
    own = [part.clone().requires_grad_() for part in numbers]
    out = LeakyWalk(**graph, activation=activation, backend=backend)(*own)
    generator = torch.Generator().manual_seed(1)
    sum((part * torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)).sum() for part in out).backward()
    return [part.detach() for part in out] + [part.grad for part in own]


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    edges=st.integers(0, 20),
    sequences=st.integers(1, 11),
    steps=st.integers(1, 40),
    seed=st.integers(0, 1000),
    shared=st.booleans(),
    activation=st.sampled_from(list(ACTIVATIONS)),
)
@settings(max_examples=30, deadline=None)
def test_fused_equals_the_definition(
    sizes: list[int], edges: int, sequences: int, steps: int, seed: int, shared: bool, activation: str
) -> None:
    parts = drawn(sizes, edges, sequences, steps, seed, shared)
    for own, expected in zip(results(*parts, activation, "fused"), results(*parts, activation, "reference"), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-9 * max(1.0, float(expected.abs().max()) if expected.numel() else 0.0))


@pytest.mark.parametrize("sequences", [1, 3, 8])
@pytest.mark.parametrize("gaps", [True, False])
def test_many_neurons_and_steps(sequences: int, gaps: bool) -> None:
    # More rows than lanes, and more steps than gradients are collected over.
    graph, numbers = drawn([30, 9], 150, sequences, 150)
    numbers[1] *= 0.2
    if not gaps:
        graph["source"] = graph["source"] % 39
    for own, expected in zip(results(graph, numbers, "tanh", "fused"), results(graph, numbers, "tanh", "reference"), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-9 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("sequences", [1, 8])
def test_single_precision_agrees_with_the_definition_in_double(sequences: int) -> None:
    graph, numbers = drawn([40], 200, sequences, 100)
    numbers[1] *= 0.2
    numbers = [part.float().double() for part in numbers]
    single = results(graph, [part.float() for part in numbers], "tanh", "fused")
    for own, expected in zip(single, results(graph, numbers, "tanh", "reference"), strict=True):
        torch.testing.assert_close(own.double(), expected, rtol=2e-4, atol=2e-6 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("backend", ["reference", "fused"])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_gradients(activation: str, backend: str) -> None:
    graph, numbers = drawn([3, 1], 6, 2, 4)
    walk = LeakyWalk(**graph, activation=activation, backend=backend)
    assert torch.autograd.gradcheck(walk, [part.requires_grad_() for part in numbers])


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_the_definition_is_the_loop_over_synapses(activation: str) -> None:
    graph, numbers = drawn([4, 3], 9, 2, 6)
    keep, weight, input_weight, offset, x, state = (part.numpy() for part in numbers)
    phi = {"tanh": np.tanh, "sigmoid": lambda v: 1 / (1 + np.exp(-v)), "relu": lambda v: max(v, 0.0)}[activation]
    nodes, table = len(keep), {name: part.tolist() for name, part in graph.items()}
    read, last = LeakyWalk(**graph, activation=activation, backend="reference")(*numbers)
    for b in range(2):
        v = state[:, b].copy()
        for t in range(6):
            new = keep * v + offset
            for e, (source, target) in enumerate(zip(table["source"], table["target"], strict=True)):
                new[target] += weight[e] * (phi(v[source]) if source < nodes else v[source - nodes])
            for k, (node, feature) in enumerate(zip(table["input_node"], table["input_feature"], strict=True)):
                new[node] += input_weight[k] * x[0 if node < 4 else 1, b, t, feature]
            v = new
            np.testing.assert_allclose(read[t, :, b], v[table["read_node"]], rtol=1e-12)
        np.testing.assert_allclose(last[:, b], v, rtol=1e-12)


@pytest.mark.parametrize("sequences", [1, 9])
def test_a_variant_is_the_same_alone_and_in_company(sequences: int) -> None:
    graph, numbers = drawn([5, 4, 6], 12, sequences, 50, dtype=torch.float32)
    before, together = torch.get_num_threads(), results(graph, numbers, "tanh", "fused")
    try:
        torch.set_num_threads(2)
        assert all(torch.equal(*pair) for pair in zip(together, results(graph, numbers, "tanh", "fused"), strict=True))
    finally:
        torch.set_num_threads(before)
    low, high, nodes, size = 5, 9, 15, 4
    voltage = graph["source"] >= nodes
    own = {name: part[part.numel() // 3 : 2 * part.numel() // 3] for name, part in graph.items() if name != "node_ptr"}
    own |= {name: own[name] - low for name in ("target", "input_node", "read_node")}
    own["source"] = own["source"] - low - (nodes - size) * voltage[12:24].long()
    cut = [slice(low, high), slice(12, 24), slice(2, 4), slice(low, high), slice(1, 2), slice(low, high)]
    alone = LeakyWalk(node_ptr=torch.tensor([0, size]), **own)(*[part[place] for part, place in zip(numbers, cut, strict=True)])
    assert torch.equal(alone[0], together[0][:, 3:6])
    assert torch.equal(alone[1], together[1][low:high])


def test_backends_are_chosen_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, numbers = drawn([3], 4, 1, 2)
    half = [part.to(torch.bfloat16) for part in numbers]
    assert LeakyWalk(**graph)(*half)[0].dtype == torch.bfloat16
    with pytest.raises(ValueError, match=r"backend='fused' does not apply: .*torch\.bfloat16; use backend='auto' or 'reference'"):
        LeakyWalk(**graph, backend="fused")(*half)
    with pytest.raises(ValueError, match="backend: expected one of auto, reference, fused, got 'quick'"):
        LeakyWalk(**graph, backend="quick")
    with pytest.raises(ValueError, match="activation: expected one of tanh, sigmoid, relu, got 'sin'"):
        LeakyWalk(**graph, activation="sin")
    monkeypatch.setitem(sys.modules, "numba", None)
    LeakyWalk(**graph)(*numbers)
    with pytest.raises(ValueError, match=r"need 'numba'.*elegans-pyg\[fast\]"):
        LeakyWalk(**graph, backend="fused")(*numbers)
