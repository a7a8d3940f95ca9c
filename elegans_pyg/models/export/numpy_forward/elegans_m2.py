"""ElegansNet M2: an autoencoder of binarised images with a tensor network in its middle."""

import numpy as np

from elegans_pyg.models.export.numpy_forward.layers import Arrays, batch_norm, conv2d, elu, layer_norm, linear, max_pool, part
from elegans_pyg.models.export.numpy_forward.tensor_network import tensor_network


def predict(arrays: Arrays, images: np.ndarray) -> np.ndarray:
    """Compute one logit per pixel of images ``(B, C, H, W)``, uint8, which are binarised at 0.3, or already 0 and 1."""
    ink = (images > 0.3 * 255).astype(np.float32) if images.dtype == np.uint8 else images
    return decode(part(arrays, "decoder"), encode(arrays, ink), ink.shape[2:])


def encode(arrays: Arrays, x: np.ndarray) -> np.ndarray:
    """Compute the code ``(B, 128)``."""
    encoder, bottleneck = part(arrays, "encoder"), part(arrays, "bottleneck")
    for place in (0, 3, 6):
        x = elu(conv2d(x, encoder[f"{place}.weight"], encoder[f"{place}.bias"]))
        x = max_pool(x) if place < 6 else x
    x = layer_norm(linear(x.reshape(len(x), -1), part(encoder, "9")), encoder["10.weight"], encoder["10.bias"])
    x = x * tensor_network(part(arrays, "network"), x)
    for place in (0, 2, 4):
        x = elu(linear(x, part(bottleneck, str(place))))
    return linear(x, part(bottleneck, "6"))


def decode(net: Arrays, code: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    names = ("weight", "bias", "running_mean", "running_var")
    x = batch_norm(code.reshape(-1, 8, 4, 4), *(net[f"1.{name}"] for name in names))
    for place, share in ((2, 4), (5, 2), (8, 1)):
        x = elu(conv2d(x, net[f"{place}.weight"], net[f"{place}.bias"]))
        rows, columns = (np.arange(whole // share) * old // (whole // share) for whole, old in zip(size, x.shape[2:], strict=True))
        x = x[:, :, rows][:, :, :, columns]
    return conv2d(x, net["11.weight"], net["11.bias"])
