"""DAGNet against the per-node loop: outputs, statistics, every gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch_geometric.typing
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from elegans_pyg.nn import DAGNet
from tests.dags import ensembles, random_dag
from tests.nn.dag.per_node_loop import PerNodeLoop, Rounding

EXECUTORS = ["scatter", "levels", "fused"]
Run = Callable[[torch.Tensor], torch.Tensor]
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


def compare(
    net: DAGNet, batch: Data | Batch, x: torch.Tensor, tolerance: float, run: Run | None = None, rounding: Rounding | None = None
) -> None:
    """One training pass forward and backward, then one in evaluation, beside the per-node loop; ``run`` is the network's own by default."""
    run = run or net
    loop = PerNodeLoop(batch, net.channels, net.kernel_size, rounding).to(x.dtype).load_from(net)
    x_loop = x.detach().clone().requires_grad_()
    out, expected = run(x), loop(x_loop)
    assert_close(out, expected, tolerance, "output")
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(out.dtype)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_close(x.grad, x_loop.grad, tolerance, "gradient of the input")
    for name, gradient in loop.gradients().items():
        # Ordinary autograd gives no gradient to weights that no edge uses.
        own = getattr(net, name).grad
        assert_close(torch.zeros_like(gradient) if own is None and not gradient.any() else own, gradient, tolerance, f"gradient of {name}")
    for name, statistic in loop.statistics().items():
        assert_close(getattr(net, name), statistic, tolerance, name)
    net.eval()
    loop.eval()
    with torch.no_grad():
        assert_close(run(x), loop(x), tolerance, "output in evaluation")


