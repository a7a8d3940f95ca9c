"""Echo-state networks: reservoirs with trained linear readouts."""

import torch
from torch import Tensor, nn

from elegans_pyg.models.reservoir import Reservoir
from elegans_pyg.nn.variants import VariantNetwork


class EchoStateNetwork(VariantNetwork):
    r"""``V`` reservoirs, each with a linear readout: :math:`y_t = W_{out}^T s_t + c`, from states :math:`s_t` of a :class:`Reservoir`.

    Args:
        reservoir: the reservoirs; ``load_state_dict`` also sets their ``radius`` and ``leak``.
        outputs: number of targets, ``K``.

    Shapes:
        - **input:** ``(B, T, F)``, the same sequences in every variant, or ``(V, B, T, F)``
        - **output:** ``(V, B, T, K)``
        - **buffers:** ``weight (V, R, K)`` and ``intercept (V, K)`` as in a :class:`RidgeReadout`, initially 0
    """

    def __init__(self, reservoir: Reservoir, outputs: int) -> None:
        super().__init__()
        self.reservoir, self.num_variants = reservoir, reservoir.num_variants
        shape, dtype = (self.num_variants, reservoir.readout_node.size(1), outputs), reservoir.bias.dtype
        self.weight, self.intercept = nn.Buffer(torch.zeros(shape, dtype=dtype)), nn.Buffer(torch.zeros(shape[0], outputs, dtype=dtype))

    @property
    def in_features(self) -> int:
        return self.reservoir.in_features

    def variant_ptr(self) -> dict[str, list[int]]:
        """Return the offsets of what is fitted or chosen for each variant; the rest of ``state_dict()`` follows from wirings and seeds."""
        names = ("weight", "intercept", "reservoir.radius", "reservoir.leak")
        return {name: list(range(self.num_variants + 1)) for name in names}

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute predictions ``(V, B, T, K)``."""
        return self.reservoir(inputs) @ self.weight[:, None] + self.intercept[:, None, None]
