"""An image classifier wired by a DAG (Park & Kim 2023, doi:10.5607/en23004).

Arrays: of the ``dag``, ``edge_index (2, E)`` and ``edge_weight (E,)``; per node ``level`` (0: input, -1: left out), ``output_mask``,
``conv_weight (N, C, k, k)``, ``norm_weight``, ``norm_bias``, ``running_mean`` and ``running_var (N, C)``; weight and bias of ``source``,
``sink`` and ``linear``.
"""

from typing import Any

import numpy as np

from elegans_pyg.models.export.numpy_forward.layers import Arrays, batch_norm, conv2d, depthwise_conv2d, linear, part, relu, scaled


def predict(arrays: Arrays, images: np.ndarray) -> np.ndarray:
    """Compute logits ``(B, K)`` of images ``(B, channels, H, W)``, uint8."""
    source, sink, dag = part(arrays, "source"), part(arrays, "sink"), part(arrays, "dag")
    x = conv2d(scaled(images), source["weight"], source["bias"], stride=2)
    x = conv2d(walk(dag, x), sink["weight"], sink["bias"])
    return linear(x.mean((2, 3)), part(arrays, "linear"))


def walk(dag: Arrays, x: np.ndarray) -> np.ndarray:
    """Compute the mean of the output nodes' maps."""
    begin, end = dag["edge_index"]
    y: dict[Any, np.ndarray] = {}
    for n in np.argsort(dag["level"], kind="stable").tolist():
        if dag["level"][n] > 0:
            a = sum(dag["edge_weight"][e] * y[begin[e]] for e in np.flatnonzero(end == n) if begin[e] in y)
        elif dag["level"][n] == 0:
            a = x
        else:
            continue
        norm = [*(dag[name][n] for name in ("norm_weight", "norm_bias", "running_mean", "running_var")), float(dag["eps"])]
        y[n] = batch_norm(depthwise_conv2d(relu(a), dag["conv_weight"][n]), *norm)
    return np.mean([y[n] for n in np.flatnonzero(dag["output_mask"])], axis=0)