# The same examples every time: the gradient of a node's only edge is nothing but rounding, since BatchNorm takes its scale away, and over
# hundreds of pixels in float32 a rare one comes out above the tolerance, in the loop as well.
@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    batch=ensembles(),
    channels=st.integers(1, 3),
    images=st.integers(1, 3),
    size=st.sampled_from([(1, 2), (3, 1), (2, 3), (5, 4), (7, 7), (33, 17)]),
    kernel_size=st.sampled_from([1, 3, 5]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    executor=st.sampled_from(EXECUTORS),
)
def test_agrees_with_per_node_loop(batch, channels, images, size, kernel_size, dtype, executor):
    kernel_size = 3 if executor == "fused" else kernel_size
    if dtype == torch.float32 and images * size[0] * size[1] < 20:
        # Over a handful of values BatchNorm's gradients nearly cancel, and float32 keeps only a digit or two of what is left.
        images, size = 2, (5, 4)
    net = make(batch, channels, dtype, kernel_size=kernel_size, executor=executor)
    compare(net, batch, inputs(net, images, *size, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("executor", EXECUTORS)
def test_gradcheck(executor):
    batch = Batch.from_data_list([random_dag(3, 5, 0.6), random_dag(4, 4, 0.5)])
    net = make(batch, 2, torch.float64, executor=executor)
    x = inputs(net, 2, 3, 2, torch.float64)
    names = ["edge_weight", "conv_weight", "norm_weight", "norm_bias"]

    def run(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *(getattr(net, name).detach().clone().requires_grad_() for name in names)))


@pytest.mark.parametrize("activation", ["sigmoid", "dale"])
def test_edge_activation(activation):
    batch = Batch.from_data_list([random_dag(3, 8, 0.5), random_dag(4, 6, 0.5)])
    net = make(batch, 2, torch.float64, edge_activation=activation, executor="levels")
    x = inputs(net, 2, 4, 4, torch.float64)
    expected = torch.sigmoid(net.edge_weight)
    if activation == "dale":
        sign = torch.where(batch.inhibitory[batch.edge_index[0]], -1.0, 1.0)
        expected = sign * torch.log1p(net.edge_weight.exp())
    torch.testing.assert_close(net.weights_in_use(), expected)
    loop = PerNodeLoop(batch, 2).double().load_from(net)
    loop.edge_weight.data = expected.detach()
    torch.testing.assert_close(net(x), loop(x))
    net(x).square().sum().backward()
    loop(x).square().sum().backward()
    slope = torch.autograd.grad(net.weights_in_use().sum(), net.edge_weight)[0]
    torch.testing.assert_close(net.edge_weight.grad, loop.edge_weight.grad * slope, rtol=1e-8, atol=1e-10)


def test_dale_keeps_one_sign_a_neuron_while_it_trains():
    dag = random_dag(5, 12, 0.6)
    net = DAGNet(dag, 2, edge_activation="dale")
    optimizer = torch.optim.Adam(net.parameters(), lr=0.5)
    x = inputs(net, 2, 4, 4, torch.float32)
    before = net.weights_in_use().detach().clone()
    for _ in range(20):
        optimizer.zero_grad()
        (net(x) * torch.linspace(-1, 1, 4)).sum().backward()
        optimizer.step()
    after = net.weights_in_use().detach()
    assert (before - after).abs().max() > 0.5
    assert torch.equal(after < 0, dag.inhibitory[dag.edge_index[0]])


@pytest.mark.parametrize("activation", ["identity", "sigmoid", "dale"])
@pytest.mark.parametrize("init", ["in_degree", "synapse_count"])
def test_edge_init(init, activation):
    dag = random_dag(6, 10, 0.6)
    weight = DAGNet(dag, 1, edge_init=init, edge_activation=activation).weights_in_use().detach().abs()
    for n in range(dag.num_nodes):
        incoming = dag.edge_index[1] == n
        if not incoming.any():
            continue
        count = dag.edge_weight[incoming] if init == "synapse_count" else torch.ones(int(incoming.sum()))
        expected = count / count.square().sum().sqrt()
        if activation == "sigmoid":
            expected = expected.clamp(max=0.95)
        torch.testing.assert_close(weight[incoming], expected, rtol=1e-5, atol=1e-6)


def test_node_operation_factory_equals_the_built_in_one():
    batch = Batch.from_data_list([random_dag(3, 8, 0.5, share_of_inputs=0.5), random_dag(4, 6, 0.5)])
    built_in = make(batch, 2, torch.float64, executor="levels")
    loop = PerNodeLoop(batch, 2).double().load_from(built_in)
    nodes = iter(loop.nodes)
    net = DAGNet(batch, 2, node_operation=lambda channels: next(nodes)).double()
    net.edge_weight.data = built_in.edge_weight.data
    x, y = inputs(net, 2, 4, 3, torch.float64), inputs(net, 2, 4, 3, torch.float64)
    first, second = net(x), built_in(y)
    torch.testing.assert_close(first, second)
    first.square().sum().backward()
    second.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(net.edge_weight.grad, built_in.edge_weight.grad)
    for name, gradient in loop.gradients().items():
        if name != "edge_weight":
            torch.testing.assert_close(gradient, getattr(built_in, name).grad)
    for name, statistic in loop.statistics().items():
        torch.testing.assert_close(statistic, getattr(built_in, name))


def test_node_operation_draws_from_the_variants_own_seed_and_leaves_the_global_ones(monkeypatch):
    def factory(channels: int) -> torch.nn.Module:
        return torch.nn.Conv2d(channels, channels, 1)

    state = torch.random.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("the generators of CUDA were seeded"))
    dag = random_dag(3, 4, 0.5)
    pair = DAGNet(Batch.from_data_list([dag, dag]), 2, node_operation=factory, seeds=[7, 8])
    alone = DAGNet(dag, 2, node_operation=factory, seeds=8)
    assert torch.equal(torch.random.get_rng_state(), state)
    for n in range(4):
        assert torch.equal(pair.node_modules[4 + n].weight, alone.node_modules[n].weight)
        assert not torch.equal(pair.node_modules[n].weight, alone.node_modules[n].weight)


def test_node_operation_that_changes_the_shape_is_refused():
    net = DAGNet(random_dag(3, 4, 0.5), 2, node_operation=lambda channels: torch.nn.Conv2d(channels, channels, 3))
    with pytest.raises(ValueError, match=r"node_operation must keep the shape of its maps, \(2, 2, 4, 4\), but returned \(2, 2, 2, 2\)"):
        net(torch.zeros(1, 2, 2, 4, 4))


