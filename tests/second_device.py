"""Train every model on a device that is not the CPU, on a machine that has none: ``python -m tests.second_device`` prints a line for each.

Tensors of the device ``elsewhere`` keep their numbers on the CPU, so that whatever depends on values runs too. An operator that is given
tensors of both devices raises, as CUDA would: only copies, indices and single numbers may come from the CPU. The device takes the place
that PyTorch reserves for others' back ends, once in a process, so tests start one.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend
from torch_geometric.data import Batch

NAME = "elsewhere"
aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


class Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class Second(Tensor):
    """A tensor of the device ``elsewhere`` around one of the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Second:
        # As PyTorch's own FakeTensor is made: autograd's engine takes it for a tensor without a device's queue.
        strides = inner.stride() if inner.layout is torch.strided else torch.empty(inner.size(), device="meta").stride()
        shell = torch.empty_strided(inner.size(), strides, dtype=inner.dtype, device="meta")
        made = Tensor._make_subclass(cls, shell, False, dispatch_device=True, device_for_backend_keys=torch.device(NAME))
        made.inner = inner
        return made

    def new_tensor(self, data: Any, dtype: torch.dtype | None = None) -> Tensor:
        # PyTorch's own never comes by here.
        return Second(torch.tensor(data, dtype=dtype or self.dtype))

    def tolist(self) -> Any:
        # Refused for every subclass.
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return run(operator, arguments, options or {})


def run(operator: Any, arguments: Any, options: dict[str, Any]) -> Any:
    """What an operator gives where its tensors are, or a ``RuntimeError`` if they are on two devices."""
    if operator is torch.ops.prim.device.default:
        return torch.device(NAME, 0)
    flat = [item for item in tree_flatten((arguments, options))[0] if isinstance(item, Tensor)]
    second = any(isinstance(item, Second) for item in flat)
    wanted = options.get("device")
    if second and operator not in COPIES:
        counted = [arguments[0], *arguments[2:]] if operator in INDEXED else flat
        foreign = [item for item in counted if isinstance(item, Tensor) and not isinstance(item, Second) and item.dim() > 0]
        if foreign:
            raise RuntimeError(f"{operator}: tensors of two devices, one of the CPU of shape {tuple(foreign[0].shape)}")
    if operator.namespace == "elegans_pyg":
        # The operator's own Python, whose operators come by here one by one.
        from elegans_pyg.nn.dag import levels

        own = {"levels": levels._levels, "levels_back": levels._levels_back}[operator._opname]
        with OnTwoDevices():
            return own._init_fn(*arguments, **options)
    on_second = second if wanted is None else torch.device(wanted).type == NAME
    if wanted is not None:
        options = {**options, "device": torch.device("cpu")}
    bare_arguments, bare_options = tree_map(lambda item: item.inner if isinstance(item, Second) else item, (arguments, options))
    result = operator(*bare_arguments, **bare_options)
    if not operator._schema.returns:
        return None
    if operator._schema.is_mutable and operator._schema.name.endswith("_"):
        return arguments[0]
    return tree_map(lambda item: Second(item) if isinstance(item, Tensor) and on_second else item, result)


class OnTwoDevices(TorchDispatchMode):
    """Catches what makes tensors anew, which has no argument of either device."""

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return run(operator, arguments, options or {})


