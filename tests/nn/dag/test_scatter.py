"""Executor scatter: the definition, and all that ordinary PyTorch code can do."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, grad, jvp, vmap
from torch_geometric.data import Batch

from elegans_pyg.datasets import Connectome
from elegans_pyg.nn import DAGNet
from elegans_pyg.transforms import ConstrainedDAG
from tests.dags import random_dag
from tests.nn.dag.test_network import EXECUTORS, assert_close, compare, inputs, make, randomize

BATCH = Batch.from_data_list([random_dag(seed, 7, 0.4) for seed in range(2)])


def loss_of(net: DAGNet, parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    return functional_call(net, parameters, (x,)).square().mean()


def test_the_hermaphrodite_as_the_other_executors_have_it() -> None:
    batch = Batch.from_data_list([ConstrainedDAG()(Connectome()[0])] * 2)
    nets = [randomize(DAGNet(batch, 2, executor=executor), 0) for executor in ("scatter", "levels", "fused")]
    x = inputs(nets[0], 3, 6, 5, torch.float32)
    outputs = [net(x) for net in nets]
    gradients = [torch.autograd.grad(out.square().sum(), [x, *net.parameters()]) for out, net in zip(outputs, nets, strict=True)]
    for number in (1, 2):
        assert_close(outputs[number], outputs[0], 1e-4, "output")
        for got, expected in zip(gradients[number], gradients[0], strict=True):
            assert_close(got, expected, 1e-3, "gradient")
        assert_close(nets[number].running_var, nets[0].running_var, 1e-4, "running_var")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_second_derivatives(executor: str) -> None:
    net = make(BATCH, 1, torch.float64, executor=executor)
    x = inputs(net, 2, 3, 2, torch.float64)
    assert torch.autograd.gradgradcheck(lambda x: net(x) ** 2, (x,), atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("executor", ["levels", "fused"])
def test_products_with_the_hessian(executor: str, training: bool) -> None:
    """Of all parameters and the input, which depend on each other here."""
    found = []
    for name in ("scatter", executor):
        net = make(BATCH, 2, torch.float64, executor=name).train(training)
        x = inputs(net, 3, 4, 3, torch.float64)
        leaves = [x, *net.parameters()]
        loss = net(x * net.edge_weight.mean()).square().mean()
        gradients = torch.autograd.grad(loss, leaves, create_graph=True)
        generator = torch.Generator().manual_seed(0)
        along = sum((g * torch.randn(g.shape, generator=generator, dtype=torch.float64)).sum() for g in gradients)
        found.append([*gradients, *torch.autograd.grad(along, leaves)])
    for got, expected in zip(found[1], found[0], strict=True):
        assert_close(got, expected, 1e-9, "gradient or product")


def test_second_derivatives_through_modules_are_refused_by_levels_alone() -> None:
    def loss(executor: str) -> torch.Tensor:
        net = DAGNet(BATCH, 2, executor=executor, node_operation=lambda channels: torch.nn.Conv2d(channels, channels, 1))
        return net(inputs(net, 2, 3, 2, torch.float32)).square().sum()

    loss("scatter").backward(create_graph=True)
    with pytest.raises(RuntimeError, match="this network has node_operation; give DAGNet executor='scatter'"):
        loss("auto").backward(create_graph=True)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_per_sample_gradients(executor: str) -> None:
    """Whatever the executor: a transform of torch.func takes the definition."""
    net = make(BATCH, 2, torch.float64, executor=executor).eval()
    x = inputs(net, 4, 3, 3, torch.float64).detach()
    parameters = dict(net.named_parameters())
    one = grad(lambda parameters, image: loss_of(net, parameters, image.unsqueeze(1)))
    together = vmap(one, in_dims=(None, 1))(parameters, x)
    for number in range(4):
        net.zero_grad()
        net(x[:, number : number + 1]).square().mean().backward()
        for name, parameter in net.named_parameters():
            assert_close(together[name][number], parameter.grad, 1e-9, name)


def test_a_batch_of_models_with_statistics_of_their_own() -> None:
    """In training, with momentum 0: nothing is changed in place."""
    net = make(BATCH, 2, torch.float64, executor="scatter")
    net.momentum = 0
    x = inputs(net, 3, 3, 3, torch.float64).detach()
    stacked = {name: torch.stack([value, 2 * value]) for name, value in net.named_parameters()}
    both = vmap(lambda parameters: functional_call(net, parameters, (x,)))(stacked)
    assert_close(both[0], net(x), 1e-9, "first")
    tangent = torch.ones_like(x)
    _, slope = jvp(net, (x,), (tangent,))
    assert_close(slope, (net(x + 1e-6 * tangent) - net(x - 1e-6 * tangent)) / 2e-6, 1e-5, "jvp")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_torch_compile(executor: str) -> None:
    net = make(BATCH, 2, torch.float32, executor=executor)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    compare(net, BATCH, inputs(net, 3, 4, 4, torch.float32), 1e-4, compiled.forward)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_torch_export(executor: str) -> None:
    """Whatever the executor, the program knows nothing of this package."""
    net = make(BATCH, 2, torch.float32, executor=executor).eval()
    x = inputs(net, 3, 4, 4, torch.float32).detach()
    program = torch.export.export(net, (x,))
    assert_close(program.module()(x), net(x), 1e-5, "exported")
    assert not [node for node in program.graph.nodes if "elegans_pyg" in str(node.target)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_types(dtype: torch.dtype) -> None:
    net = make(BATCH, 2, dtype, executor="scatter").eval()
    reference = make(BATCH, 2, torch.float64, executor="scatter").eval()
    x = inputs(net, 3, 4, 4, torch.float64).detach()
    out = net(x.to(dtype))
    assert out.dtype == dtype
    assert_close(out.double(), reference(x), 0.05, "output")
