"""A recurrent layer in place of the nervous system (Barbulescu et al. 2023, doi:10.1038/s41598-022-25421-w).

Arrays: ``weight (G H, I + H)`` and ``bias (G H,)`` of the gates, with the columns of the inputs first; ``readout (O, H)``, ``offset (O,)``;
``input_scale (I,)`` in pA, ``output_scale (O,)`` and ``output_zero (O,)`` in mV; ``cell``: rnn, lstm or gru.
"""

import numpy as np

from elegans_pyg.models.export.numpy_forward.layers import Arrays, sigmoid


def predict(arrays: Arrays, current_pA: np.ndarray) -> np.ndarray:
    """Compute voltages in mV, ``(S, T, O)``, for currents in pA, ``(S, T, I)``, from a zero state."""
    weight, bias, cell, units = arrays["weight"], arrays["bias"], str(arrays["cell"]), arrays["readout"].shape[1]
    h = c = np.zeros((len(current_pA), units), weight.dtype)
    states = []
    for x in np.moveaxis(current_pA / arrays["input_scale"], 1, 0):
        if cell == "gru":
            gates = sigmoid(np.hstack([x, h]) @ weight[: 2 * units].T + bias[: 2 * units])
            z, reset = gates[:, :units], gates[:, units:]
            h = z * h + (1 - z) * np.tanh(np.hstack([x, reset * h]) @ weight[2 * units :].T + bias[2 * units :])
        else:
            a = np.hstack([x, h]) @ weight.T + bias
            if cell == "lstm":
                i, f, o = (sigmoid(a[:, k * units : (k + 1) * units]) for k in range(3))
                c = f * c + i * np.tanh(a[:, 3 * units :])
                h = o * np.tanh(c)
            else:
                h = np.tanh(a)
        states.append(h)
    return (np.stack(states, 1) @ arrays["readout"].T + arrays["offset"]) * arrays["output_scale"] + arrays["output_zero"]
