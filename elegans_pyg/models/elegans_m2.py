"""ElegansNet M2: an autoencoder with a tensor network in its middle."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from elegans_pyg.models.variants import check_images, copies
from elegans_pyg.nn.variants import VariantNetwork, generators

PUBLISHED_WIDTH = 784
PUBLISHED_CHANNELS = (240, 120, 120)
CODE = 128


class ElegansM2(VariantNetwork):
    r"""``V`` independent autoencoders of binarised images, trained side by side.

    The architecture of Bardozzo et al., "ElegansNet: a brief scientific report and initial experiments" (2023), arXiv:2304.13538, and
    "Elegans-AI" (2024), doi:10.1016/j.neucom.2024.127598:

    .. math::
        x = \mathrm{LN}(\mathrm{Dense}_w(\mathrm{conv}(\text{image}))), \qquad
        \text{code} = \mathrm{Dense}_{w,\,512,\,256,\,128}(x \odot \mathrm{network}(x)), \qquad
        \text{logits} = \mathrm{deconv}(\mathrm{BN}(\text{code}_{8 \times 4 \times 4}))

    The encoder is three 3x3 convolutions with ELU, the first two followed by 2x2 max pooling. The decoder mirrors it with nearest-neighbour
    upsampling to a quarter, a half and the full size of the image, and ends in one logit per pixel, whose sigmoid is the reconstruction
    (the published one ends in the sigmoid; logits are exact where it rounds to 0 or 1). At width 784 the sizes are the published ones; at
    other widths channels and dense layers scale with the width, and the code stays at 128.

    Args:
        network: module ``(V, B, w)`` to ``(V, B, w)``: a :class:`~elegans_pyg.nn.TensorNetwork`, or a :class:`DenseNetwork` as a baseline.
            Its ``width`` is :math:`w`.
        in_channels, image_size: channels of the images, and height and width in pixels, at least 8.
        echo: freeze the encoder; this is the published echo version, in which only code and decoder are trained. The network must be
            frozen.
        seeds: one seed per variant, or an integer ``s`` for ``s, s + 1, ...``.

    Shapes:
        - **input:** ``(B, C, H, W)``, shared by all variants, or ``(V, B, C, H, W)``; values 0 and 1
        - **output:** logits ``(V, B, C, H, W)``

    Raises:
        ValueError: if the network's output is not as wide as its input, the images are too small, or ``echo`` is set with a network that is
            not frozen.
    """

    def __init__(
        self,
        network: nn.Module,
        in_channels: int = 1,
        image_size: tuple[int, int] = (28, 28),
        *,
        echo: bool = False,
        seeds: int | Sequence[int] = 0,
    ) -> None:
        super().__init__()
        width, self.num_variants = check_joinable(network)
        outer = outer_layers(width, in_channels, image_size)
        if echo and any(parameter.requires_grad for parameter in network.parameters()):
            raise ValueError("echo: expected a frozen network, got one with trainable parameters; build it with freeze=True")
        self.in_channels, self.image_size = in_channels, image_size
        drawn = generators(seeds, self.num_variants, 0xE2E2_0000_0000)
        self.encoder, self.bottleneck, self.decoder = (copies(build, drawn) for build in outer)
        self.encoder.requires_grad_(not echo)
        self.network = network

    def encode(self, images: Tensor) -> Tensor:
        """Compute codes ``(V, B, 128)`` of images ``(B, C, H, W)`` or ``(V, B, C, H, W)`` of 0 and 1."""
        check_images(images, self.num_variants, self.in_channels, self.image_size)
        x = self.encoder(images, shared=images.dim() == 4)
        # A frozen network keeps nothing for backward, and raises for inputs that require a gradient.
        return self.bottleneck(x * self.network(x.detach() if getattr(self.network, "frozen", False) else x))

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits ``(V, B, C, H, W)`` of the reconstructed images."""
        return self.decoder(self.encode(images))


def outer_layers(width: int, in_channels: int, image_size: tuple[int, int]) -> tuple[Callable[[], nn.Module], ...]:
    """Return factories of the encoder, the layers down to the code, and the decoder of :class:`ElegansM2`; images are at least 8x8
    pixels."""
    if min(image_size) < 8:
        raise ValueError(f"image_size: expected at least 8x8 pixels, got {image_size[0]}x{image_size[1]}; enlarge the images")
    scale = width / PUBLISHED_WIDTH
    channels = [max(1, round(count * scale)) for count in PUBLISHED_CHANNELS]
    wide, middle = (max(CODE, round(count * scale)) for count in (512, 256))
    halves = [tuple(size // part for size in image_size) for part in (1, 2, 4)]

    def encoder() -> nn.Module:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([in_channels, *channels]):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ELU(), nn.MaxPool2d(2)]
        flat = channels[2] * halves[2][0] * halves[2][1]
        return nn.Sequential(*layers[:-1], nn.Flatten(), nn.Linear(flat, width), nn.LayerNorm(width))

    def bottleneck() -> nn.Module:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((width, width, wide, middle)):
            layers += [nn.Linear(inputs, outputs), nn.ELU()]
        return nn.Sequential(*layers, nn.Linear(middle, CODE))

    def decoder() -> nn.Module:
        layers: list[nn.Module] = [nn.Unflatten(1, (8, 4, 4)), nn.BatchNorm2d(8)]
        for inputs, outputs, size in zip([8, *channels[:0:-1]], channels[::-1], halves[::-1], strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ELU(), nn.Upsample(size)]
        return nn.Sequential(*layers, nn.Conv2d(channels[0], in_channels, 3, padding=1))

    return encoder, bottleneck, decoder


def check_joinable(network: Any) -> tuple[int, int]:
    """Return width and number of variants of a network; raises ``ValueError`` unless its output is as wide as its input."""
    if network.out_features != network.width:
        raise ValueError(
            f"network: expected as many outputs as inputs ({network.width}) for the elementwise product, got {network.out_features};"
            " use readout 'attention' or 'mean'"
        )
    return network.width, network.num_variants
