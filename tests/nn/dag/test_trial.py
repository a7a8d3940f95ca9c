"""``auto`` where both executors are tried: what wins, what is refused, and that a trial leaves no trace in the network."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch_geometric.data import Batch

from elegans_pyg.datasets import Connectome, load_images
from elegans_pyg.models import ConnectomeClassifier
from elegans_pyg.nn import DAGNet, executors
from elegans_pyg.nn.dag import network, trial
from elegans_pyg.nn.dag.trial import Choice, compare
from elegans_pyg.studies import machine
from elegans_pyg.training import FitSettings, fit
from elegans_pyg.transforms import ConstrainedDAG
from tests.dags import random_dag
from tests.nn.dag.test_network import inputs, make

DAGS = Batch.from_data_list([random_dag(3, 9, 0.5), random_dag(4, 6, 0.6)])
X = torch.arange(3 * 4 * 2 * 2 * 2.0).view(3, 4, 2, 2, 2)


class Bench:
    """Passes that take as long as they are told, by this clock."""

    def __init__(self) -> None:
        self.now, self.images = 0.0, list[int]()

    def __call__(self) -> float:
        return self.now

    def run(self, seconds: float, change: Callable[[Tensor], Tensor] = lambda x: x, most: int = 100) -> trial.Pass:
        def one(x: Tensor) -> list[Tensor]:
            self.images.append(x.size(1))
            if x.size(1) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            self.now += seconds
            return [2 * x, change(3 * x), x.new_empty(0)]

        return one


def raises(error: Exception) -> trial.Pass:
    def run(x: Tensor) -> list[Tensor]:
        raise error

    return run


def one_variant(x: Tensor) -> Tensor:
    return x * torch.tensor([1.0, 1.01, 1.0]).view(3, 1, 1, 1, 1)


def one_number(x: Tensor) -> Tensor:
    x = x.clone()
    x[2, 0, 1, 1, 1] += 3.0
    return x


def with_nan(x: Tensor) -> Tensor:
    return torch.where(x == x.max(), torch.nan, x)


def test_the_faster_one_is_taken() -> None:
    bench = Bench()
    choice = compare(X, bench.run(0.2), bench.run(0.05), bench, 1e-4, 1e-3)
    assert choice == Choice("fused", "fused 0.05 s, levels 0.2 s")
    assert compare(X, bench.run(0.01), bench.run(0.05), bench, 1e-4, 1e-3) == Choice("levels", "fused 0.05 s, levels 0.01 s")


def test_the_first_pass_which_compiles_is_not_timed_and_a_slow_moment_is_not_held_against_it() -> None:
    bench, passed = Bench(), []

    def fused(x: Tensor) -> list[Tensor]:
        passed.append(x)
        bench.now += {1: 60.0, 3: 9.0}.get(len(passed), 0.1)
        return [2 * x, 3 * x, x.new_empty(0)]

    assert compare(X, bench.run(0.2), fused, bench, 1e-4, 1e-3).why == "fused 0.1 s, levels 0.2 s"


@pytest.mark.parametrize("change", [one_variant, one_number, with_nan])
def test_who_differs_loses_however_fast(change: Callable[[Tensor], Tensor]) -> None:
    bench = Bench()
    choice = compare(X, bench.run(0.2), bench.run(0.05, change), bench, 1e-4, 1e-3)
    assert (choice.executor, choice.fault) == ("levels", True)
    assert choice.why.startswith("gradients of fused and levels differ by ")
    assert choice.why.endswith("; rounding explains at most 1e-03")
    assert compare(X, bench.run(0.2), bench.run(0.05, change), bench, 1e-4, 0.5).executor == ("levels" if change is with_nan else "fused")


def test_rounding_is_no_difference() -> None:
    bench = Bench()
    assert compare(X, bench.run(0.2), bench.run(0.05, lambda x: x * (1 + 1e-5)), bench, 1e-4, 1e-3).executor == "fused"


def test_who_does_not_build_loses_and_is_quoted() -> None:
    choice = compare(X, Bench().run(0.2), raises(RuntimeError("ptxas: no room\nfor registers")), Bench(), 1e-4, 1e-3)
    assert choice == Choice("levels", "fused fails (RuntimeError: ptxas: no room for registers)", fault=True)
    with pytest.raises(RuntimeError, match="of levels"):
        compare(X, raises(RuntimeError("of levels")), Bench().run(0.2), Bench(), 1e-4, 1e-3)


def test_who_runs_out_of_memory_loses_and_two_images_are_compared() -> None:
    bench = Bench()
    assert compare(X, bench.run(0.1), bench.run(0.1, most=2), bench, 1e-4, 1e-3) == Choice(
        "levels", "fused too little memory, levels 0.1 s"
    )
    assert bench.images[:4] == [4, 4, 2, 2]
    assert compare(X, bench.run(0.1, most=3), bench.run(9.0), bench, 1e-4, 1e-3) == Choice("fused", "fused 9 s, levels too little memory")
    assert compare(X, bench.run(0.1, most=3), bench.run(0.1, one_variant), bench, 1e-4, 1e-3).executor == "levels"
    neither = compare(X, bench.run(0.1, most=1), bench.run(0.1, most=1), bench, 1e-4, 1e-3)
    assert (neither.executor, neither.fault) == ("levels", True)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let ``auto`` try both executors on the CPU, with no memory of other tests; gives a function that settles which is the faster one."""
    pytest.importorskip("numba", reason="numba is not installed (extra `fast`)")
    monkeypatch.setattr(executors, "TRIED_ON", ("cpu",))
    monkeypatch.setattr(trial, "known", {})

    def settle(faster: str) -> None:
        class Ticks:
            """A clock that is read before and after a pass of levels, then of fused."""

            def __init__(self, device: torch.device) -> None:
                self.steps = [0.0, 2.0 if faster == "fused" else 1.0, 0.0, 1.0 if faster == "fused" else 2.0] * 3
                self.now = 0.0

            def __call__(self) -> float:
                self.now += self.steps.pop(0)
                return self.now

        monkeypatch.setattr(network, "device_clock", Ticks)

    return settle


