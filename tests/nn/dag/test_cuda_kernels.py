"""The Triton kernels: in Triton's interpreter on any machine, compiled on a GPU where there is one."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch

from elegans_pyg.datasets import Connectome
from elegans_pyg.nn import DAGNet
from elegans_pyg.nn.dag.fused import operator
from elegans_pyg.recipes.ensemble import MAPS_PER_NODE
from elegans_pyg.studies.machine import free_memory
from elegans_pyg.transforms import ConstrainedDAG
from tests.dags import ensembles, random_dag
from tests.nn.dag.test_network import assert_close, compare, inputs, make

pytest.importorskip("triton", reason="triton is not installed")
HAS_CUDA = torch.cuda.is_available()

ENSEMBLES = {
    "three sizes": Batch.from_data_list([random_dag(3, 7, 0.5, share_of_inputs=0.5), random_dag(4, 3, 0.6), random_dag(5, 1, 0.0)]),
    "no edges": Batch.from_data_list([random_dag(6, 3, 0.0)]),
    "dense": Batch.from_data_list([random_dag(7, 8, 0.9)]),
}
needs_interpreter = pytest.mark.skipif(HAS_CUDA, reason="a GPU is here: the kernels are compiled, not interpreted")


@pytest.fixture
def triton_on_the_cpu(monkeypatch):
    """Send CPU tensors through the Triton kernels."""
    from elegans_pyg.nn.dag.fused import cuda_kernels as cuda

    monkeypatch.setattr(operator, "_backend", lambda device: cuda)


@needs_interpreter
@pytest.mark.parametrize(
    ("name", "images", "size"),
    [("three sizes", 3, (5, 4)), ("no edges", 20, (1, 1)), pytest.param("dense", 2, (9, 7), marks=pytest.mark.slow)],
)
def test_interpreted_kernels_agree_with_per_node_loop(triton_on_the_cpu, name, images, size):
    batch = ENSEMBLES[name]
    net = make(batch, 2, torch.float32, executor="fused")
    compare(net, batch, inputs(net, images, *size, torch.float32), 1e-4)


@needs_interpreter
def test_interpreted_kernels_span_several_blocks(triton_on_the_cpu, monkeypatch):
    from elegans_pyg.nn.dag.fused import cuda_kernels as cuda

    # One warp: 128 columns and 512 numbers at a time, and maps of 7 rows of 160, 152 of them in use.
    monkeypatch.setattr(cuda, "_WARPS", 1)
    batch = Batch.from_data_list([random_dag(4, 3, 1.0)])
    net = make(batch, 1, torch.float32, executor="fused")
    compare(net, batch, inputs(net, 19, 7, 8, torch.float32), 1e-4)


def cut_to_bfloat16(maps: torch.Tensor) -> torch.Tensor:
    """What Triton's interpreter makes of a number stored in bfloat16: it cuts digits off, where a GPU rounds."""
    return (maps.contiguous().view(torch.int32) & -65536).view(torch.float32)


@pytest.mark.slow
@needs_interpreter
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=ensembles(max_variants=2, max_nodes=5), images=st.integers(1, 3), size=st.sampled_from([(1, 1), (1, 3), (5, 4), (33, 17)]))
def test_interpreted_kernels_with_maps_in_bfloat16(triton_on_the_cpu, batch, images, size):
    # Beside a handful of values BatchNorm's gradients nearly cancel, and the digits left would show the rounding's luck.
    images = images if images * size[0] * size[1] >= 20 else 20
    net = make(batch, 1, torch.float32, executor="fused")
    x = inputs(net, images, *size, torch.float32)
    compare(net, batch, x, 1e-2, run=lambda x: net._run_fused(x, torch.bfloat16, net._tensors()), rounding=cut_to_bfloat16)


@pytest.mark.slow
@needs_interpreter
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=ensembles(max_variants=2, max_nodes=5), images=st.integers(1, 3), size=st.sampled_from([(1, 1), (1, 3), (5, 4), (33, 17)]))
def test_interpreted_kernels_agree_on_any_ensemble(triton_on_the_cpu, batch, images, size):
    images = images if images * size[0] * size[1] >= 20 else 20
    net = make(batch, 1, torch.float32, executor="fused")
    compare(net, batch, inputs(net, images, *size, torch.float32), 1e-4)


@pytest.mark.slow
@needs_interpreter
def test_interpreted_kernels_go_backward_twice_and_use_running_statistics(triton_on_the_cpu):
    batch = ENSEMBLES["dense"]
    for training in (True, False):
        nets = [make(batch, 1, torch.float32, executor=executor).train(training) for executor in ("fused", "levels")]
        for net in nets:
            loss = net(inputs(net, 3, 4, 4, torch.float32)).square().sum()
            loss.backward(retain_graph=True)
            loss.backward()
        for (name, first), second in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
            assert_close(first.grad, second.grad, 1e-4, name)


@pytest.mark.cuda
@pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", list(ENSEMBLES))
def test_compiled_kernels_agree_with_per_node_loop(name):
    batch = ENSEMBLES[name]
    net = make(batch, 2, torch.float32, executor="fused").cuda()
    on_gpu = inputs(net, 20, 9, 7, torch.float32).detach().cuda().requires_grad_()
    compare(net, batch, on_gpu, 1e-4)


@pytest.mark.cuda
@pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA GPU")
def test_compiled_kernels_are_repeatable_and_faster_than_levels():
    dag = ConstrainedDAG()(Connectome()[0])
    # As many variants as executor levels has room for: 30 of them need 230 GB.
    needed = MAPS_PER_NODE["levels"] * dag.num_nodes * 100 * 78 * 14**2 * 4
    count = max(1, min(30, int(0.8 * free_memory(torch.device("cuda")) / needed)))
    batch, seconds, bits = Batch.from_data_list([dag] * count), {}, []
    for executor in ("levels", "fused", "fused"):
        net = DAGNet(batch, 78, executor=executor).cuda()
        x = torch.randn(count, 100, 78, 14, 14, generator=torch.Generator().manual_seed(0)).cuda().requires_grad_()
        for _ in range(2):
            net.zero_grad()
            torch.cuda.synchronize()
            start = time.perf_counter()
            net(x).square().mean().backward()
            torch.cuda.synchronize()
            seconds[executor] = time.perf_counter() - start
        bits.append(net.edge_weight.grad)
    assert torch.equal(bits[1], bits[2])
    assert seconds["levels"] > 4 * seconds["fused"], seconds


@pytest.mark.cuda
@pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA GPU")
@pytest.mark.parametrize("maps", [torch.float32, torch.bfloat16])
def test_auto_tries_both_executors_and_finds_no_fault(maps):
    dag = ConstrainedDAG()(Connectome()[0])
    net = DAGNet(dag, 8).cuda()
    x = torch.randn(1, 20, 8, 14, 14, generator=torch.Generator().manual_seed(0)).cuda()
    with torch.autocast("cuda", torch.bfloat16, enabled=maps == torch.bfloat16):
        out = net(x)
        (choice,) = net.choices.values()
        assert not choice.fault, choice.why
        plain = DAGNet(dag, 8, executor=choice.executor).cuda()
        assert torch.equal(out, plain(x))
    assert torch.equal(net.running_var, plain.running_var)
