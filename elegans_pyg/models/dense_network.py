"""The control for a tensor network: dense layers with as many parameters and no wiring."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from elegans_pyg.models.variants import Copies, VariantNetwork, seeded
from elegans_pyg.nn.dag import resolve_seeds


class DenseNetwork(VariantNetwork):
    r"""Three dense layers, :math:`w \to h \to h \to w`, with the number of parameters of the network that they stand in for.

    .. math::
        y = \mathrm{LN}\big(W_3\,\mathrm{LN}(\mathrm{ELU}(W_2\,\mathrm{LN}(\mathrm{ELU}(W_1 x + b_1)) + b_2)) + b_3\big),
        \qquad h^2 + (2w + 6)\,h + 3w \approx \text{parameters}

    Args:
        width: :math:`w`.
        parameters: number of parameters to come nearest to; :math:`h` follows from it.
        num_variants: ``V``; they differ in their first parameters alone.
        seeds: one seed a variant, or an integer ``s`` for ``s, s + 1, ...``.

    Shapes:
        - **input:** ``(V, B, width)``
        - **output:** ``(V, B, width)``

    Raises:
        ValueError: if no :math:`h` comes within 1 % of ``parameters``.
    """

    def __init__(self, width: int, parameters: int, num_variants: int = 1, seeds: int | Sequence[int] = 0) -> None:
        super().__init__()
        self.width = self.out_features = width
        half = width + 3
        hidden = max(1, round(math.sqrt(max(half**2 + parameters - 3 * width, 0)) - half))
        count = hidden**2 + 2 * half * hidden + 3 * width
        if abs(count - parameters) > 0.01 * parameters:
            raise ValueError(f"parameters: the nearest to {parameters:,} at width {width} is {count:,}, over 1 % off; widen the network")
        self.num_variants, self.hidden = num_variants, hidden

        def build() -> nn.Module:
            layers: list[nn.Module] = []
            for inputs, outputs in ((width, hidden), (hidden, hidden)):
                layers += [nn.Linear(inputs, outputs), nn.ELU(), nn.LayerNorm(outputs)]
            return nn.Sequential(*layers, nn.Linear(hidden, width), nn.LayerNorm(width))

        # A stream of its own, as in the classifiers: no draw is shared with the modules around it.
        generators = [torch.Generator().manual_seed(seed ^ 0xDE45_0000_0000) for seed in resolve_seeds(seeds, num_variants)]
        self.layers = Copies([seeded(build, generator) for generator in generators])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
