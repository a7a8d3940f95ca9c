"""TensorNetwork: a connectome as a network of dense units whose values are multiplied along its synapses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Batch, Data

from elegans_pyg.nn.dag import check_choice, resolve_seeds
from elegans_pyg.nn.tensor_program import PUBLISHED_ORDER, RolePair, TensorProgram, compile_program
from elegans_pyg.nn.tensor_readout import MotorAttention
from elegans_pyg.nn.tensor_walk import Parameters, Rules, walk

COMBINES = ("mul", "add")
NORMS = ("state", "unit", "none")
READOUTS = ("attention", "mean", "concat")
# Elementwise, without parameters and without randomness.
ACTIVATIONS = (
    *("celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "relu", "relu6"),
    *("selu", "sigmoid", "silu", "softplus", "softshrink", "softsign", "tanh", "tanhshrink"),
)


class TensorNetwork(nn.Module):
    """DOC"""

    def __init__(
        self,
        batch: Data | Batch,
        width: int,
        *,
        combine: str = "mul",
        activation: str = "elu",
        norm: str = "state",
        order: Sequence[RolePair] = PUBLISHED_ORDER,
        skip: Sequence[RolePair] = (),
        reapply: Sequence[RolePair] = (),
        readout: str = "attention",
        heads: int = 1,
        freeze: bool = False,
        seeds: int | Sequence[int] = 0,
    ) -> None:
        super().__init__()
        self.combine, self.norm = check_choice("combine", combine, COMBINES), check_choice("norm", norm, NORMS)
        self.activation, self.readout = check_choice("activation", activation, ACTIVATIONS), check_choice("readout", readout, READOUTS)
        least = 1 if norm == "none" and readout != "attention" else 2
        if width < least:
            raise ValueError(f"width must be at least {least}, so that LayerNorm has something to compare, got {width}")
        if heads < 1 or width % heads:
            raise ValueError(f"heads must divide width, {width}, got {heads}; choose another number of heads")
        self.width, self.frozen = width, freeze
        self.program = compile_program(batch, norm, order, skip, reapply)
        if readout == "concat" and len(set(self.program.num_motors)) > 1:
            counts = self.program.num_motors
            raise ValueError(f"readout='concat' needs as many motor neurons in every variant, got {counts}; use 'attention' or 'mean'")
        seeds = resolve_seeds(seeds, self.num_variants)
        units, norms = self.program.unit_ptr, self.program.norm_ptr
        self.unit_weight = nn.Parameter(torch.empty(units[-1], width, width))
        self.unit_bias = nn.Parameter(torch.empty(units[-1], width))
        self.norm_weight = nn.Parameter(torch.ones(norms[-1], width))
        self.norm_bias = nn.Parameter(torch.zeros(norms[-1], width))
        bound = 1 / math.sqrt(width)
        with torch.no_grad():
            for (low, high), seed in zip(pairwise(units), seeds, strict=True):
                generator = torch.Generator().manual_seed(seed)
                for parameter in (self.unit_weight, self.unit_bias):
                    # Drawn in float32, so that a seed means the same in every precision.
                    drawn = torch.empty(high - low, *parameter.shape[1:], dtype=torch.float32)
                    parameter[low:high] = drawn.uniform_(-bound, bound, generator=generator)
        self.attention: MotorAttention | None = None
        if readout == "attention":
            # A stream of its own, so that it does not depend on how many numbers the units drew.
            self.attention = MotorAttention(width, heads, [torch.Generator().manual_seed(seed ^ 0xA77E_0000_0000) for seed in seeds])
        if freeze:
            self.requires_grad_(False)
        slot = (
            self.program.motor_slot
            if readout == "concat"
            else torch.cat([torch.arange(b - a) for a, b in pairwise(self.program.output_ptr)])
        )
        variant = torch.repeat_interleave(torch.arange(self.num_variants), torch.tensor(self.program.output_ptr).diff())
        places = self.program.num_motors[0] if readout == "concat" else int(slot.max()) + 1
        valid = torch.zeros(self.num_variants, places, dtype=torch.bool)
        valid[variant, slot] = True
        # Rows of the walk's output by variant and place; where there is none, any row stands in, and the mask says so.
        row = torch.zeros(self.num_variants, places, dtype=torch.long)
        row[variant, slot] = torch.arange(len(slot))
        self.register_buffer("_motor_row", row, persistent=False)
        self.register_buffer("_motor_valid", valid, persistent=False)
        self._programs: dict[tuple[torch.device, torch.dtype], TensorProgram] = {}

    @property
    def num_variants(self) -> int:
        return self.program.num_variants

    @property
    def out_features(self) -> int:
        return self.width * self.program.num_motors[0] if self.readout == "concat" else self.width

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(V, B, width)``, or ``(B, width)`` for the same input in every variant, to ``(V, B, out_features)``."""
        if x.dim() not in (2, 3) or x.size(-1) != self.width or (x.dim() == 3 and x.size(0) != self.num_variants):
            raise ValueError(f"x must be (B, {self.width}) or ({self.num_variants}, B, {self.width}), got {tuple(x.shape)}")
        if self.frozen:
            with torch.no_grad():
                return self._forward(x)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        device, dtype = self.unit_weight.device, self.unit_weight.dtype
        x = x.to(dtype).expand(self.num_variants, -1, -1)
        low = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else dtype
        if (device, dtype) not in self._programs:
            self._programs[device, dtype] = self.program.to(device, dtype)
        rules = Rules(getattr(F, self.activation), self.combine, self.combine == "mul" and self.norm == "state", 1e-5, low)
        parameters = Parameters(self.unit_weight, self.unit_bias, self.norm_weight, self.norm_bias)
        motors = walk(self._programs[device, dtype], rules, x, parameters)[self._motor_row]
        valid = self._motor_valid
        if self.attention is not None:
            return self.attention(x, motors, valid)
        motors = torch.where(valid[:, :, None, None], motors, 0.0)
        if self.readout == "mean":
            return motors.sum(1) / valid.sum(1)[:, None, None]
        return motors.transpose(1, 2).flatten(2)

    def variant_ptr(self) -> dict[str, list[int]]:
        """The ``V + 1`` offsets that split the first dimension of each entry of ``state_dict()`` among the variants."""
        by_name = {"unit_weight": self.program.unit_ptr, "unit_bias": self.program.unit_ptr}
        by_name |= {"norm_weight": self.program.norm_ptr, "norm_bias": self.program.norm_ptr}
        each = list(range(self.num_variants + 1))
        return {name: by_name.get(name, each) for name in self.state_dict()}

    def parameters_per_variant(self) -> list[int]:
        """Number of parameters of each variant, those of a frozen network counted too."""
        ptr = self.variant_ptr()
        totals = [0] * self.num_variants
        for name, parameter in self.named_parameters():
            for variant in range(self.num_variants):
                totals[variant] += (ptr[name][variant + 1] - ptr[name][variant]) * parameter[0].numel() if len(parameter) else 0
        return totals

    def extra_repr(self) -> str:
        p = self.program
        return (
            f"variants={p.num_variants}, units={p.unit_ptr[-1]}, rows={p.num_rows}, levels={p.num_levels}, width={self.width},"
            f" combine={self.combine}, norm={self.norm}, activation={self.activation}, readout={self.readout}, frozen={self.frozen}"
        )
