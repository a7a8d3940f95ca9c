"""Image encoders, one copy per variant: a ResNet-9, and timm models by name."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from elegans_pyg._extras import require
from elegans_pyg.models.variants import Copies, copies
from elegans_pyg.nn.variants import generators

RESNET9_CHANNELS = (64, 128, 256, 512)


class ResNet9(nn.Module):
    r"""A residual network of eight convolutions for small images (the ninth layer, a linear one, comes after it).

    After Coleman et al., "DAWNBench" (2017), and Page, "How to train your ResNet" (2018), with the residual blocks of He et al. (2016),
    doi:10.1109/CVPR.2016.90. A block is 3x3 convolution, BatchNorm, ReLU; with widths :math:`c_0 \dots c_3`: blocks to :math:`c_0` and
    :math:`c_1`, pool, residual of two blocks, block to :math:`c_2`, pool, block to :math:`c_3`, pool, residual of two blocks, maximum over
    the image.

    The default widths give 6.6 million parameters. Maps ``(B, in_channels, H, W)``, at least 8x8, to ``(B, channels[3])``.
    """

    def __init__(self, in_channels: int = 3, channels: Sequence[int] = RESNET9_CHANNELS) -> None:
        super().__init__()
        if len(channels) != 4 or min(channels) < 1:
            raise ValueError(f"channels: expected four widths of at least 1, got {tuple(channels)}; give four, such as 64, 128, 256, 512")
        first, second, third, last = channels
        self.start = nn.Sequential(_block(in_channels, first), _block(first, second), nn.MaxPool2d(2))
        self.second = nn.Sequential(_block(second, second), _block(second, second))
        self.middle = nn.Sequential(_block(second, third), nn.MaxPool2d(2), _block(third, last), nn.MaxPool2d(2))
        self.last = nn.Sequential(_block(last, last), _block(last, last))

    def forward(self, images: Tensor) -> Tensor:
        x = self.start(images)
        x = self.middle(x + self.second(x))
        return (x + self.last(x)).amax(dim=(-2, -1))


def _block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def make_encoders(
    name: str,
    in_channels: int,
    seeds: Sequence[int],
    channels: Sequence[int] = RESNET9_CHANNELS,
    weights: str | Path | None = None,
    image_size: tuple[int, int] = (32, 32),
) -> tuple[Copies, int]:
    """Build one encoder per variant, ``(V, B, C, H, W)`` to ``(V, B, features)``, each from its own seed. Also returns ``features``.

    ``name`` is ``"resnet9"``, of four widths ``channels``, or a name in ``timm.list_models()`` (extra ``timm``). With a safetensors file
    ``weights`` of a timm model's pretrained parameters, all variants start from those; nothing is ever downloaded. Raises ``ValueError``
    for weights that do not fit, and as :func:`check_encoder`.
    """
    check_encoder(name, weights, image_size)
    if name == "resnet9":
        return copies(lambda: ResNet9(in_channels, channels), generators(seeds, len(seeds), 0xE4C0_0000_0000)), channels[3]
    timm = require("timm", "timm", f"the encoder {name!r}")
    encoders = [_timm_encoder(timm.create_model, name, in_channels, seed, image_size) for seed in seeds]
    if weights is not None:
        try:
            state = load_file(Path(weights).expanduser())
        except SafetensorError as error:
            raise ValueError(f"weights: {weights} is not a safetensors file ({error}); convert it") from error
        for encoder in encoders:
            own = {entry: state[entry] for entry in encoder.state_dict() if entry in state}
            missing = [entry for entry, tensor in encoder.state_dict().items() if entry not in own or own[entry].shape != tensor.shape]
            if missing:
                raise ValueError(f"weights: {weights} does not fit {name}, first at {missing[0]}; give the weights of that model")
            encoder.load_state_dict(own)
    with torch.no_grad():
        features = encoders[0].eval()(torch.zeros(1, in_channels, *image_size)).shape[1]
    encoders[0].train()
    return Copies(encoders), features


def check_encoder(name: str, weights: str | Path | None = None, image_size: tuple[int, int] | None = None) -> None:
    """Check the arguments of :func:`make_encoders` without building anything.

    Raises:
        ValueError: for an unknown name, weights that the encoder does not take, or images that are too small.
        FileNotFoundError: if the file of weights does not exist.
        ImportError: if timm is needed and missing.
    """
    if name == "resnet9":
        if weights is not None:
            raise ValueError(f"weights: 'resnet9' is trained from scratch, got {weights}; leave them out, or name a timm model")
        if image_size is not None and min(image_size) < 8:
            raise ValueError(f"image_size: 'resnet9' expects at least 8x8 pixels, got {image_size[0]}x{image_size[1]}; enlarge the images")
        return
    if weights is not None and not Path(weights).expanduser().is_file():
        raise FileNotFoundError(f"weights: {weights} does not exist; give the safetensors file of the encoder {name!r}")
    timm = require("timm", "timm", f"the encoder {name!r}")
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name}*")[:8]) or "resnet9, or a name in timm.list_models()"
        raise ValueError(f"encoder: unknown choice {name!r}; choose from {close}")


def _timm_encoder(create: Callable[..., nn.Module], name: str, in_channels: int, seed: int, size: tuple[int, int]) -> nn.Module:
    options: dict[str, object] = {"pretrained": False, "num_classes": 0, "in_chans": in_channels}
    # timm can draw only from PyTorch's global generator, which is seeded here and restored afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        try:
            return create(name, img_size=size, **options)
        except TypeError:
            # Only models with position embeddings accept img_size.
            torch.random.default_generator.manual_seed(seed)
            return create(name, **options)