def assert_same_bits(net: DAGNet, plain: DAGNet) -> None:
    """Of the outputs, gradients and statistics of a training step."""
    results = []
    for one in (net, plain):
        x = inputs(one, 3, 5, 4, torch.float32)
        one.zero_grad()
        out = one(x)
        out.square().sum().backward()
        results.append([out.detach(), x.grad, *(p.grad for p in one.parameters()), one.running_mean, one.running_var])
    for got, expected in zip(*results, strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("faster", ["fused", "levels"])
def test_a_network_that_tried_both_is_the_one_it_took_bit_for_bit(tried, caplog, faster):
    tried(faster)
    caplog.set_level(logging.INFO, "elegans_pyg")
    net, plain = (make(DAGS, 2, torch.float32, executor=executor) for executor in ("auto", faster))
    assert net.executor_in_use() == "levels"
    before = torch.get_rng_state()
    for _ in range(2):
        assert_same_bits(net, plain)
    assert torch.equal(torch.get_rng_state(), before)
    assert net.executor_in_use() == faster
    ((case, choice),) = net.choices.items()
    assert case == (case.card, "torch.float32", net.schedule.num_nodes, net.schedule.num_edges, 2, 3, 2, 5, 4, True, True)
    line = f"auto takes {faster} on cpu for 2x3x2x5x4 maps of torch.float32, {case.nodes} nodes, {case.edges} edges, training: {choice.why}"
    assert [(record.levelname, record.message) for record in caplog.records] == [("INFO", line)]
    assert line in machine.executors_in_words()
    assert machine.executor_for("auto", torch.device("cpu"), torch.float32) == "auto"


def test_every_shape_and_use_is_tried_once_in_a_process(tried, monkeypatch):
    tried("fused")
    seen = []
    monkeypatch.setattr(trial, "compare", lambda x, *rest: seen.append(tuple(x.shape)) or Choice("levels", "told so"))
    for _ in range(2):
        net = make(DAGS, 2, torch.float32)
        for images in (3, 4, 3):
            net(inputs(net, images, 5, 4, torch.float32))
            with torch.no_grad():
                net.eval()(inputs(net, images, 5, 4, torch.float32))
            net.train()
        assert len(net.choices) == 4
    assert [shape[1] for shape in seen] == [3, 3, 4, 4]


@pytest.mark.parametrize("fault", ["raises", "differs"])
def test_a_broken_kernel_is_said_and_left_alone(tried, monkeypatch, caplog, fault):
    tried("fused")
    whole = DAGNet._run_fused

    def broken(self, *arguments):
        if fault == "raises":
            raise RuntimeError("Triton Error [CUDA]: an illegal instruction was encountered")
        return 1.01 * whole(self, *arguments)

    monkeypatch.setattr(DAGNet, "_run_fused", broken)
    net, plain = (make(DAGS, 2, torch.float32, executor=executor) for executor in ("auto", "levels"))
    assert_same_bits(net, plain)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert {"raises": "illegal instruction", "differs": "outputs of fused and levels differ by 1.0e-02"}[fault] in record.message


@pytest.mark.parametrize("maps", [torch.float32, torch.bfloat16])
def test_rounding_along_the_worms_own_dag_is_no_fault(tried, maps):
    tried("fused")
    net = DAGNet(ConstrainedDAG()(Connectome()[0]), 2)
    with torch.autocast("cpu", torch.bfloat16, enabled=maps == torch.bfloat16):
        net(inputs(net, 16, 7, 7, torch.float32))
    ((case, choice),) = net.choices.items()
    assert case.dtype == str(maps)
    assert choice == Choice("fused", "fused 1 s, levels 2 s")


def test_where_nothing_can_be_timed_levels_is_taken(tried):
    tried("fused")
    net, plain = (make(DAGS, 2, torch.float32, executor=executor) for executor in ("auto", "levels"))
    x = inputs(net, 3, 5, 4, torch.float32)
    assert torch.equal(torch.compile(net, backend="eager", fullgraph=True)(x), plain(x))
    assert net.choices == {}
    torch.compiler.reset()


def test_activation_checkpoints_do_not_see_the_trial(tried):
    tried("fused")
    net, plain = (make(DAGS, 2, torch.float32, executor=executor) for executor in ("auto", "fused"))
    checkpoint(net, inputs(net, 3, 5, 4, torch.float32), use_reentrant=False).square().sum().backward()
    plain(inputs(net, 3, 5, 4, torch.float32)).square().sum().backward()
    assert torch.equal(net.conv_weight.grad, plain.conv_weight.grad)
    assert net.executor_in_use() == "fused"


def test_a_resumed_run_has_the_executors_that_it_began_with(tried, tmp_path: Path):
    config = FitSettings(iterations=4, batch_size=20, eval_every=2, checkpoint_every=2, device="cpu")
    images = load_images("digits")

    def run(iterations: int, **where: object) -> ConnectomeClassifier:
        model = ConnectomeClassifier(DAGS, 1, 10, channels=2)
        fit(model, images, config.model_copy(update={"iterations": iterations}), quiet=True, **where)
        return model

    tried("levels")
    undisturbed = run(4)
    trial.known.clear()
    run(2, out=tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())["executors"]
    assert (kept[0]["executor"], kept[0]["training"], kept[0]["images"]) == ("levels", True, 20)
    assert kept[0]["why"] == "fused 2 s, levels 1 s"
    # As another process that would choose otherwise.
    trial.known.clear()
    tried("fused")
    resumed = run(4, out=tmp_path / "run", resume=True)
    assert resumed.dag.executor_in_use() == undisturbed.dag.executor_in_use() == "levels"
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    assert any(choice.executor == "fused" for choice in resumed.dag.choices.values())
