"""Reduced-order models as ONNX graphs, for programs without PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.nn.functional import pad

from elegans_pyg._extras import require

if TYPE_CHECKING:
    from elegans_pyg.models.reduced_order import ReducedOrder

_OPSET, _IR_VERSION = 17, 8
_OPERATORS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
# ONNX has the gates of an LSTM in the order i, o, f, c, and those of a GRU in ours.
_GATE_ORDER = {"rnn": (0,), "lstm": (0, 2, 1, 3), "gru": (0, 1, 2)}


def onnx_model(model: ReducedOrder, replica: int) -> Any:
    """One replica as an ``onnx.ModelProto``: ``current_pA (S, T, I)`` to ``voltage_mV (S, T, O)``, float32, scaling included.

    ONNX's GRU resets the state before the product unless told otherwise, as ours does, and its second biases are 0 here.
    """
    onnx = require("onnx", "onnx", "to_onnx")
    helper, kind, from_array = onnx.helper, onnx.TensorProto.FLOAT, onnx.numpy_helper.from_array
    one = model.select(replica)
    inputs, outputs, units = len(one.input_names), len(one.output_names), one.hidden

    def by_gate(values: Tensor) -> Tensor:
        return values.unflatten(0, (-1, units))[list(_GATE_ORDER[one.cell])].flatten(0, 1)

    weight, bias = by_gate(one.weight[0]), by_gate(one.bias[0])
    constants = {
        "input_scale": one.input_scale,
        "input_weight": weight[None, :, :inputs],
        "state_weight": weight[None, :, inputs:],
        "bias": pad(bias, (0, len(bias)))[None],
        "readout": one.readout[0].T,
        "offset": one.offset[0],
        "output_scale": one.output_scale,
        "output_zero": one.output_zero,
    }
    arrays = [from_array(np.ascontiguousarray(value.detach().cpu().float().numpy()), name) for name, value in constants.items()]
    arrays.append(from_array(np.array([1], dtype=np.int64), "directions"))
    nodes = [
        helper.make_node("Div", ["current_pA", "input_scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["steps_first"], perm=[1, 0, 2]),
        helper.make_node(_OPERATORS[one.cell], ["steps_first", "input_weight", "state_weight", "bias"], ["states"], hidden_size=units),
        helper.make_node("Squeeze", ["states", "directions"], ["state"]),
        helper.make_node("MatMul", ["state", "readout"], ["read"]),
        helper.make_node("Add", ["read", "offset"], ["scaled_voltage"]),
        helper.make_node("Mul", ["scaled_voltage", "output_scale"], ["above_zero"]),
        helper.make_node("Add", ["above_zero", "output_zero"], ["voltage"]),
        helper.make_node("Transpose", ["voltage"], ["voltage_mV"], perm=[1, 0, 2]),
    ]
    ends = [
        [helper.make_tensor_value_info(name, kind, ["stimuli", "steps", count])]
        for name, count in (("current_pA", inputs), ("voltage_mV", outputs))
    ]
    graph = helper.make_graph(nodes, f"{one.cell}-{units}", *ends, initializer=arrays)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="elegans_pyg")
    helper.set_model_props(made, {"inputs": " ".join(one.input_names), "outputs": " ".join(one.output_names)})
    onnx.checker.check_model(made, full_check=True)
    return made
