"""Leaky units wired by a connectome, with trained synapses.

Arrays: ``edge_index (2, E)`` and ``edge_weight (E,)`` of the directed synapses; ``gap_index (2, P)`` and ``gap_weight (P,)``, pairs of
neurons and their conductances; ``tau`` and ``bias (N,)``; ``input_weight (N, F)``; ``readout_node (R,)``, ``readout_weight (R, O)`` and
``readout_bias (1, O)``, or ``readout_node (O,)`` alone, whose voltages are the outputs; ``dt`` in the unit of ``tau``, ``activation``, and
``last``: whether only the last step has an output.
"""

from typing import Any

import numpy as np

from elegans_pyg.models.export.numpy_forward.layers import Arrays, relu, sigmoid

FUNCTIONS: dict[str, Any] = {"tanh": np.tanh, "sigmoid": sigmoid, "relu": relu}


def predict(arrays: Arrays, inputs: np.ndarray) -> np.ndarray:
    """Compute outputs ``(B, T, O)``, or ``(B, O)`` with ``last``, for inputs ``(B, T, F)``, from a zero state."""
    tau, bias, phi = arrays["tau"], arrays["bias"], FUNCTIONS[str(arrays["activation"])]
    chemical, gap = np.zeros((2, len(tau), len(tau)), tau.dtype)
    (begin, end), (a, b) = arrays["edge_index"], arrays["gap_index"]
    np.add.at(chemical, (end, begin), arrays["edge_weight"])
    np.add.at(gap, (np.append(a, b), np.append(b, a)), np.tile(arrays["gap_weight"], 2))
    rate = 1 + gap.sum(1)
    keep = np.exp(-float(arrays["dt"]) * rate / tau)
    v, read = np.zeros((len(inputs), len(tau)), tau.dtype), []
    for x in np.moveaxis(inputs, 1, 0):
        arriving = phi(v) @ chemical.T + v @ gap.T + bias + x @ arrays["input_weight"].T
        v = keep * v + (1 - keep) / rate * arriving
        read.append(v[:, arrays["readout_node"]])
    outputs = np.stack(read, 1)
    if "readout_weight" in arrays:
        outputs = outputs @ arrays["readout_weight"] + arrays["readout_bias"]
    return outputs[:, -1] if arrays["last"] else outputs