def moved(module: nn.Module) -> nn.Module:
    """The module with its parameters and buffers on the second device."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            part._parameters[name] = None if parameter is None else nn.Parameter(Second(parameter.detach()), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else Second(buffer.detach())
    return module


def step(model: nn.Module, *shape: int) -> None:
    """Forward, backward and a step of Adam; then evaluation."""
    x = torch.randn(shape).to(NAME)
    parameters = [parameter for parameter in moved(model).parameters() if parameter.requires_grad]
    out = model(x)
    if parameters:
        optimizer = torch.optim.Adam(parameters, foreach=False)
        out.square().mean().backward()
        assert any(parameter.grad is not None for parameter in parameters)
        assert all(isinstance(parameter.grad, Second) for parameter in parameters if parameter.grad is not None)
        optimizer.step()
    with torch.no_grad():
        out = model.eval()(x)
    assert isinstance(out, Second), out.device
    assert bool(out.isfinite().all())


def fitted(make: Callable[[], nn.Module], data: Any, objective: Any = None, **settings: Any) -> None:
    """Two iterations of :func:`fit` with everything that comes with it, and a third one from the checkpoint, by another model."""
    from elegans_pyg.training import FitSettings, fit, loop

    defaults = {"batch_size": 4, "eval_every": 1, "checkpoint_every": 1, "validation_fraction": 0.25}
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(loop, "resolve_device", lambda name: torch.device(NAME))
        # Whose tensors lack the counter that one around another tensor needs.
        patch.setattr(torch, "inference_mode", torch.no_grad)
        for iterations in (2, 3):
            model = make()
            before = [parameter.detach().clone() for parameter in model.parameters()]
            patch.setattr(model, "to", lambda model=model, **place: moved(model))
            config = FitSettings(iterations=iterations, **{**defaults, **settings})
            result = fit(model, data, config, objective=objective, out=Path(folder, "run"), resume=iterations == 3, quiet=True)
            assert not result.interrupted
            assert result.stopped == {}
            after = list(model.parameters())
            assert all(isinstance(parameter, Second) for parameter in after)
            assert any(not torch.equal(old, new.detach().cpu()) for old, new in zip(before, after, strict=True))


def cases() -> dict[str, Callable[[], None]]:
    from elegans_pyg.models import (
        ConnectomeClassifier,
        ConnectomeRNN,
        DenseNetwork,
        EchoStateNetwork,
        ElegansM1,
        ElegansM2,
        ReducedOrder,
        Reservoir,
    )
    from elegans_pyg.nn import DAGNet
    from elegans_pyg.training.data import FitData
    from elegans_pyg.training.objective import Autoencoding, SequenceRegression
    from tests.dags import random_dag
    from tests.models.test_connectome_rnn import wiring as recurrent
    from tests.models.wirings import network, wiring
    from tests.training.double import make_images

    dags = Batch.from_data_list([random_dag(3, 7, 0.5), random_dag(4, 3, 0.6)])
    found: dict[str, Callable[[], None]] = {}
    for executor in ("scatter", "levels", "auto"):
        found[f"DAGNet {executor}"] = lambda executor=executor: step(DAGNet(dags, 3, executor=executor), 2, 4, 3, 5, 5)
    found["DAGNet modules"] = lambda: step(DAGNet(dags, 3, node_operation=lambda c: nn.Conv2d(c, c, 3, padding=1)), 2, 4, 3, 5, 5)
    for activation in ("sigmoid", "identity", "dale"):
        found[f"ConnectomeClassifier {activation}"] = lambda activation=activation: step(
            ConnectomeClassifier(dags, in_channels=1, num_classes=10, channels=3, edge_activation=activation), 4, 1, 8, 8
        )
    found["Reservoir"] = lambda: step(Reservoir([wiring(0), wiring(0)], signed=False), 4, 6, 1)
    found["EchoStateNetwork"] = lambda: step(EchoStateNetwork(Reservoir([wiring(0), wiring(0)], signed=False), 2), 4, 6, 1)
    found["RidgeReadout"] = read_out
    for cell in ("rnn", "lstm", "gru"):
        found[f"ReducedOrder {cell}"] = lambda cell=cell: step(ReducedOrder(cell, 2, 2, 3, 2), 3, 6, 2)
    found["TensorNetwork"] = lambda: step(network([0, 1]), 2, 4, 6)
    found["DenseNetwork"] = lambda: step(DenseNetwork(6, 200, 2), 2, 4, 6)
    found["ElegansM1"] = lambda: step(ElegansM1(network([0, 1], 8), 10, encoder_channels=(2, 3, 4, 5), image_size=(8, 8)), 4, 3, 8, 8)
    found["ElegansM2"] = lambda: step(ElegansM2(network([0], 784)), 4, 1, 28, 28)
    for share in ("edge", "class"):
        found[f"ConnectomeRNN {share}"] = lambda share=share: step(ConnectomeRNN([recurrent(0), recurrent(1)], 2, 3, share=share), 4, 6, 2)
    found["ConnectomeRNN at rest"] = at_rest
    found["LinearPropagation"] = propagated
    every = {"augment": "crop_flip_cutout", "weight_decay": 0.01, "clip_norm": 1.0, "select": "best", "data_order": "variant"}
    images = make_images(24, 5)
    found["fit images"] = lambda: fitted(lambda: ConnectomeClassifier(dags, 1, 3, channels=3), images, **every)
    ink = FitData("ink", *[(torch.randint(256, (n, 1, 8, 8), dtype=torch.uint8), torch.zeros(n, dtype=torch.int64)) for n in (12, 4)])
    found["fit reconstructions"] = lambda: fitted(lambda: ElegansM2(network([0, 1], 8), 1, (8, 8)), ink, Autoencoding(), clip_norm=1.0)
    waves = FitData("waves", *[(torch.randn(n, 6, 2), torch.randn(n, 6, 3)) for n in (12, 4, 4)])
    sequences = {"last_batch": "keep", "clip_norm": 1.0, "select": "best", "objective": SequenceRegression()}
    for cell in ("rnn", "lstm", "gru"):
        found[f"fit sequences {cell}"] = lambda cell=cell: fitted(lambda: ReducedOrder(cell, 2, 3, 3, 2), waves, **sequences)
    found["fit sequences ConnectomeRNN"] = lambda: fitted(lambda: ConnectomeRNN([recurrent(0), recurrent(1)], 2, 3), waves, **sequences)
    found["simulate"] = simulated
    found["mixed tensors"] = mixed
    return found


def simulated() -> None:
    """Backward through the simulator, to a stimulus there and to the tables of a worm on the CPU."""
    from elegans_pyg.dynamics import Worm, simulate
    from tests.dynamics.circuits import five

    for membrane in ("c302-C1", "kunert"):
        worm = Worm.from_connectome(five(), membrane)
        worm.data.conductance_nS.requires_grad_()
        current = torch.ones(2, 40, 1).to(NAME).requires_grad_()
        _, voltage = simulate(worm, current, ["N0"], 0.05, 2.0)
        voltage.square().mean().backward()
        assert isinstance(current.grad, Second)
        assert worm.data.conductance_nS.grad.device.type == "cpu"


def read_out() -> None:
    """A readout of a reservoir's states, with a penalty chosen on others."""
    from elegans_pyg.models import RidgeReadout

    (states, others), (targets, wanted) = (torch.randn(2, 2, 9, size).to(NAME).unbind() for size in (4, 3))
    readout = RidgeReadout.select(states, targets, others, wanted)
    assert isinstance(readout(others), Second)


