"""One network as named arrays (parameters and graph), and as NumPy code that reads them."""

from __future__ import annotations

import inspect
from functools import singledispatch
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elegans_pyg.models.classifier import ConnectomeClassifier
from elegans_pyg.models.connectome_rnn import ConnectomeRNN
from elegans_pyg.models.echo_state_network import EchoStateNetwork
from elegans_pyg.models.elegans_m1 import ElegansM1
from elegans_pyg.models.elegans_m2 import ElegansM2
from elegans_pyg.models.encoders import ResNet9
from elegans_pyg.models.export.numpy_forward import (
    connectome_classifier,
    connectome_rnn,
    echo_state_network,
    elegans_m1,
    elegans_m2,
    layers,
    reduced_order,
)
from elegans_pyg.models.export.numpy_forward import tensor_network as tensor_network_forward
from elegans_pyg.models.reduced_order import ReducedOrder
from elegans_pyg.models.reservoir import Reservoir
from elegans_pyg.nn import DAGNet, TensorNetwork
from elegans_pyg.nn.tensor.program import UNIT

_RUN = """

if __name__ == "__main__":
    import sys
    from pathlib import Path

    # python THIS_FILE inputs.npy: print the network's outputs for the inputs in a file.
    print(predict(dict(np.load(Path(__file__).with_suffix(".npz"))), np.load(sys.argv[1])))
"""


@singledispatch
def forward_modules(model: nn.Module) -> list[ModuleType]:
    """Return the modules of :mod:`numpy_forward` that define a model, dependencies first; the last one has ``predict``.

    Raises ``TypeError`` for a model of another kind.
    """
    raise TypeError(f"model: expected a network of elegans_pyg.models, got a {type(model).__name__}; use format torch or onnx")


forward_modules.register(ConnectomeClassifier, lambda model: [layers, connectome_classifier])
forward_modules.register(ElegansM2, lambda model: [layers, tensor_network_forward, elegans_m2])
forward_modules.register(ConnectomeRNN, lambda model: [layers, connectome_rnn])
forward_modules.register(EchoStateNetwork, lambda model: [layers, echo_state_network])
forward_modules.register(ReducedOrder, lambda model: [layers, reduced_order])


@forward_modules.register
def _(model: ElegansM1) -> list[ModuleType]:
    if not isinstance(model.encoder.stacked, ResNet9):
        raise ValueError("format: numpy supports only the encoder resnet9, and this network has a timm encoder; use torch or onnx")
    return [layers, tensor_network_forward, elegans_m1]


def forward_source(model: nn.Module) -> str:
    """Return the source of :func:`forward_modules` as one self-contained file."""
    texts = [inspect.getsource(module) for module in forward_modules(model)]
    doc, bodies = texts[-1].split('"""')[1], []
    for text in texts:
        lines = text.split('"""', 2)[2].splitlines()
        bodies.append("\n".join(line for line in lines if not line.startswith(("import ", "from "))).strip())
    return "\n\n\n".join([f'"""{doc}"""\n\nfrom typing import Any\n\nimport numpy as np', *bodies]) + f"\n{_RUN}"


