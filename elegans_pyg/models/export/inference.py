"""One network for inference: public operators only, BatchNorm folded into the convolutions, and few enough steps to be traced."""

from __future__ import annotations

from copy import deepcopy
from functools import singledispatch
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elegans_pyg.models.classifier import ConnectomeClassifier
from elegans_pyg.models.connectome_rnn import ConnectomeRNN
from elegans_pyg.models.dense_network import DenseNetwork
from elegans_pyg.models.echo_state_network import EchoStateNetwork
from elegans_pyg.models.elegans_m1 import ElegansM1
from elegans_pyg.models.elegans_m2 import ElegansM2
from elegans_pyg.models.reduced_order import ReducedOrder
from elegans_pyg.models.reservoir import Reservoir
from elegans_pyg.models.variants import Copies
from elegans_pyg.nn import DAGNet, TensorNetwork
from elegans_pyg.nn.recurrent.leaky import ACTIVATIONS
from elegans_pyg.nn.tensor.program import UNIT, Group
from elegans_pyg.nn.tensor.readout import read_motors


def scan(step: Any, start: Any, inputs: Tensor) -> tuple[Any, Tensor]:
    """Loop over the first dimension, traced as one step for any length."""
    # Not public in PyTorch yet; only sequences need it.
    from torch._higher_order_ops.scan import scan

    return scan(step, start, inputs)


@singledispatch
def inference_form(model: nn.Module) -> nn.Module:
    """Return a network of one variant as a module without the variant dimension, ``(B, ...)`` to ``(B, ...)``.

    It is in evaluation mode, with copies of the parameters; a :class:`ReducedOrder` maps pA to mV. Raises ``TypeError`` for a model of
    another kind.
    """
    raise TypeError(f"model: expected a network of elegans_pyg.models, got a {type(model).__name__}; export it with torch.export")


inference_form.register(TensorNetwork, lambda model: TensorInference(model).eval())
inference_form.register(Reservoir, lambda model: _ReservoirInference(model).eval())
inference_form.register(ConnectomeRNN, lambda model: _ConnectomeRNNInference(model).eval())
inference_form.register(ReducedOrder, lambda model: _ReducedOrderInference(model).eval())
inference_form.register(DenseNetwork, lambda model: inference_form(model.layers))


@inference_form.register
def _(model: Copies) -> nn.Module:
    one = deepcopy(model.stacked)
    for name, tensor in one.state_dict(keep_vars=True).items():
        path, _, leaf = name.rpartition(".")
        own = tensor.detach()[0].clone()
        setattr(one.get_submodule(path), leaf, _constant(own) if isinstance(tensor, nn.Parameter) else own)
    return one.eval()


@inference_form.register
def _(model: ConnectomeClassifier) -> nn.Module:
    source, sink = (_convolution(own.weight[0], own.bias[0], own.stride) for own in (model.source, model.sink))
    linear = _linear(model.linear.weight[0], model.linear.bias[0])
    return nn.Sequential(source, DAGInference(model.dag), sink, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear).eval()


@inference_form.register
def _(model: ElegansM1) -> nn.Module:
    if model.network is None or model.latent is None:
        return nn.Sequential(inference_form(model.encoder), inference_form(model.linear)).eval()
    before = nn.Sequential(inference_form(model.encoder), inference_form(model.latent))
    return nn.Sequential(before, _Gate(inference_form(model.network)), inference_form(model.linear)).eval()


@inference_form.register
def _(model: ElegansM2) -> nn.Module:
    middle = _Gate(inference_form(model.network))
    return nn.Sequential(inference_form(model.encoder), middle, inference_form(model.bottleneck), inference_form(model.decoder)).eval()


