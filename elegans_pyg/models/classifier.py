"""An ensemble of image classifiers, one per wiring."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from elegans_pyg.models.variants import check_images
from elegans_pyg.nn import DAGNet
from elegans_pyg.nn.variants import VariantNetwork, generators, uniform_parameter
from elegans_pyg.wirings import Graphs


class VariantConv(nn.Module):
    r"""``V`` separate 2D convolutions, run as one, initialised as :class:`torch.nn.Conv2d` from one generator per variant.

    Maps ``(V, B, in_channels, H, W)``, or ``(B, in_channels, H, W)`` for the same images in every variant, to
    ``(V, B, out_channels, H', W')``; ``weight (V, out_channels, in_channels, k, k)``, ``bias (V, out_channels)``.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, own: Sequence[Generator], stride: int = 1) -> None:
        super().__init__()
        self.stride, self.padding, self.num_variants = stride, kernel // 2, len(own)
        bound = 1 / math.sqrt(in_channels * kernel**2)
        self.weight = uniform_parameter(own, (out_channels, in_channels, kernel, kernel), bound)
        self.bias = uniform_parameter(own, (out_channels,), bound)

    def forward(self, x: Tensor) -> Tensor:
        shared = x.dim() == 4
        if not shared:
            x = x.transpose(0, 1).flatten(1, 2)
        groups = 1 if shared else self.num_variants
        y = F.conv2d(x, self.weight.flatten(0, 1), self.bias.flatten(), self.stride, self.padding, groups=groups)
        return y.unflatten(1, (self.num_variants, -1)).transpose(0, 1)


class VariantLinear(nn.Module):
    """``V`` separate linear layers, ``(V, B, in_features)`` to ``(V, B, out_features)``, initialised as :class:`torch.nn.Linear`."""

    def __init__(self, in_features: int, out_features: int, own: Sequence[Generator]) -> None:
        super().__init__()
        self.weight = uniform_parameter(own, (out_features, in_features), 1 / math.sqrt(in_features))
        self.bias = uniform_parameter(own, (out_features,), 1 / math.sqrt(in_features))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.transpose(1, 2))


class ConnectomeClassifier(VariantNetwork):
    """``V`` independent image classifiers, each wired by a DAG, trained side by side.

    The architecture of Park & Kim (2023), doi:10.5607/en23004: a 3x3 convolution with stride 2 (the source) feeds every input node of the
    DAG; the mean over the output nodes goes through a 1x1 convolution (the sink), average pooling over the image, and a linear layer.

    Args:
        batch: a DAG or a ``Batch`` of DAGs.
        in_channels, num_classes, channels: number of image channels, of classes ``K``, and of feature maps per node.
        seeds: one seed per variant, or an integer ``s`` for ``s, s + 1, ...``; a variant's initial parameters depend only on its own seed.
        **options: arguments of :class:`~elegans_pyg.nn.DAGNet`: ``executor``, ``edge_activation``, ``edge_init``, ``node_operation``, ...

    Shapes:
        - **input:** ``(B, in_channels, H, W)``, shared by all variants, or ``(V, B, in_channels, H, W)``
        - **output:** logits, ``(V, B, K)``
        - **parameters:** the first dimension of every entry of ``state_dict()`` is split among the variants, see :meth:`variant_ptr`.

    Raises:
        ValueError: for fewer than one channel or two classes, images of another shape, or as :class:`~elegans_pyg.nn.DAGNet`.
    """

    def __init__(
        self, batch: Graphs, in_channels: int, num_classes: int, channels: int = 78, seeds: int | Sequence[int] = 0, **options: Any
    ) -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError(f"in_channels must be at least 1, got {in_channels}")
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        self.in_channels, self.num_classes = in_channels, num_classes
        self.dag = DAGNet(batch, channels, seeds=seeds, **options)
        self.num_variants = self.dag.num_variants
        own = generators(seeds, self.num_variants, 0x5EED_0000_0000)
        self.source = VariantConv(in_channels, channels, 3, own, stride=2)
        self.sink = VariantConv(channels, channels, 1, own)
        self.linear = VariantLinear(channels, num_classes, own)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits ``(V, B, K)`` of images ``(B, in_channels, H, W)`` or ``(V, B, in_channels, H, W)``."""
        check_images(images, self.num_variants, self.in_channels)
        maps = self.sink(self.dag(self.source(images)))
        return self.linear(maps.mean((-2, -1)))
