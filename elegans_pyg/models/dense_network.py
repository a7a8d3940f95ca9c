"""The baseline of a tensor network: dense layers with the same number of parameters and no wiring."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from elegans_pyg.models.variants import copies
from elegans_pyg.nn.variants import VariantNetwork, generators


class DenseNetwork(VariantNetwork):
    r"""Three dense layers, :math:`w \to h_1 \to h_2 \to w`, with about a given number of parameters.

    .. math::
        y = \mathrm{LN}\big(W_3\,\mathrm{LN}(\mathrm{ELU}(W_2\,\mathrm{LN}(\mathrm{ELU}(W_1 x + b_1)) + b_2)) + b_3\big),
        \qquad h_1 h_2 + (w + 3)(h_1 + h_2) + 3w \approx \text{parameters}

    Args:
        width: number of features, :math:`w`.
        parameters: number of parameters to match; :math:`h_1` and :math:`h_2`, about equal, follow from it.
        num_variants: ``V``; the variants differ only in their initial parameters.
        seeds: one seed per variant, or an integer ``s`` for ``s, s + 1, ...``.

    Shapes:
        - **input** and **output:** ``(V, B, width)``

    Raises:
        ValueError: if no :math:`h_1` and :math:`h_2` come within 1 % of ``parameters``.
    """

    def __init__(self, width: int, parameters: int, num_variants: int = 1, seeds: int | Sequence[int] = 0) -> None:
        super().__init__()
        self.width = self.out_features = width
        self.hidden = hidden_widths(width, parameters)
        self.num_variants = num_variants

        def build() -> nn.Module:
            layers: list[nn.Module] = []
            for inputs, outputs in ((width, self.hidden[0]), self.hidden):
                layers += [nn.Linear(inputs, outputs), nn.ELU(), nn.LayerNorm(outputs)]
            return nn.Sequential(*layers, nn.Linear(self.hidden[1], width), nn.LayerNorm(width))

        self.layers = copies(build, generators(seeds, num_variants, 0xDE45_0000_0000))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def hidden_widths(width: int, parameters: int) -> tuple[int, int]:
    """Return :math:`h_1` and :math:`h_2` of a :class:`DenseNetwork`; raises ``ValueError`` if none come within 1 % of ``parameters``."""
    once = width + 3
    middle = max(1, round(math.sqrt(max(once**2 + parameters - 3 * width, 0)) - once))
    # The second width follows from the first; of near-by pairs the closest is taken.
    pairs = [(first, max(1, round((parameters - 3 * width - once * first) / (first + once)))) for first in range(middle, middle + 10)]
    counts = [once * (first + second) + first * second + 3 * width for first, second in pairs]
    count, hidden = min(zip(counts, pairs, strict=True), key=lambda pair: abs(pair[0] - parameters))
    if abs(count - parameters) > 0.01 * parameters:
        raise ValueError(f"parameters: the nearest to {parameters:,} at width {width} is {count:,}, over 1 % off; widen the network")
    return hidden