class _Gate(nn.Module):
    """Multiplies a network's output by its input."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return x * self.network(x)


class DAGInference(nn.Module):
    """A :class:`DAGNet` of one DAG in evaluation mode: ``(B, C, H, W)`` to the mean over its output nodes, of the same shape.

    A level is one product of a small matrix with the maps it reads, and one convolution with BatchNorm folded into its kernel and bias.
    Raises ``ValueError`` for a network with ``node_operation``.
    """

    def __init__(self, net: DAGNet) -> None:
        super().__init__()
        if net.node_modules is not None:
            raise ValueError("model: expected the built-in node operation, got a custom node_operation; export it with torch.export")
        schedule, order = net.schedule, net.schedule.order
        scale = net.norm_weight[order] * (net.running_var[order] + net.eps).rsqrt()
        taps = (net.conv_weight[order] * scale[..., None, None]).flatten(0, 1).unsqueeze(1)
        shift = (net.norm_bias[order] - net.running_mean[order] * scale).flatten()
        weight, channels = net.weights_in_use()[net._edge_order].detach(), net.channels
        self.inputs, self.sums, self.convolutions = schedule.level_ptr[1], nn.ModuleList(), nn.ModuleList()
        for low, high in pairwise(schedule.level_ptr):
            part = slice(low * channels, high * channels)
            self.convolutions.append(_convolution(taps[part], shift[part], groups=(high - low) * channels))
            if low:
                edges = slice(int(schedule.edge_ptr[low]), int(schedule.edge_ptr[high]))
                ends = schedule.target[edges] - low, schedule.source[edges]
                self.sums.append(_WeightedSum(*ends, weight[edges], schedule.level_ptr))
        mean = weight.new_full((len(schedule.output),), 1 / len(schedule.output))
        self.sums.append(_WeightedSum(torch.zeros_like(schedule.output), schedule.output, mean, schedule.level_ptr))

    def forward(self, x: Tensor) -> Tensor:
        shape, a, levels = x.shape[1:], x.repeat(1, self.inputs, 1, 1), []
        for convolution, weighted_sum in zip(self.convolutions, self.sums, strict=True):
            levels.append(convolution(a.relu()).reshape(x.size(0), -1, shape.numel()))
            a = weighted_sum(levels).reshape(x.size(0), -1, shape[1], shape[2])
        return a


class _WeightedSum(nn.Module):
    """Weighted sums ``(B, n, S)`` over edges from ``source``, nodes of the earlier levels with maps ``(B, nodes, S)``, to ``target``, one
    of ``n``."""

    def __init__(self, target: Tensor, source: Tensor, weight: Tensor, level_ptr: list[int]) -> None:
        super().__init__()
        self.levels: list[int] = []
        columns = []
        for level, (low, high) in enumerate(pairwise(level_ptr)):
            own = source[(source >= low) & (source < high)].unique()
            if len(own):
                # A level is read whole unless fewer than half of its nodes are needed, as of the many input nodes.
                columns.append(own if 2 * len(own) < high - low else torch.arange(low, high))
                self.register_buffer(f"rows{len(self.levels)}", own - low if 2 * len(own) < high - low else None)
                self.levels.append(level)
        dense = weight.new_zeros(int(target.max()) + 1, level_ptr[-1]).index_put((target, source), weight, accumulate=True)
        self.weight = _constant(dense[:, torch.cat(columns)])

    def forward(self, levels: list[Tensor]) -> Tensor:
        rows = [getattr(self, f"rows{place}") for place in range(len(self.levels))]
        return self.weight @ torch.cat(
            [levels[k] if own is None else levels[k][:, own] for k, own in zip(self.levels, rows, strict=True)], 1
        )


class TensorInference(nn.Module):
    """A :class:`TensorNetwork` of one wiring: ``(B, width)`` to ``(B, out_features)``, by a table of rows that grows group by group."""

    def __init__(self, net: TensorNetwork) -> None:
        super().__init__()
        program = net.program.to(torch.device("cpu"), net.unit_weight.dtype)
        self.groups = nn.ModuleList(_Rows(group, net) for group in program.groups)
        self.readout, self.attention = net.readout, deepcopy(net.attention)
        self.row, self.valid = nn.Buffer(program.output[net._motor_row]), nn.Buffer(net._motor_valid.clone())

    def forward(self, x: Tensor) -> Tensor:
        table = x[None]
        for group in self.groups:
            table = torch.cat([table, group(table)])
        return read_motors(self.readout, self.attention, x[None], table[self.row], self.valid)[0]


class _Rows(nn.Module):
    """Computes the rows of a :class:`Group`, ``(n, B, width)``, from the table of earlier rows."""

    def __init__(self, group: Group, net: TensorNetwork) -> None:
        super().__init__()
        self.activation, self.combine, self.unit = getattr(F, net.activation), net.combine, group.kind == UNIT
        self.source, self.rounds = nn.Buffer(group.source), len(group.rounds)
        if self.unit:
            units = torch.cat([torch.arange(len(net.unit_weight))[piece.units] for piece in group.pieces])
            self.weight, self.bias = _constant(net.unit_weight[units].mT), _constant(net.unit_bias[units][:, None])
        elif group.rounds:
            # Rows have different numbers of factors; missing ones count 1 in a product, 0 in a sum.
            factors = torch.zeros(len(group.source), len(group.rounds), dtype=torch.int64)
            there = torch.zeros(factors.shape, dtype=net.unit_weight.dtype)
            for place, rows in enumerate(group.rounds):
                factors[: len(rows), place], there[: len(rows), place] = rows, 1
            gated = net.combine == "mul" and net.norm == "state"
            self.factors = nn.Buffer(factors)
            self.gain = nn.Buffer((there * group.gain[:, 0] if gated else there)[..., None, None])
            self.base = nn.Buffer((torch.ones_like(there) if gated else 1 - there if net.combine == "mul" else 0 * there)[..., None, None])
        self.norm = bool(len(group.norm))
        if self.norm:
            self.norm_weight, self.norm_bias = (_constant(own[group.norm][:, None]) for own in (net.norm_weight, net.norm_bias))

    def forward(self, table: Tensor) -> Tensor:
        rows = table[self.source]
        if self.unit:
            rows = self.activation(torch.baddbmm(self.bias, rows, self.weight))
        elif self.rounds:
            factors = self.base + self.gain * table[self.factors]
            rows = rows * factors.prod(1) if self.combine == "mul" else rows + factors.sum(1)
        return F.layer_norm(rows, rows.shape[-1:]) * self.norm_weight + self.norm_bias if self.norm else rows


@inference_form.register
def _(model: EchoStateNetwork) -> nn.Module:
    return nn.Sequential(_ReservoirInference(model.reservoir), _linear(model.weight[0].T, model.intercept[0])).eval()


class _ReservoirInference(nn.Module):
    """Maps inputs ``(B, T, F)`` to the states ``(B, T, R)`` of the readout neurons, from a zero state."""

    def __init__(self, model: Reservoir) -> None:
        super().__init__()
        weights, nodes = model.weights(), model.bias.numel()
        target = torch.repeat_interleave(torch.arange(nodes), weights.row_ptr.diff())
        matrix = torch.zeros(nodes, nodes, dtype=model.bias.dtype)
        self.recurrent = nn.Buffer(matrix.index_put((weights.source, target), weights.weight, accumulate=True))
        columns = torch.zeros(model.in_features, nodes, dtype=model.bias.dtype)
        self.input = nn.Buffer(columns.index_copy(1, weights.input_node, weights.input_weight.T))
        self.bias, self.read = nn.Buffer(weights.bias.clone()), nn.Buffer(weights.readout_node[0].clone())
        self.leak = float(weights.leak[0])

    def forward(self, inputs: Tensor) -> Tensor:
        drive = inputs.transpose(0, 1) @ self.input + self.bias

        def step(state: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
            state = (1 - self.leak) * state + self.leak * torch.tanh(state @ self.recurrent + own)
            return state, state[:, self.read]

        _, states = scan(step, torch.zeros_like(drive[0]), drive)
        return states.transpose(0, 1)


class _ConnectomeRNNInference(nn.Module):
    """Maps inputs ``(B, T, F)`` to outputs ``(B, T, O)``, or ``(B, O)`` with ``last``, from a zero state; see :class:`ConnectomeRNN`."""

    def __init__(self, model: ConnectomeRNN) -> None:
        super().__init__()
        own, walk, self.last = model.coefficients(), model.walk, model.last
        self.phi = ACTIVATIONS[walk.activation][0]
        # Source by target; the leak is symmetric.
        weight, leak = (matrix[0].T for matrix in model._matrices())
        rate = leak.diag()
        keep = torch.exp(-model.dt * rate / own.tau)
        pull = (1 - keep) / rate
        self.chemical, self.electrical = nn.Buffer(weight * pull), nn.Buffer((rate.diag() - leak) * pull + keep.diag())
        columns = pull.new_zeros(model.in_features, len(pull))
        inputs = columns.index_put((walk.input_feature, walk.input_node), model.input_weight, accumulate=True)
        self.input = nn.Buffer(inputs * pull)
        self.bias, self.read = nn.Buffer(own.bias * pull), nn.Buffer(walk.read_node.clone())
        # Named outputs are the voltages themselves.
        named = "readout_weight" not in dict(model.named_parameters())
        self.readout = nn.Identity() if named else _linear(model.readout_weight.T, model.readout_bias[0])

    def forward(self, inputs: Tensor) -> Tensor:
        drive = inputs.transpose(0, 1) @ self.input + self.bias

        def step(v: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
            v = self.phi(v) @ self.chemical + v @ self.electrical + own
            return v, v[:, self.read]

        _, read = scan(step, torch.zeros_like(drive[0]), drive)
        return self.readout(read[-1] if self.last else read.transpose(0, 1))


class _ReducedOrderInference(nn.Module):
    """Maps currents in pA, ``(S, T, I)``, to voltages in mV, ``(S, T, O)``; see :class:`ReducedOrder` for the cells."""

    def __init__(self, model: ReducedOrder) -> None:
        super().__init__()
        self.cell, self.units, inputs = model.cell, model.hidden, len(model.input_names)
        own = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
        self.input, self.recurrent, self.bias = (nn.Buffer(x) for x in (*own["weight"][0].T.split([inputs, self.units]), own["bias"][0]))
        self.readout = _linear(own["readout"][0] * model.output_scale[:, None], own["offset"][0] * model.output_scale + model.output_zero)
        self.input_scale = nn.Buffer(model.input_scale.clone())

    def forward(self, current_pA: Tensor) -> Tensor:
        drive = (current_pA / self.input_scale).transpose(0, 1) @ self.input + self.bias
        start = drive.new_zeros(drive.size(1), self.units)
        if self.cell == "lstm":
            _, states = scan(self._lstm, (start, start.clone()), drive)
        else:
            _, states = scan(self._gru if self.cell == "gru" else self._rnn, start, drive)
        return self.readout(states.transpose(0, 1))

    def _rnn(self, h: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(own + h @ self.recurrent)
        return h, h.clone()

    def _gru(self, h: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        gates = 2 * self.units
        z, reset = (own[:, :gates] + h @ self.recurrent[:, :gates]).sigmoid().chunk(2, 1)
        h = z * h + (1 - z) * torch.tanh(own[:, gates:] + (reset * h) @ self.recurrent[:, gates:])
        return h, h.clone()

    def _lstm(self, state: tuple[Tensor, Tensor], own: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        i, f, o, new = (own + state[0] @ self.recurrent).chunk(4, 1)
        c = f.sigmoid() * state[1] + i.sigmoid() * new.tanh()
        h = o.sigmoid() * c.tanh()
        return (h, c), h.clone()


def _constant(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone(memory_format=torch.contiguous_format), requires_grad=False)


def _linear(weight: Tensor, bias: Tensor) -> nn.Module:
    layer = nn.Linear(weight.size(1), weight.size(0), device="meta")
    layer.weight, layer.bias = _constant(weight), _constant(bias)
    return layer


def _convolution(weight: Tensor, bias: Tensor, stride: int = 1, groups: int = 1) -> nn.Module:
    outputs, inputs, kernel, _ = weight.shape
    sizes: dict[str, Any] = {"stride": stride, "padding": kernel // 2, "groups": groups}
    layer = nn.Conv2d(inputs * groups, outputs, kernel, **sizes, device="meta")
    layer.weight, layer.bias = _constant(weight), _constant(bias)
    return layer
