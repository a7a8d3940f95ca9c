"""ElegansNet M1 with a ResNet-9 as its encoder: an image classifier with a tensor network as its head."""

import numpy as np

from elegans_pyg.models.export.numpy_forward.layers import Arrays, batch_norm, conv2d, layer_norm, linear, max_pool, part, relu, scaled
from elegans_pyg.models.export.numpy_forward.tensor_network import tensor_network


def predict(arrays: Arrays, images: np.ndarray) -> np.ndarray:
    """Compute logits ``(B, K)`` of images ``(B, C, H, W)``, uint8."""
    x = resnet9(part(arrays, "encoder"), scaled(images))
    if network := part(arrays, "network"):
        latent = part(arrays, "latent")
        x = layer_norm(linear(x, part(latent, "0")), latent["1.weight"], latent["1.bias"])
        x = x * tensor_network(network, x)
    return linear(x, part(arrays, "linear"))


def resnet9(net: Arrays, x: np.ndarray) -> np.ndarray:
    def block(x: np.ndarray, name: str) -> np.ndarray:
        names = ("weight", "bias", "running_mean", "running_var")
        return relu(batch_norm(conv2d(x, net[f"{name}.0.weight"]), *(net[f"{name}.1.{own}"] for own in names)))

    x = max_pool(block(block(x, "start.0"), "start.1"))
    x = x + block(block(x, "second.0"), "second.1")
    x = max_pool(block(max_pool(block(x, "middle.0")), "middle.2"))
    x = x + block(block(x, "last.0"), "last.1")
    return x.max((2, 3))