def network_arrays(model: nn.Module) -> dict[str, np.ndarray]:
    """Return parameters and statistics of a model of one variant by their names in ``state_dict()``, without the variant dimension, with
    graph and options; they are described in :mod:`numpy_forward`."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        places = [place for place in path.split(".") if place not in ("", "stacked")]
        found |= {".".join([*places, name]): value for name, value in _own_arrays(module).items()}
    return {name: value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value) for name, value in found.items()}


@singledispatch
def _own_arrays(module: nn.Module) -> dict[str, Any]:
    return {name: tensor[0] for name, tensor in module.state_dict().items() if "." not in name}


@_own_arrays.register
def _(module: DAGNet) -> dict[str, Any]:
    schedule = module.schedule
    level, output = torch.full((schedule.num_nodes,), -1), torch.zeros(schedule.num_nodes, dtype=torch.bool)
    level[schedule.order] = torch.repeat_interleave(torch.arange(schedule.num_levels), torch.tensor(schedule.level_ptr).diff())
    output[schedule.order[schedule.output]] = True
    graph = {"edge_index": module.edge_index, "level": level, "output_mask": output, "eps": module.eps}
    return {**module.state_dict(), "edge_weight": module.weights_in_use(), **graph}


@_own_arrays.register
def _(module: TensorNetwork) -> dict[str, Any]:
    if module.activation not in tensor_network_forward.ACTIVATIONS:
        known = ", ".join(tensor_network_forward.ACTIVATIONS)
        raise ValueError(f"format: numpy supports the activations {known}, and this network's is {module.activation}; use torch or onnx")
    program, rows = module.program, module.program.num_rows
    source, unit, norm = torch.full((3, rows), -1)
    gain, factors = torch.zeros(rows, dtype=module.unit_weight.dtype), [torch.empty(0, dtype=torch.int64)] * rows
    for group in program.groups:
        part = slice(group.low, group.high)
        source[part] = group.source
        if len(group.norm):
            norm[part] = group.norm
        if group.kind == UNIT:
            unit[part] = torch.cat([torch.arange(len(module.unit_weight))[piece.units] for piece in group.pieces])
            continue
        factors[part] = group.factors.split(group.factor_ptr.diff().tolist())
        if module.combine == "mul" and module.norm == "state":
            gain[part] = group.gain.flatten().to(gain)
    ptr = torch.tensor([0, *map(len, factors)]).cumsum(0)
    graph = {"source": source, "unit": unit, "norm": norm, "factor_ptr": ptr, "factor": torch.cat(factors), "gain": gain}
    options = {"combine": module.combine, "activation": module.activation, "readout": module.readout, "num_motors": program.num_motors[0]}
    heads = {} if module.attention is None else {"heads": module.attention.heads}
    own = {name: tensor for name, tensor in module.state_dict().items() if "." not in name}
    return {**own, **graph, "output": program.output, "slot": program.motor_slot, **options, **heads}


@_own_arrays.register
def _(module: Reservoir) -> dict[str, Any]:
    weights, nodes = module.weights(), module.bias.numel()
    target = torch.repeat_interleave(torch.arange(nodes), weights.row_ptr.diff())
    inputs = weights.bias.new_zeros(nodes, module.in_features).index_copy(0, weights.input_node, weights.input_weight)
    edges = {"edge_index": torch.stack([weights.source, target]), "edge_weight": weights.weight}
    return {**edges, "input_weight": inputs, "bias": weights.bias, "leak": weights.leak[0], "readout_node": weights.readout_node[0]}


@_own_arrays.register
def _(module: ConnectomeRNN) -> dict[str, Any]:
    own, walk = module.coefficients(), module.walk
    columns = own.bias.new_zeros(len(own.bias), module.in_features)
    inputs = columns.index_put((walk.input_node, walk.input_feature), module.input_weight, accumulate=True)
    edges = {"edge_index": module.edge_index, "edge_weight": own.weight, "gap_index": module.gap_index, "gap_weight": own.gap}
    readout = {name: value for name, value in module.named_parameters() if name.startswith("readout_")}
    neurons = {"tau": own.tau, "bias": own.bias, "input_weight": inputs, "readout_node": walk.read_node}
    return {**edges, **neurons, **readout, "dt": module.dt, "activation": walk.activation, "last": module.last}


@_own_arrays.register
def _(module: ReducedOrder) -> dict[str, Any]:
    scaling = ("input_scale", "output_scale", "output_zero")
    parameters = {name: parameter[0] for name, parameter in module.named_parameters()}
    names = {"cell": module.cell, "inputs": module.input_names, "outputs": module.output_names}
    return {**parameters, **{name: getattr(module, name) for name in scaling}, **names}
