"""TensorNetwork: a connectome as a network of dense units whose values are multiplied along its synapses."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elegans_pyg._arguments import check_choice
from elegans_pyg.nn.executors import EXECUTORS, choose, refusal
from elegans_pyg.nn.tensor.program import TensorProgram, compile_program
from elegans_pyg.nn.tensor.readout import MotorAttention, read_motors
from elegans_pyg.nn.tensor.roles import PUBLISHED_ORDER, RolePair
from elegans_pyg.nn.tensor.walk import Parameters, Rules, walk
from elegans_pyg.nn.variants import VariantNetwork, generators, uniform_parameter
from elegans_pyg.nn.workspace import Workspace
from elegans_pyg.wirings import Graphs, as_batch

COMBINES = ("mul", "add")
NORMS = ("state", "unit", "none")
READOUTS = ("attention", "mean", "concat")
# Elementwise, without parameters and without randomness.
ACTIVATIONS = (
    *("celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "relu", "relu6"),
    *("selu", "sigmoid", "silu", "softplus", "softshrink", "softsign", "tanh", "tanhshrink"),
)


class TensorNetwork(VariantNetwork):
    r"""``V`` connectomes as networks of dense units, one per neuron, whose values are multiplied along the synapses.

    The tensor network of Bardozzo, Terlizzi, Simoncini, Lió & Tagliaferri, "Elegans-AI: How the connectome of a living organism could model
    artificial neural networks", Neurocomputing 584:127598 (2024), doi:10.1016/j.neucom.2024.127598. Every sensor starts with the
    input, :math:`t_n = x`, every other neuron without a value. Synapses :math:`m \to n`, chemical and electrical alike, are then visited
    one by one: by role pair in the order of ``order``, inside a pair by source, then target:

    .. math::
        t_n &\leftarrow \phi(W_n\, v_m + b_n) && \text{if } n \text{ has no value yet (its unit creates it)} \\
        t_n &\leftarrow t_n \odot v_m \quad\text{or}\quad t_n + v_m && \text{if it has one (\texttt{combine})}

    where :math:`v_m` is the value read from the source, see ``norm``. A synapse whose source has no value yet is passed over. The output is
    computed from the final values of the motor neurons by ``readout``. Synapse counts (``edge_weight``) are not used.

    The visits are made once, at construction. Every change of a value is a new version of it, and the versions form a DAG. Versions that no
    motor neuron's final value depends on are left out, with their units; the rest runs level by level. ``program`` holds the result, and
    ``program.synapses`` counts the synapses visited, passed over and effective. **In the published order fewer than half are effective:**
    what reaches a sensor, and what reaches an interneuron from a motor neuron or another interneuron, never gets to a motor neuron. In
    ``varshney2011-hermaphrodite`` 1,492 of 3,225 synapses of both kinds are effective; choose another ``order`` to use more.

    - **Roles.** By ``neuron_type``, sensory neurons are sensors and motor neurons are motor neurons; all others count as interneurons,
      because for pharyngeal, sex-specific and other neurons the type does not tell whether they are sensory or motor.
    - **Stability.** Products of many values overflow: on that connectome with width 64 and LayerNormed input, ``norm="none"`` and
      ``"unit"`` leave 18 to 19 % of the motor neurons' values finite in float32 and 44 % in float64. With the default, the value read is
      normalised by the source neuron's LayerNorm and enters a product as a factor near one,

      .. math::
          v_m = \mathrm{LayerNorm}_m(t_m), \qquad t_n \leftarrow t_n \odot (1 + v_m / k_n)

      with :math:`k_n` the number of synapses that reach :math:`n` after it has a value. As no feature of a LayerNorm exceeds
      :math:`\sqrt{w}`, at initialisation :math:`|t_n|` is at most :math:`(1 + \sqrt{w}/k)^k < e^{\sqrt w}` times its first value, for any
      input, wiring and order. With ``combine="add"``, :math:`v_m` itself is added.
    - **Size.** At width 784 ``varshney2011-hermaphrodite`` has 106,250,032 parameters: 168 units of 615,440, 251 LayerNorms of 1,568 and
      the attention's 2,462,544. This agrees with the 107 M published for the CIFAR network, encoder included; one unit for each of the 196
      neurons other than sensors would be 120.6 M, but 28 of them reach no motor neuron in the published order.

    Args:
        batch: a wiring, or a ``Batch``, data set or list of wirings, which may be cyclic.
        width: number of features of every value, ``w``.
        combine: ``"mul"`` (published) or ``"add"``.
        activation: an elementwise function of :mod:`torch.nn.functional` by name: ``"elu"`` (published), ``"relu"``, ``"tanh"``, ...
        norm: ``"state"``, as above; ``"unit"``, a LayerNorm after each unit's activation, with values read as they are; ``"none"``
            (published).
        order: the nine role pairs ``(source, target)`` of ``"sensor"``, ``"interneuron"`` and ``"motor"``, in the order of the visits. The
            published order is sensor, interneuron, then motor to the other two roles, then each to itself.
        skip: role pairs whose synapses are not visited.
        reapply: role pairs whose synapses go through the target's unit every time, not only the first: :math:`v_m` in the second line is
            then :math:`\phi(W_n v_m + b_n)`. A sensor has a unit only if an effective synapse goes through it.
        readout: ``"attention"`` (published), :class:`~elegans_pyg.nn.tensor.readout.MotorAttention` with ``x`` as the query and ``heads``
            heads; ``"mean"``; or ``"concat"``, every motor neuron's features, zero for those that are not reached.
        freeze: make a reservoir: no parameter, the attention's included, requires a gradient, and a pass keeps nothing for backward. No
            gradient flows to ``x`` either, so an ``x`` that requires one raises.
        executor: ``"levels"``, plain PyTorch; ``"fused"``, products by compiled kernels (CPU, float32 or float64, ``combine="mul"``, with
            the extra ``fast``); or ``"auto"``, fused where that applies (:meth:`fused_refusal` says why it does not).
        seeds: one seed per variant, or an integer ``s`` for ``s, s + 1, ...``; a variant's initial parameters depend only on its own seed.

    Shapes:
        - **input:** ``(V, B, width)``, or ``(B, width)`` for the same input in every variant
        - **output:** ``(V, B, width)``; with ``"concat"`` ``(V, B, M * width)`` for ``M`` motor neurons; ``out_features`` is the last size
        - **parameters:** ``unit_weight (U, width, width)``, ``unit_bias (U, width)``, ``norm_weight``, ``norm_bias (N, width)`` and the
          attention's; ``program.unit_neuron`` and ``program.norm_neuron`` give their neurons, :meth:`variant_ptr` their variants

    Raises:
        TypeError: if ``batch`` is none of these.
        ValueError: for an unknown option or role, an ``order`` that lacks a pair, a width too small for LayerNorm or not a multiple of
            ``heads``, graphs that are not wirings, a variant whose motor neurons no sensor reaches, or ``"concat"`` with unequal numbers of
            motor neurons.
    """

    def __init__(
        self,
        batch: Graphs,
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
        executor: str = "auto",
        seeds: int | Sequence[int] = 0,
    ) -> None:
        super().__init__()
        self.combine, self.norm = check_choice("combine", combine, COMBINES), check_choice("norm", norm, NORMS)
        self.activation, self.readout = check_choice("activation", activation, ACTIVATIONS), check_choice("readout", readout, READOUTS)
        least = 1 if norm == "none" and readout != "attention" else 2
        if width < least:
            raise ValueError(f"width must be at least {least}, because LayerNorm needs two features, got {width}")
        if heads < 1 or width % heads:
            raise ValueError(f"heads must divide width, {width}, got {heads}; choose another number of heads")
        self.width, self.frozen = width, freeze
        self.program = compile_program(as_batch(batch), norm, order, skip, reapply)
        if readout == "concat" and len(set(motors := self.program.num_motors)) > 1:
            raise ValueError(f"readout='concat' needs as many motor neurons in every variant, got {motors}; use 'attention' or 'mean'")
        self.num_variants = self.program.num_variants
        own, bound, norms = generators(seeds, self.num_variants), 1 / math.sqrt(width), self.program.norm_ptr[-1]
        sizes = [high - low for low, high in pairwise(self.program.unit_ptr)]
        self.unit_weight = uniform_parameter(own, (width, width), bound, sizes)
        self.unit_bias = uniform_parameter(own, (width,), bound, sizes)
        self.norm_weight = nn.Parameter(torch.ones(norms, width))
        self.norm_bias = nn.Parameter(torch.zeros(norms, width))
        self.attention: MotorAttention | None = None
        if readout == "attention":
            self.attention = MotorAttention(width, heads, generators(seeds, self.num_variants, 0xA77E_0000_0000))
        if freeze:
            self.requires_grad_(False)
        counts = torch.tensor(self.program.output_ptr).diff()
        variant = torch.repeat_interleave(torch.arange(self.num_variants), counts)
        # Rows of the walk's output by variant and place; where there is none, row 0 stands in, and the mask is False.
        slot = self.program.motor_slot if readout == "concat" else torch.cat([torch.arange(count) for count in counts])
        places = self.program.num_motors[0] if readout == "concat" else int(counts.max())
        row = torch.full((self.num_variants, places), -1)
        row[variant, slot] = torch.arange(len(slot))
        self._motor_row, self._motor_valid = nn.Buffer(row.clamp(min=0), persistent=False), nn.Buffer(row >= 0, persistent=False)
        self.executor = check_choice("executor", executor, EXECUTORS)
        self.executor_in_use()  # raises here rather than in the first forward pass
        self._workspace = Workspace()
        self._programs: dict[tuple[torch.device, torch.dtype], TensorProgram] = {}

    @property
    def out_features(self) -> int:
        return self.width * self.program.num_motors[0] if self.readout == "concat" else self.width

    def fused_refusal(self) -> str:
        """Return why executor ``fused`` does not apply to this network on its present device; empty if it does."""
        if self.combine != "mul":
            return "its kernels are for products, and this network's combine is 'add'"
        return refusal(self.unit_weight.device, self.unit_weight.dtype, devices=("cpu",))

    def executor_in_use(self) -> str:
        """Return the executor for the parameters' device; raises ``ValueError`` if ``executor="fused"`` was given and does not apply."""
        return choose(self.executor, self.fused_refusal())

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(V, B, width)``, or ``(B, width)`` for the same input in every variant, to ``(V, B, out_features)``."""
        if x.dim() not in (2, 3) or x.size(-1) != self.width or (x.dim() == 3 and x.size(0) != self.num_variants):
            raise ValueError(f"x must be (B, {self.width}) or ({self.num_variants}, B, {self.width}), got {tuple(x.shape)}")
        if self.frozen and x.requires_grad and torch.is_grad_enabled():
            raise ValueError("x: a frozen network gives no gradient, but got an x that requires one; give x.detach()")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            device, dtype = self.unit_weight.device, self.unit_weight.dtype
            x = x.to(dtype).expand(self.num_variants, -1, -1)
            low = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else dtype
            if (device, dtype) not in self._programs:
                self._programs[device, dtype] = self.program.to(device, dtype)
            gated = self.combine == "mul" and self.norm == "state"
            rules = Rules(getattr(F, self.activation), self.combine, gated, low, self.executor_in_use() == "fused")
            parameters = Parameters(self.unit_weight, self.unit_bias, self.norm_weight, self.norm_bias)
            motors = walk(self._programs[device, dtype], rules, self._workspace, x, parameters)[self._motor_row]
            return read_motors(self.readout, self.attention, x, motors, self._motor_valid)

    def variant_ptr(self) -> dict[str, list[int]]:
        """Return the ``V + 1`` offsets that split the first dimension of each entry of ``state_dict()`` among the variants."""
        units = dict.fromkeys(("unit_weight", "unit_bias"), self.program.unit_ptr)
        return super().variant_ptr() | units | dict.fromkeys(("norm_weight", "norm_bias"), self.program.norm_ptr)

    def extra_repr(self) -> str:
        p = self.program
        return (
            f"variants={p.num_variants}, units={p.unit_ptr[-1]}, rows={p.num_rows}, levels={p.num_levels}, width={self.width},"
            f" combine={self.combine}, norm={self.norm}, activation={self.activation}, readout={self.readout}, frozen={self.frozen}"
        )
