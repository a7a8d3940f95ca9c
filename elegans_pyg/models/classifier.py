"""An ensemble of image classifiers, one a wiring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Batch, Data

from elegans_pyg.models.variants import check_images
from elegans_pyg.nn import DAGNet
from elegans_pyg.nn.variants import VariantNetwork, resolve_seeds, uniform


class VariantConv(nn.Module):
    r"""``V`` separate 2D convolutions, run as one.

    Args:
        in_channels, out_channels, kernel_size, stride, padding: as in :class:`torch.nn.Conv2d`.
        generators: one a variant; the first parameters are uniform in :math:`\pm 1/\sqrt{\text{fan in}}`, torch.nn.Conv2d's own start.

    Shapes:
        - **input:** ``(V, B, in_channels, H, W)``, or ``(B, in_channels, H, W)`` for the same images in every variant
        - **output:** ``(V, B, out_channels, H', W')``
        - **parameters:** ``weight (V, out_channels, in_channels, k, k)``, ``bias (V, out_channels)``
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        generators: Sequence[torch.Generator],
        stride: int = 1,
        padding: int = 0,
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        bound = 1 / math.sqrt(in_channels * kernel_size**2)
        self.weight = _uniform(shape, bound, generators)
        self.bias = _uniform(shape[:1], bound, generators)
        self.num_variants = len(generators)

    def forward(self, x: Tensor) -> Tensor:
        shared = x.dim() == 4
        if not shared:
            x = x.transpose(0, 1).flatten(1, 2)
        groups = 1 if shared else self.num_variants
        y = F.conv2d(x, self.weight.flatten(0, 1), self.bias.flatten(), self.stride, self.padding, groups=groups)
        return y.unflatten(1, (self.num_variants, -1)).transpose(0, 1)


class VariantLinear(nn.Module):
    """``V`` separate linear layers: ``(V, B, in_features)`` to ``(V, B, out_features)``; parameters start as torch.nn.Linear's do."""

    def __init__(self, in_features: int, out_features: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_features)
        self.weight = _uniform((out_features, in_features), bound, generators)
        self.bias = _uniform((out_features,), bound, generators)

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.transpose(1, 2))


def _uniform(shape: tuple[int, ...], bound: float, generators: Sequence[torch.Generator]) -> nn.Parameter:
    return nn.Parameter(uniform(generators, [1] * len(generators), shape, bound).to(torch.get_default_dtype()))


class ConnectomeClassifier(VariantNetwork):
    """Image classifiers wired by ``V`` DAGs, trained side by side and sharing nothing.

    The architecture of Park & Kim (2023), doi:10.5607/en23004: a 3x3 convolution with stride 2 (the source) feeds every input node of the
    DAG; the mean over the output nodes goes through a 1x1 convolution (the sink), the average over the image, and a linear layer.

    Args:
        batch: a DAG or a ``Batch`` of DAGs.
        in_channels: channels of the images.
        num_classes: ``K``.
        channels: feature maps per node.
        seeds: one seed a variant, or an integer ``s`` for ``s, s + 1, ...``. A variant's first parameters depend on its own seed alone, so
            that it starts the same whether alone or in company.
        **options: of :class:`~elegans_pyg.nn.DAGNet`: ``executor``, ``edge_activation``, ``edge_init``, ``node_operation``, ...

    Shapes:
        - **input:** ``(B, in_channels, H, W)``, shared by all variants, or ``(V, B, in_channels, H, W)``
        - **output:** logits, ``(V, B, K)``
        - **parameters:** the first dimension of every entry of ``state_dict()`` is split among the variants, see :meth:`variant_ptr`.

    Raises:
        ValueError: for fewer than one channel or two classes, images of another shape, or what DAGNet refuses.
    """

    def __init__(
        self,
        batch: Data | Batch,
        in_channels: int,
        num_classes: int,
        channels: int = 78,
        seeds: int | Sequence[int] = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError(f"in_channels must be at least 1, got {in_channels}")
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        self.in_channels, self.num_classes = in_channels, num_classes
        self.dag = DAGNet(batch, channels, seeds=seeds, **options)
        self.num_variants = variants = self.dag.num_variants
        # Streams of their own: the outer layers do not depend on how many numbers a wiring's nodes drew.
        generators = [torch.Generator().manual_seed(seed ^ 0x5EED_0000_0000) for seed in resolve_seeds(seeds, variants)]
        self.source = VariantConv(in_channels, channels, 3, generators, stride=2, padding=1)
        self.sink = VariantConv(channels, channels, 1, generators)
        self.linear = VariantLinear(channels, num_classes, generators)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(V, B, K)`` of images ``(B, in_channels, H, W)`` or ``(V, B, in_channels, H, W)``."""
        check_images(images, self.num_variants, self.in_channels)
        maps = self.sink(self.dag(self.source(images)))
        return self.linear(maps.mean((-2, -1)))
