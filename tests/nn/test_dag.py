"""DAGNet against the per-node loop: outputs, statistics, every gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from elegans_pyg.nn import DAGNet
from tests.dags import ensembles, random_dag
from tests.nn.per_node_loop import PerNodeLoop

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


def randomize(net: DAGNet, seed: int) -> DAGNet:
    """Parameters and statistics away from their tidy start, so that no term hides behind a one or a zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (net.edge_weight, net.norm_bias, net.running_mean):
            tensor.add_(torch.randn(tensor.shape, generator=generator).to(tensor) * 0.3)
        for tensor in (net.norm_weight, net.running_var):
            tensor.mul_(torch.rand(tensor.shape, generator=generator).to(tensor) + 0.5)
    return net


def make(batch: Data | Batch, channels: int, dtype: torch.dtype, seed: int = 0, **options: object) -> DAGNet:
    return randomize(DAGNet(batch, channels, **options).to(dtype), seed)


def inputs(net: DAGNet, images: int, height: int, width: int, dtype: torch.dtype, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (net.num_variants, images, net.channels, height, width)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def assert_close(got: torch.Tensor, expected: torch.Tensor, tolerance: float, what: str) -> None:
    scale = max(1.0, float(expected.detach().abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * scale, msg=lambda m: f"{what}: {m}")


def compare(net: DAGNet, batch: Data | Batch, x: torch.Tensor, tolerance: float) -> None:
    """One training pass forward and backward, then one in evaluation, beside the per-node loop."""
    loop = PerNodeLoop(batch, net.channels, net.kernel_size).to(x.dtype).load_from(net)
    x_loop = x.detach().clone().requires_grad_()
    out, expected = net(x), loop(x_loop)
    assert_close(out, expected, tolerance, "output")
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(out.dtype)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_close(x.grad, x_loop.grad, tolerance, "gradient of the input")
    for name, gradient in loop.gradients().items():
        assert_close(getattr(net, name).grad, gradient, tolerance, f"gradient of {name}")
    for name, statistic in loop.statistics().items():
        assert_close(getattr(net, name), statistic, tolerance, name)
    net.eval()
    loop.eval()
    with torch.no_grad():
        assert_close(net(x), loop(x), tolerance, "output in evaluation")


@settings(max_examples=40, deadline=None)
@given(
    batch=ensembles(),
    channels=st.integers(1, 3),
    images=st.integers(1, 3),
    size=st.sampled_from([(1, 2), (2, 3), (5, 4), (7, 7)]),
    kernel_size=st.sampled_from([1, 3, 5]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_agrees_with_per_node_loop(batch, channels, images, size, kernel_size, dtype):
    if dtype == torch.float32 and images * size[0] * size[1] < 20:
        # Over a handful of values BatchNorm's gradients nearly cancel, and float32 keeps only a digit or two of what is left.
        images, size = 2, (5, 4)
    net = make(batch, channels, dtype, kernel_size=kernel_size, executor="levels")
    compare(net, batch, inputs(net, images, *size, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("executor", ["levels"])
def test_gradcheck(executor):
    batch = Batch.from_data_list([random_dag(3, 5, 0.6), random_dag(4, 4, 0.5)])
    net = make(batch, 2, torch.float64, executor=executor)
    x = inputs(net, 2, 3, 2, torch.float64)
    names = ["edge_weight", "conv_weight", "norm_weight", "norm_bias"]

    def run(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *(getattr(net, name).detach().clone().requires_grad_() for name in names)))
