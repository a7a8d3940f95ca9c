"""A leaky echo-state network with a linear readout (Jaeger 2001).

Arrays: ``weight (R, K)``, ``intercept (K,)``; of the ``reservoir``, ``bias (N,)`` and ``input_weight (N, F)`` per neuron, ``edge_index (2,
E)``, ``edge_weight (E,)`` scaled to the spectral radius, ``leak``, and ``readout_node (R,)``.
"""

import numpy as np

from elegans_pyg.models.export.numpy_forward.layers import Arrays, part


def predict(arrays: Arrays, inputs: np.ndarray) -> np.ndarray:
    """Compute outputs ``(B, T, K)`` for inputs ``(B, T, F)``, from a zero state."""
    net = part(arrays, "reservoir")
    (begin, end), leak = net["edge_index"], float(net["leak"])
    matrix = np.zeros((len(net["bias"]),) * 2)
    np.add.at(matrix, (end, begin), net["edge_weight"])
    state, states = np.zeros((len(inputs), len(matrix))), []
    for u in np.moveaxis(inputs, 1, 0):
        new = np.tanh(state @ matrix.T + u @ net["input_weight"].T + net["bias"])
        state = (1 - leak) * state + leak * new
        states.append(state[:, net["readout_node"]])
    return np.stack(states, 1) @ arrays["weight"] + arrays["intercept"]
