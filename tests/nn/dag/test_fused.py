"""What only the fused executor must hold: where it applies, repeatability, its buffers and threads."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from torch_geometric.data import Batch, Data

from elegans_pyg.nn import DAGNet, executors
from tests.dags import random_dag
from tests.nn.dag.test_network import compare, inputs, make

pytest.importorskip("numba", reason="numba is not installed (extra `fast`)")

DAGS = Batch.from_data_list([random_dag(3, 30, 0.3), random_dag(4, 12, 0.4), random_dag(5, 1, 0.0)])


def step(net: DAGNet, x: torch.Tensor) -> list[torch.Tensor]:
    net.zero_grad()
    x.grad = None
    out = net(x)
    out.square().sum().backward()
    return [out.detach(), x.grad, *(p.grad.clone() for p in net.parameters()), net.running_mean.clone(), net.running_var.clone()]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_same_bits_from_run_to_run_and_for_any_number_of_threads(threads):
    before = torch.get_num_threads()
    results = []
    try:
        for count in (2, threads):
            torch.set_num_threads(count)
            net = make(DAGS, 5, torch.float32, executor="fused")
            results.append(step(net, inputs(net, 3, 6, 5, torch.float32)))
    finally:
        torch.set_num_threads(before)
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)


def test_auto_takes_fused_where_it_applies():
    x = torch.zeros(1, 2, 2, 3, 3)
    assert DAGNet(DAGS[0], 2).fused_refusal() == ""
    assert "only 3x3 kernels, and this network's are 5x5" in DAGNet(DAGS[0], 2, kernel_size=5).fused_refusal()
    assert "has node_operation" in DAGNet(DAGS[0], 2, node_operation=lambda c: torch.nn.ReLU()).fused_refusal()
    assert "the parameters are torch.bfloat16" in DAGNet(DAGS[0], 2).bfloat16().fused_refusal()
    assert DAGNet(DAGS[0], 2, kernel_size=5)(x).shape == x.shape
    with pytest.raises(ValueError, match=r"executor='fused' does not apply: .*5x5; use executor='auto' or 'levels'"):
        DAGNet(DAGS[0], 2, kernel_size=5, executor="fused")
    with pytest.raises(ValueError, match=r"executor='fused' does not apply: .*torch\.bfloat16"):
        DAGNet(DAGS[0], 2, executor="fused").bfloat16()(x.bfloat16())


def test_auto_takes_fused_on_the_cpu_and_names_what_it_lacks_elsewhere():
    net = DAGNet(DAGS[0], 2)
    net(torch.zeros(1, 2, 2, 3, 3))
    assert list(net._walks) == [("fused", torch.device("cpu"))]
    assert "no kernels for device 'meta'" in executors.refusal(torch.device("meta"), torch.float32)
    assert "cuda kernels take torch.float32" in executors.refusal(torch.device("cuda"), torch.float64)
    assert net.executor_in_use() == "fused"
    assert net.choices == {}, "on the CPU nothing is tried"
    assert executors.decided_by_trial("auto", torch.device("cuda"), "")
    assert not executors.decided_by_trial("auto", torch.device("cuda"), "a reason")
    assert not executors.decided_by_trial("fused", torch.device("cuda"), "")


def test_without_numba_auto_falls_back_and_fused_names_the_extra(monkeypatch):
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    net = DAGNet(DAGS[0], 2)
    assert r"pip install 'elegans-pyg[fast]'" in net.fused_refusal()
    net(torch.zeros(1, 2, 2, 3, 3))
    assert ("fused", torch.device("cpu")) not in net._walks, "the fused walk must not have been prepared"
    with pytest.raises(ValueError, match=r"need 'numba', which is not installed; run: pip install 'elegans-pyg\[fast\]'"):
        DAGNet(DAGS[0], 2, executor="fused")


@pytest.mark.parametrize(("executor", "held"), [("fused", 2 * 1 + 1), ("levels", 2 * 3)])
def test_buffers_are_reused_from_step_to_step_but_never_while_a_graph_needs_them(executor, held):
    net = make(DAGS, 3, torch.float64, executor=executor)
    x, y = inputs(net, 2, 4, 4, torch.float64), inputs(net, 2, 4, 4, torch.float64, seed=2)
    expected_x, expected_y = (make(DAGS, 3, torch.float64, executor="levels") for _ in range(2))
    # The call that compiles a kernel leaves its arguments to the garbage collector.
    make(DAGS, 3, torch.float64, executor=executor)(x.detach())
    first, second = net(x), net(y)
    assert len(net._workspace._buffers) == held
    second.square().sum().backward()
    first.square().sum().backward()
    expected_x(x.detach()).square().sum().backward()
    expected_y(y.detach()).square().sum().backward()
    torch.testing.assert_close(net.conv_weight.grad, expected_x.conv_weight.grad + expected_y.conv_weight.grad)
    del first, second
    held = {buffer.ctypes.data for buffer in net._workspace._buffers}
    net(x).sum().backward()
    assert {buffer.ctypes.data for buffer in net._workspace._buffers} <= held
    assert copy.deepcopy(net)._workspace._buffers == []


def test_a_copy_outlives_its_original():
    net = make(DAGS, 2, torch.float64, executor="fused").eval()
    x = inputs(net, 2, 4, 4, torch.float64)
    expected = net(x)
    copied = copy.deepcopy(net)
    del net
    gc.collect()
    assert torch.equal(copied(x), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (33, 17)])
def test_odd_image_sizes(size):
    net = make(DAGS, 2, torch.float64, executor="fused")
    compare(net, DAGS, inputs(net, 3, *size, torch.float64), 1e-9)


def test_constant_maps_have_no_variance_and_give_finite_numbers():
    net = DAGNet(DAGS, 2, executor="fused")
    reference = DAGNet(DAGS, 2, executor="levels")
    for network in (net, reference):
        x = torch.zeros(3, 2, 2, 4, 4, requires_grad=True)
        out = network(x)
        out.sum().backward()
        assert bool(out.isfinite().all())
        assert bool(x.grad.isfinite().all())
    torch.testing.assert_close(net.edge_weight.grad, reference.edge_weight.grad)


def test_gradients_in_evaluation_use_the_running_statistics():
    nets = [make(DAGS, 3, torch.float64, executor=executor).eval() for executor in ("fused", "levels")]
    for first, second in zip(*(step(net, inputs(net, 2, 4, 4, torch.float64)) for net in nets), strict=True):
        torch.testing.assert_close(first, second)


def test_a_graph_with_a_million_edges():
    side = 1000
    source, target = torch.cartesian_prod(torch.arange(side), torch.arange(side, 2 * side)).T
    is_input = torch.arange(2 * side) < side
    dag = Data(
        edge_index=torch.stack([source, target]), level=(~is_input).long(), input_mask=is_input, output_mask=~is_input, num_nodes=2 * side
    )
    net = make(dag, 1, torch.float64, executor="fused")
    x = inputs(net, 2, 2, 1, torch.float64)
    out = net(x)
    out.sum().backward()
    assert net.edge_weight.grad.numel() == 1_000_000

    def normalised(z: torch.Tensor, nodes: slice) -> torch.Tensor:
        centred = z - z.mean(1, keepdim=True)
        y = centred / (centred.square().mean(1, keepdim=True) + net.eps).sqrt()
        return net.norm_weight[nodes].detach() * y + net.norm_bias[nodes].detach()

    def convolved(a: torch.Tensor, nodes: slice) -> torch.Tensor:
        return torch.nn.functional.conv2d(a.view(-1, side, 2, 1), net.conv_weight[nodes].detach(), padding=1, groups=side)

    first = convolved(x.detach().relu().view(2, 1, 2, 1).expand(2, side, 2, 1), slice(0, side)).transpose(0, 1).reshape(side, 4)
    y = normalised(first, slice(0, side))
    weights = net.edge_weight.detach().view(side, side)
    a = (weights.T @ y).relu().view(side, 2, 2, 1).transpose(0, 1)
    second = convolved(a, slice(side, 2 * side)).transpose(0, 1).reshape(side, 4)
    expected = normalised(second, slice(side, 2 * side)).mean(0)
    torch.testing.assert_close(out.detach().flatten(), expected)
