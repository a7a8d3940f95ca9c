"""A network of dense units whose values are combined along the synapses (Bardozzo et al. 2023, arXiv:2304.13538).

Arrays, by row (a version of a neuron's value; row 0 is the input): ``source``, the row it starts from; ``unit``, the unit applied to it, or
-1; ``factor_ptr``, offsets into ``factor``, the rows that it is combined with; ``gain``, their factor in a product; ``norm``, or -1. Then
``output``, the rows of the motor neurons, and their ``slot``; ``unit_weight (U, w, w)``, ``unit_bias``, ``norm_weight``, ``norm_bias``;
``attention``.
"""

from typing import Any

import numpy as np

from elegans_pyg.models.export.numpy_forward.layers import Arrays, elu, layer_norm, linear, part, relu

ACTIVATIONS: dict[str, Any] = {"elu": elu, "relu": relu, "tanh": np.tanh}


def tensor_network(net: Arrays, x: np.ndarray) -> np.ndarray:
    """Map values ``(B, w)`` to ``(B, w)``; without a wiring, by the dense layers of the baseline."""
    if "unit_weight" not in net:
        return dense(net, x)
    combine, rows, activation = str(net["combine"]), [x], ACTIVATIONS[str(net["activation"])]
    for r in range(1, len(net["source"])):
        value, unit, norm = rows[net["source"][r]], net["unit"][r], net["norm"][r]
        if unit >= 0:
            value = activation(value @ net["unit_weight"][unit].T + net["unit_bias"][unit])
        for f in net["factor"][net["factor_ptr"][r] : net["factor_ptr"][r + 1]]:
            factor = 1 + net["gain"][r] * rows[f] if net["gain"][r] else rows[f]
            value = value + rows[f] if combine == "add" else value * factor
        rows.append(layer_norm(value, net["norm_weight"][norm], net["norm_bias"][norm]) if norm >= 0 else value)
    motors = np.stack([rows[r] for r in net["output"]])
    if str(net["readout"]) == "attention":
        return attention(part(net, "attention"), int(net["heads"]), x, motors)
    if str(net["readout"]) == "mean":
        return motors.mean(0)
    slots = np.zeros((net["num_motors"], *x.shape), x.dtype)
    slots[net["slot"]] = motors
    return np.concatenate(list(slots), axis=1)


def attention(net: Arrays, heads: int, x: np.ndarray, motors: np.ndarray) -> np.ndarray:
    """Compute multi-head attention of ``x (B, w)`` over ``motors (M, B, w)``; the keys have no bias."""
    (to_query, to_key, to_value, to_out), (of_query, of_value, of_out) = net["weight"], net["bias"]

    def by_head(values: np.ndarray) -> np.ndarray:
        return values.reshape(*values.shape[:-1], heads, -1)

    query, key, value = by_head(x @ to_query.T + of_query), by_head(motors @ to_key.T), by_head(motors @ to_value.T + of_value)
    score = np.einsum("bhd,mbhd->mbh", query, key) / query.shape[-1] ** 0.5
    share = np.exp(score - score.max(0))
    mixed = np.einsum("mbh,mbhd->bhd", share / share.sum(0), value).reshape(x.shape)
    return layer_norm(mixed @ to_out.T + of_out, net["norm_weight"], net["norm_bias"])


def dense(net: Arrays, x: np.ndarray) -> np.ndarray:
    for place in (0, 3):
        x = layer_norm(elu(linear(x, part(net, f"layers.{place}"))), net[f"layers.{place + 2}.weight"], net[f"layers.{place + 2}.bias"])
    return layer_norm(linear(x, part(net, "layers.6")), net["layers.7.weight"], net["layers.7.bias"])