@pytest.mark.parametrize("kept_type", [torch.float32, torch.bfloat16])
def test_node_operation_under_autocast(kept_type):
    """Executors agree with each other, and nearly with float32; maps before the network may be in bfloat16 already."""

    def factory(channels: int) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Conv2d(channels, channels, 3, padding=1), torch.nn.BatchNorm2d(channels))

    batch, results = Batch.from_data_list([random_dag(3, 8, 0.5), random_dag(4, 6, 0.5)]), []
    for executor, enabled in (("scatter", False), ("scatter", True), ("levels", True)):
        net = DAGNet(batch, 2, node_operation=factory, executor=executor)
        x = inputs(net, 8, 7, 7, torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            out = net(x.to(kept_type) if enabled else x)
        assert out.dtype == (torch.bfloat16 if enabled else torch.float32)
        out.float().sin().sum().backward()
        results.append((out.float(), x.grad, net.edge_weight.grad, net.node_modules[0][0].weight.grad))
    for exact, definition, levels in zip(*results, strict=True):
        assert (definition - exact).norm() / exact.norm() < 0.05
        assert (levels - exact).norm() / exact.norm() < 0.05


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_variant_with_nan_leaves_the_others_alone(executor):
    batch = Batch.from_data_list([random_dag(3, 8, 0.5), random_dag(4, 6, 0.5)])
    clean, poisoned = (make(batch, 2, torch.float32, executor=executor) for _ in range(2))
    x = inputs(clean, 2, 4, 4, torch.float32)
    bad = x.detach().clone()
    bad[0, 1, 0, 2, 3] = float("nan")
    bad.requires_grad_()
    out, bad_out = clean(x), poisoned(bad)
    out[1].square().sum().backward()
    bad_out[1].square().sum().backward()
    assert bool(bad_out[0].isnan().any())
    assert torch.equal(out[1], bad_out[1])
    assert torch.equal(x.grad[1], bad.grad[1])
    second = batch.batch == 1
    for name in ("conv_weight", "norm_weight", "norm_bias"):
        assert torch.equal(getattr(clean, name).grad[second], getattr(poisoned, name).grad[second]), name
    assert torch.equal(clean.running_var[second], poisoned.running_var[second])


@pytest.mark.parametrize("executor", EXECUTORS)
def test_backward_twice_gives_twice_the_gradient(executor):
    net = make(random_dag(3, 8, 0.5), 2, torch.float64, executor=executor)
    loss = net(inputs(net, 2, 4, 4, torch.float64)).square().sum()
    loss.backward(retain_graph=True)
    once = net.edge_weight.grad.clone()
    loss.backward()
    torch.testing.assert_close(net.edge_weight.grad, 2 * once)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_bfloat16_autocast(executor):
    batch = Batch.from_data_list([random_dag(3, 8, 0.5), random_dag(4, 6, 0.5)])
    exact, net = (make(batch, 4, torch.float32, executor=executor) for _ in range(2))
    loop = PerNodeLoop(batch, 4).load_from(net)
    x = inputs(net, 8, 7, 7, torch.float32)
    expected = exact(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, of_loop = net(x), loop(x)
    assert out.dtype == torch.bfloat16
    assert (out.float() - expected).norm() / expected.norm() < 1e-2
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(5))
    for result in (expected, out, of_loop):
        (result.float() * weights).sum().backward()
    # Gradients through many BatchNorms lose digits in bfloat16 whoever computes them: the loop's own loss is the yardstick.
    for name, loop_gradient in loop.gradients().items():
        got, want = getattr(net, name).grad, getattr(exact, name).grad
        assert got.dtype == torch.float32
        assert (got - want).norm() < 1.5 * (loop_gradient - want).norm(), name


@pytest.mark.parametrize(("executor", "backend"), [("levels", "aot_eager"), ("fused", "eager"), ("fused", "aot_eager")])
def test_torch_compile_takes_the_walk_whole(executor, backend):
    nets = [make(random_dag(3, 8, 0.5), 2, torch.float32, executor=executor) for _ in range(2)]
    x = inputs(nets[0], 2, 4, 4, torch.float32)
    compiled = torch.compile(lambda x: nets[0](x * 2).relu(), backend=backend, fullgraph=True)
    for _ in range(2):
        out, expected = compiled(x), nets[1](x * 2).relu()
        torch.testing.assert_close(out, expected)
        torch.testing.assert_close(nets[0].running_var, nets[1].running_var)
        for _ in range(2):
            gradients = [
                torch.autograd.grad(y.sum(), [x, net.conv_weight, net.edge_weight], retain_graph=True)
                for y, net in zip((out, expected), nets, strict=True)
            ]
            torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("defect", ["cyclic", "levels", "inputs", "output", "edge", "crossing", "stale", "gap"])
def test_graphs_that_are_no_dags_are_refused(defect):
    dag = random_dag(3, 6, 0.9)
    if defect == "cyclic":
        dag.edge_index = torch.cat([dag.edge_index, dag.edge_index[:, :1].flip(0)], 1)
        match = "every edge must go from a lower to a higher level"
    elif defect == "levels":
        del dag.level
        match = r"batch must hold DAGs, but has no level; apply ConstrainedDAG\(\) or RandomDAG\(\)"
    elif defect == "stale":
        last = int(dag.level.argmax())
        dag.edge_index = dag.edge_index[:, dag.edge_index[1] != last]
        match = f"every level above 0 must hold nodes with edges from lower ones, but node {last} has none; the levels are stale"
    elif defect == "gap":
        dag.level[dag.level.argmax()] += 1
        match = "but no node is on level 4; the levels are stale"
    elif defect == "inputs":
        dag.input_mask = ~dag.input_mask
        match = "level must be 0 on the input nodes and only there"
    elif defect == "output":
        dag.output_mask = torch.zeros(6, dtype=torch.bool)
        match = "variant 0 has no output node"
    elif defect == "crossing":
        dag = Batch.from_data_list([dag, random_dag(4, 6, 0.9)])
        dag.edge_index = dag.edge_index.clone()
        dag.edge_index[1, 0] += 6
        dag.level[int(dag.edge_index[1, 0])] = 99
        match = "an edge must stay inside its variant, but"
    else:
        dag.edge_index = dag.edge_index + 1
        match = r"edge_index must lie in 0\.\.5, got"
    with pytest.raises(ValueError, match=match):
        DAGNet(dag, 2)


def test_bad_arguments_are_refused():
    dag = random_dag(3, 6, 0.9)
    with pytest.raises(ValueError, match=r"executor: expected one of auto, scatter, levels.*, got 'turbo'"):
        DAGNet(dag, 2, executor="turbo")
    with pytest.raises(ValueError, match="edge_activation: expected one of identity, sigmoid, dale, got 'tanh'"):
        DAGNet(dag, 2, edge_activation="tanh")
    with pytest.raises(ValueError, match="edge_init: expected one of in_degree, synapse_count, got 'xavier'"):
        DAGNet(dag, 2, edge_init="xavier")
    with pytest.raises(ValueError, match=r"kernel_size must be odd and positive, .* got 4"):
        DAGNet(dag, 2, kernel_size=4)
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        DAGNet(dag, 0)
    for wrong in ("a DAG", [], [dag, 3]):
        with pytest.raises(TypeError, match=r"batch: expected a Data, a Batch, a data set or a list of graphs, got (str|list)"):
            DAGNet(wrong, 2)
    net = DAGNet(dag, 2)
    with pytest.raises(ValueError, match=r"x must be \(V, B, C, H, W\) = \(1, B, 2, H, W\), got \(2, 1, 2, 4, 4\)"):
        net(torch.zeros(2, 1, 2, 4, 4))
    with pytest.raises(ValueError, match="at least one image of at least one pixel"):
        net(torch.zeros(1, 0, 2, 4, 4))
    with pytest.raises(ValueError, match="BatchNorm in training needs more than one value per channel"):
        net(torch.zeros(1, 1, 2, 1, 1))
    net.eval()(torch.zeros(1, 1, 2, 1, 1))
    del dag.inhibitory
    with pytest.raises(ValueError, match=r"edge_activation='dale' needs batch\.inhibitory"):
        DAGNet(dag, 2, edge_activation="dale")


@pytest.mark.scatter
def test_levels_gives_the_same_with_and_without_torch_scatter(monkeypatch):
    pytest.importorskip("torch_scatter", reason="torch-scatter is not installed (extra `scatter`)")
    import torch_geometric.utils._segment as pyg_segment

    assert torch_geometric.typing.WITH_TORCH_SCATTER
    calls = []
    original = pyg_segment.torch_scatter.segment_csr
    monkeypatch.setattr(pyg_segment.torch_scatter, "segment_csr", lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs))
    batch = Batch.from_data_list([random_dag(3, 30, 0.3), random_dag(4, 20, 0.3)])
    results = []
    for with_scatter in (True, False):
        monkeypatch.setattr(torch_geometric.typing, "WITH_TORCH_SCATTER", with_scatter)
        net = make(batch, 3, torch.float64, executor="levels")
        x = inputs(net, 4, 6, 5, torch.float64)
        out = net(x)
        out.square().sum().backward()
        results.append([out, x.grad, *(p.grad for p in net.parameters()), net.running_mean, net.running_var])
    assert len(calls) == 2, "the first of the two runs must have gone through torch-scatter, forward and backward, and the second not"
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)