def at_rest() -> None:
    """Steady states and what small currents do there, with gradients."""
    from elegans_pyg.models import ConnectomeRNN
    from tests.models.test_connectome_rnn import wiring

    model = moved(ConnectomeRNN([wiring(0), wiring(1)], 2, 3))
    rest = model.steady_state(torch.randn(1, 2).to(NAME))
    (rest.square().sum() + sum(response.square().sum() for response in model.linear_response(rest))).backward()
    assert isinstance(model.weight.grad, Second)


def propagated() -> None:
    """Log odds and amplitudes of the responses of two pairs of neurons, with gradients."""
    from elegans_pyg.models import LinearPropagation
    from elegans_pyg.models.linear_propagation import Measured
    from tests.models.test_connectome_rnn import wiring

    model = moved(LinearPropagation([wiring(0), wiring(0)], copies=2))
    pairs = Measured(*torch.tensor([[0, 2], [0, 1], [1, 3], [0, 1], [0, 1], [1, 1]]).to(NAME).unbind())
    sum(part.sum() for part in model(pairs)).backward()
    assert all(isinstance(parameter.grad, Second) for parameter in model.parameters())


def mixed() -> None:
    """A tensor left behind on the CPU is found: in an operator, in place, and as the values that an index puts."""
    here, there = torch.ones(3), torch.ones(3).to(NAME)
    for wrong in (lambda: there + here, lambda: here.mul_(there), lambda: there.index_put_((torch.tensor([0]),), here[:1])):
        with pytest.raises(RuntimeError, match="tensors of two devices"):
            wrong()
    assert torch.equal((there * 2 + torch.tensor(1.0))[torch.tensor([0, 2])].cpu(), torch.full((2,), 3.0))


def main() -> None:
    _setup_privateuseone_for_python_backend(NAME, Module())
    # torch.tensor then makes its tensor on the CPU and moves it, as for FakeTensor, so that the move comes by here.
    torch._C._set_only_lift_cpu_tensors(True)
    failed = False
    for name, case in cases().items():
        try:
            with OnTwoDevices():
                case()
            print(f"{name}: ok", flush=True)
        except (RuntimeError, AssertionError):
            # Of a model: the others are still tried. Anything else is a fault of this file, and ends it.
            failed = True
            print(f"{name}: {traceback.format_exc()}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
