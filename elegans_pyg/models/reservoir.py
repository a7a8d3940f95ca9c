"""Echo-state networks wired by connectomes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.utils import cumsum

from elegans_pyg._arguments import check_choice
from elegans_pyg.nn.executors import BACKENDS, choose, refusal
from elegans_pyg.nn.reservoir import ReservoirWeights, walk
from elegans_pyg.nn.reservoir.spectral_radius import spectral_radius
from elegans_pyg.nn.variants import generators, uniform
from elegans_pyg.wirings import CHEMICAL, MOTOR, SENSORY, Graphs, as_batch, as_wiring

READOUTS = ("motor", "all")


class Reservoir(nn.Module):
    r"""``V`` independent leaky echo-state networks side by side, one per wiring.

    From "The 'echo state' approach to analysing and training recurrent neural networks" (Jaeger 2001, GMD Report 148) with the leaky
    neurons of Jaeger, Lukoševičius, Popovici & Siewert (2007), doi:10.1016/j.neunet.2007.04.016; on connectomes as in Suárez et al. (2021),
    doi:10.1038/s42256-021-00376-1:

    .. math::
        s_t = (1 - a)\, s_{t-1} + a \tanh(\rho\, \hat{W} s_{t-1} + W_{in} u_t + b)

    :math:`\hat{W}_{ts} = \pm w_e / \rho(W)` over edges :math:`e = (s, t)` is the wiring's directed adjacency matrix, with synapse counts as
    weights, scaled to spectral radius 1 (see :func:`~elegans_pyg.nn.reservoir.spectral_radius.spectral_radius`). Nothing here is trained: a
    :class:`~elegans_pyg.models.RidgeReadout` is fitted to the states.

    Args:
        batch: a cyclic wiring, or a ``Batch``, data set or list of them; the spectral radius of a DAG is 0 and cannot be scaled.
        in_features: number of input features, ``F``.
        radius: spectral radius :math:`\rho`, positive; one number, or one per variant.
        leak: leak rate :math:`a`, above 0 and at most 1 (1: no leak); one number, or one per variant.
        input_scale: input weights of the sensory neurons are uniform in ± this; other neurons have none.
        bias_scale: biases of all neurons are uniform in ± this.
        signed: chemical synapses of inhibitory (GABAergic) neurons have negative weights; electrical ones never do.
        readout: neurons whose states are the output: ``"motor"`` or ``"all"``.
        seeds: seeds of input weights and biases: one per variant, or an integer ``s`` for ``s, s + 1, ...``; a variant depends only on its
            own seed.
        backend: ``"fused"`` (Numba, CPU), ``"reference"`` (PyTorch's sparse products, any device), or ``"auto"``: fused where it can run.
        dtype: dtype of weights and states (default: PyTorch's default).

    Shapes:
        - **input:** ``(B, T, F)``, the same sequences for every variant, or ``(V, B, T, F)``
        - **initial state:** ``(B, N)`` of the ``N`` nodes of all variants; zeros by default
        - **output:** states of the ``R`` readout neurons, in node order, ``(V, B, T, R)``
        - **buffers:** ``edge_weight (E,)`` (sorted by target; radius 1), ``input_weight (I, F)``, ``bias (N,)``, ``radius (V,)``,
          ``leak (V,)``, ``wiring_radius (V,)`` (before scaling)

    Raises:
        TypeError: if ``batch`` is none of these.
        ValueError: for a wiring without a cycle, whose signed weights cancel to radius 0, or without sensory or readout neurons; variants
            with different numbers of readout neurons; an argument out of range; or inputs of another shape.

    Example:
        >>> herm = Connectome("cook2019-hermaphrodite")[0]
        >>> Reservoir(herm, radius=0.9)(torch.rand(4, 100, 1)).shape
        torch.Size([1, 4, 100, 108])
    """

    def __init__(
        self,
        batch: Graphs,
        in_features: int = 1,
        *,
        radius: float | Sequence[float] = 0.9,
        leak: float | Sequence[float] = 1.0,
        input_scale: float = 1.0,
        bias_scale: float = 0.0,
        signed: bool = True,
        readout: str = "motor",
        seeds: int | Sequence[int] = 0,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if in_features < 1:
            raise ValueError(f"in_features must be at least 1, got {in_features}; give the number of values per time step")
        for name, scale in (("input_scale", input_scale), ("bias_scale", bias_scale)):
            if not 0 <= scale < float("inf"):
                raise ValueError(f"{name} must be finite and at least 0, got {scale}; change it")
        self.in_features, self.signed = in_features, signed
        self.readout, self.backend = check_choice("readout", readout, READOUTS), check_choice("backend", backend, BACKENDS)
        batch = as_batch(batch)
        graphs: list[Data] = batch.to_data_list() if isinstance(batch, Batch) else [batch]
        weights, own_radius = zip(*(self._scaled(number, graph) for number, graph in enumerate(graphs)), strict=True)
        sizes = torch.tensor([graph.neuron_type.numel() for graph in graphs])
        node_ptr = cumsum(sizes)
        variant = torch.repeat_interleave(torch.arange(len(graphs)), sizes)
        kind = torch.cat([graph.neuron_type.cpu() for graph in graphs])
        source, target = torch.cat([graph.edge_index.cpu() + first for graph, first in zip(graphs, node_ptr, strict=False)], dim=1)
        input_node = (kind == SENSORY).nonzero().flatten()
        readout_node = torch.arange(len(kind)) if readout == "all" else (kind == MOTOR).nonzero().flatten()
        inputs, reads = (torch.bincount(variant[found], minlength=len(graphs)) for found in (input_node, readout_node))
        for role, counts in (("sensory", inputs), (readout, reads)):
            if not bool(counts.all()):
                where = int(counts.argmin())
                raise ValueError(f"batch must hold wirings with {role} neurons, got none in variant {where}; check neuron_type")
        fewest, most = int(reads.min()), int(reads.max())
        if fewest < most:
            wanted = f"wirings with equal numbers of {readout} neurons"
            raise ValueError(f"batch must hold {wanted}, got {fewest} to {most}; build a Reservoir for each number")

        order = torch.argsort(target * len(kind) + source, stable=True)
        self.node_ptr, self.row_ptr = nn.Buffer(node_ptr), nn.Buffer(cumsum(torch.bincount(target, minlength=len(kind))))
        self.source, self.input_ptr, self.input_node = nn.Buffer(source[order]), nn.Buffer(cumsum(inputs)), nn.Buffer(input_node)
        self.readout_node = nn.Buffer(readout_node.view(len(graphs), -1))
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}; take one of them")
        self.edge_weight = nn.Buffer(torch.cat(weights)[order].to(dtype))
        # Separate streams, so that the bias does not depend on F; in float64, so that a seed gives the same numbers in every precision.
        draws = ((0x0EC0_0000_0000, inputs, (in_features,), input_scale), (0x0EC1_0000_0000, sizes, (), bias_scale))
        self.input_weight, self.bias = (
            nn.Buffer((scale * uniform(generators(seeds, len(graphs), stream), columns, 1, rows.tolist(), torch.float64)).to(dtype))
            for stream, rows, columns, scale in draws
        )
        self.wiring_radius = nn.Buffer(torch.tensor(own_radius, dtype=torch.float64))
        self.radius = nn.Buffer(_per_variant("radius", radius, len(graphs)).to(dtype))
        self.leak = nn.Buffer(_per_variant("leak", leak, len(graphs), most=1.0).to(dtype))

    @property
    def num_variants(self) -> int:
        return self.leak.numel()

    def with_settings(self, *, radius: float | Sequence[float], leak: float | Sequence[float]) -> Reservoir:
        """Return the same reservoirs at another spectral radius and leak; they share memory, and eigenvalues are not recomputed."""
        other = copy(self)
        radii = _per_variant("radius", radius, self.num_variants).to(self.radius)
        leaks = _per_variant("leak", leak, self.num_variants, most=1.0).to(self.leak)
        other._buffers = self._buffers | {"radius": radii, "leak": leaks}
        return other

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> Tensor:
        """Compute the states ``(V, B, T, R)`` of the readout neurons."""
        return self.run(inputs, state)[0]

    @torch.no_grad()
    def run(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the states of :meth:`forward`, and those of all neurons after the last step, ``(B, N)``, from which to continue."""
        shape = tuple(inputs.shape)
        if inputs.dim() == 3:
            inputs = inputs[None]
        if inputs.dim() != 4 or inputs.size(-1) != self.in_features or inputs.size(0) not in (1, self.num_variants):
            raise ValueError(
                f"inputs must be (B, T, {self.in_features}) or ({self.num_variants}, B, T, {self.in_features}), got {shape}; reshape them"
            )
        sequences, nodes = inputs.size(1), self.bias.numel()
        if state is None:
            state = self.bias.new_zeros(sequences, nodes)
        elif state.shape != (sequences, nodes):
            raise ValueError(f"state must be ({sequences}, {nodes}), got {tuple(state.shape)}; take it from run() on this reservoir")
        return getattr(walk, self.backend_in_use())(self.weights(), inputs.to(self.bias), state.to(self.bias))

    def weights(self) -> ReservoirWeights:
        """Return the input of the backends, with recurrent weights scaled to each variant's radius."""
        edges = self.row_ptr[self.node_ptr[1:]] - self.row_ptr[self.node_ptr[:-1]]
        scaled = self.edge_weight * torch.repeat_interleave(self.radius, edges)
        return ReservoirWeights(weight=scaled, **{name: getattr(self, name) for name in ReservoirWeights._fields if name != "weight"})

    def backend_in_use(self) -> str:
        """Return the backend used on the present device, ``"fused"`` or ``"reference"``."""
        return choose(self.backend, refusal(self.bias.device, self.bias.dtype, devices=("cpu",)), plain="reference", argument="backend")

    def extra_repr(self) -> str:
        return f"variants={self.num_variants}, nodes={self.bias.numel()}, edges={self.edge_weight.numel()}, readout={self.readout!r}"

    def _scaled(self, number: int, graph: Data) -> tuple[Tensor, float]:
        """Return one variant's edge weights at spectral radius 1, in float64, and the radius before scaling."""
        graph = as_wiring(graph)
        weight = graph.edge_weight.detach().cpu().double()
        if self.signed:
            if graph.get("inhibitory") is None:
                raise ValueError("batch must have inhibitory, one bool per node, got a wiring without; add it, or set signed=False")
            negative = graph.inhibitory.cpu()[graph.edge_index[0].cpu()] & (graph.edge_type.cpu() == CHEMICAL)
            weight = torch.where(negative, -weight, weight)
        radius = spectral_radius(graph.edge_index.cpu().numpy(), weight.numpy(), graph.neuron_type.numel())
        if radius == 0:
            raise ValueError(
                f"batch must hold wirings with a spectral radius above 0, got 0 for variant {number}, which has no cycle or whose weights"
                " cancel; give the cyclic connectome, not its DAG"
            )
        return weight / radius, radius


def _per_variant(name: str, value: float | Sequence[float], variants: int, most: float = float("inf")) -> Tensor:
    """Return one positive number per variant, in float64."""
    values = torch.as_tensor(value, dtype=torch.float64)
    values = values.repeat(variants) if values.dim() == 0 else values
    if values.shape != (variants,):
        raise ValueError(f"{name} must be one number or one for each of the {variants} variants, got shape {tuple(values.shape)}")
    if not bool(((values > 0) & (values <= most) & values.isfinite()).all()):
        bound = "finite and above 0" if most == float("inf") else f"above 0 and at most {most:g}"
        raise ValueError(f"{name} must be {bound}, got {value}; change it")
    return values
