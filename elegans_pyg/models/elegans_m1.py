"""ElegansNet M1: an image classifier with a tensor network as its head."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from elegans_pyg.models.elegans_m2 import check_joinable
from elegans_pyg.models.encoders import RESNET9_CHANNELS, make_encoders
from elegans_pyg.models.variants import Copies, check_images, copies
from elegans_pyg.nn.variants import VariantNetwork, generators, resolve_seeds


class ElegansM1(VariantNetwork):
    r"""``V`` independent image classifiers, each an encoder and a tensor network, trained side by side.

    After Bardozzo et al., "ElegansNet: a brief scientific report and initial experiments" (2023), arXiv:2304.13538, which specifies neither
    the encoder nor code; encoder and network are joined as in :class:`ElegansM2`:

    .. math::
        x = \mathrm{LN}(\mathrm{Dense}_w(\mathrm{encoder}(\text{image}))), \qquad
        \text{logits} = \mathrm{Dense}_K(x \odot \mathrm{network}(x))

    With a frozen network (a reservoir) the gradient reaches the encoder only through the other factor, :math:`x`. Without a network the
    model is the bare encoder, :math:`\text{logits} = \mathrm{Dense}_K(\mathrm{encoder}(\text{image}))`.

    Args:
        network: module ``(V, B, w)`` to ``(V, B, w)``: a :class:`~elegans_pyg.nn.TensorNetwork`, a :class:`DenseNetwork` as a baseline with
            as many parameters, or ``None`` for the bare encoder.
        num_classes, in_channels, image_size: number of classes ``K``; channels, and height and width in pixels, of the images.
        encoder: ``"resnet9"``, with the four widths ``encoder_channels``, or a timm model's name (extra ``timm``).
        weights: safetensors file with a timm encoder's pretrained parameters.
        num_variants: ``V``; needed only without a network.
        seeds: one seed per variant, or an integer ``s`` for ``s, s + 1, ...``.

    Shapes:
        - **input:** ``(B, C, H, W)``, shared by all variants, or ``(V, B, C, H, W)``
        - **output:** logits ``(V, B, K)``

    Raises:
        ValueError: if the network's output is not as wide as its input, the encoder is unknown, or a number is out of range.
    """

    def __init__(
        self,
        network: nn.Module | None,
        num_classes: int,
        in_channels: int = 3,
        *,
        encoder: str = "resnet9",
        encoder_channels: Sequence[int] = RESNET9_CHANNELS,
        weights: str | Path | None = None,
        image_size: tuple[int, int] = (32, 32),
        num_variants: int | None = None,
        seeds: int | Sequence[int] = 0,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes: expected at least 2, got {num_classes}; give the number of classes")
        width, own = (None, num_variants) if network is None else check_joinable(network)
        if own is None or own < 1:
            raise ValueError(f"num_variants: expected at least 1 without a network, got {num_variants}; give the number of variants")
        if num_variants not in (None, own):
            raise ValueError(f"num_variants: the network has {own}, got {num_variants}; leave it out")
        self.num_variants, self.in_channels = own, in_channels
        own_seeds = resolve_seeds(seeds, own)
        self.encoder, features = make_encoders(encoder, in_channels, own_seeds, encoder_channels, weights, image_size)
        drawn = generators(own_seeds, own, 0xE1E1_0000_0000)
        self.network, self.frozen, last = network, bool(getattr(network, "frozen", False)), width or features
        self.latent: Copies | None = None
        if width is not None:
            self.latent = copies(lambda: nn.Sequential(nn.Linear(features, last), nn.LayerNorm(last)), drawn)
        self.linear = copies(lambda: nn.Linear(last, num_classes), drawn)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits ``(V, B, K)`` of images ``(B, C, H, W)`` or ``(V, B, C, H, W)``."""
        check_images(images, self.num_variants, self.in_channels)
        x = self.encoder(images, shared=images.dim() == 4)
        if self.network is not None and self.latent is not None:
            x = self.latent(x)
            x = x * self.network(x.detach() if self.frozen else x)
        return self.linear(x)
