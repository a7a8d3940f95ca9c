"""Layers of trained networks in NumPy: maps are ``(B, C, H, W)``, values ``(B, features)``."""

from typing import Any

import numpy as np

Arrays = dict[str, Any]
"""Parameters and graph by name, as returned by numpy.load."""


def part(arrays: Arrays, name: str) -> Arrays:
    """Return the arrays of a part of the network: those whose names begin with the part's name."""
    return {key[len(name) + 1 :]: value for key, value in arrays.items() if key.startswith(f"{name}.")}


def windows(x: np.ndarray, size: int, stride: int = 1) -> np.ndarray:
    """Return the neighbourhood of every pixel, ``(B, C, H', W', size, size)``, with zeros beyond the border."""
    edge = size // 2
    padded = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]


def conv2d(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, stride: int = 1) -> np.ndarray:
    """Cross-correlate with ``weight (out, in, k, k)``."""
    y = np.einsum("bchwij,ocij->bohw", windows(x, weight.shape[-1], stride), weight, optimize=True)
    return y if bias is None else y + bias[:, None, None]


def depthwise_conv2d(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Cross-correlate each channel with its own ``weight (C, k, k)``."""
    return np.einsum("bchwij,cij->bchw", windows(x, weight.shape[-1]), weight)


def batch_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, mean: np.ndarray, var: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """Normalise by the running statistics ``(C,)`` of the training."""
    scale = weight / np.sqrt(var + eps)
    return (x - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None]


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


def max_pool(x: np.ndarray) -> np.ndarray:
    """Return the maximum of each block of 2x2 pixels."""
    height, width = x.shape[2] // 2, x.shape[3] // 2
    return x[:, :, : 2 * height, : 2 * width].reshape(*x.shape[:2], height, 2, width, 2).max((3, 5))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def linear(x: np.ndarray, layer: Arrays) -> np.ndarray:
    return x @ layer["weight"].T + layer["bias"]


def scaled(images: np.ndarray) -> np.ndarray:
    """Scale pixels from 0 to 255 to -0.5 to 0.5, as in training; other numbers stay as they are."""
    return images.astype(np.float32) / 255 - 0.5 if images.dtype == np.uint8 else images
