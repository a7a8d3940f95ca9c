"""Reservoirs through time: by compiled kernels on the CPU, or by sparse products on any device."""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from elegans_pyg._threads import share

TANH = {torch.float32: (0, 10.0), torch.float64: (7, 20.0)}
"""Halvings (0: powers of 2 by their bits) and limit of the kernels' tanh, by dtype."""


class ReservoirWeights(NamedTuple):
    """Reservoirs of ``V`` variants, with nodes numbered across the batch and edges sorted by target.

    Attributes:
        node_ptr: ``V + 1`` offsets of the variants into nodes.
        row_ptr ``(N + 1,)``, source ``(E,)``, weight ``(E,)``: incoming edges of each node; ``source`` is numbered in the batch.
        input_ptr: ``V + 1`` offsets of the variants into the input nodes.
        input_node ``(I,)``, input_weight ``(I, F)``: the input nodes, numbered in the batch, and their weights.
        bias ``(N,)``, leak ``(V,)``.
        readout_node ``(V, R)``: numbered in the batch.
    """

    node_ptr: Tensor
    row_ptr: Tensor
    source: Tensor
    weight: Tensor
    input_ptr: Tensor
    input_node: Tensor
    input_weight: Tensor
    bias: Tensor
    leak: Tensor
    readout_node: Tensor


def fused(weights: ReservoirWeights, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the states of the readout nodes ``(V, B, T, R)``, and of all nodes after the last step ``(B, N)``, by CPU kernels.

    Each walk takes a variant through all steps; walks are shared among PyTorch's threads. Tensors are float32 or float64. ``inputs`` are
    ``(V, B, T, F)``, or ``(1, B, T, F)`` for the same input in every variant; ``state (B, N)`` is that before the first step.
    """
    from elegans_pyg.nn.reservoir.kernels import LANES, walk_reservoirs

    # Reservoirs are not trained, and their input may be computed from parameters.
    variants, sequences, inputs = weights.leak.numel(), inputs.size(1), inputs.detach()
    # Lanes are padded, so few sequences are faster one by one.
    lanes = LANES if 2 * sequences > LANES else 1
    halvings, limit = TANH[weights.weight.dtype]
    first_node = weights.node_ptr[:-1]
    of_edge = torch.repeat_interleave(first_node, weights.row_ptr[weights.node_ptr].diff())
    of_input = torch.repeat_interleave(first_node, weights.input_ptr.diff())
    # Allocated by NumPy, which asks for huge pages: fewer page faults for the states of many steps.
    shape = (variants, sequences, inputs.size(2), weights.readout_node.size(1))
    out = torch.from_numpy(np.empty(shape, dtype=inputs.numpy().dtype))
    state = state.clone()
    inside = weights._replace(
        source=(weights.source - of_edge).to(torch.uint32),
        input_node=(weights.input_node - of_input).to(torch.uint32),
        readout_node=(weights.readout_node - first_node[:, None]).to(torch.uint32),
    )
    share(walk_reservoirs, variants * -(-sequences // lanes), lanes, halvings, limit, inside, inputs.contiguous(), state, out)
    return out, state


def reference(weights: ReservoirWeights, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the same by one block-diagonal sparse product per step, on any device; arguments and results as for :func:`fused`."""
    nodes, sequences = weights.bias.numel(), inputs.size(1)
    variant = torch.repeat_interleave(torch.arange(weights.leak.numel(), device=inputs.device), weights.node_ptr.diff())
    of_input = variant[weights.input_node] if inputs.size(0) > 1 else torch.zeros_like(weights.input_node)
    leak = weights.leak[variant, None]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        matrix = torch.sparse_csr_tensor(weights.row_ptr, weights.source, weights.weight, (nodes, nodes), check_invariants=False)
    out = inputs.new_empty(inputs.size(2), *weights.readout_node.shape, sequences)
    s = state.T.contiguous()
    for t in range(inputs.size(2)):
        drive = weights.bias[:, None].repeat(1, sequences)
        drive[weights.input_node] += torch.einsum("if,ibf->ib", weights.input_weight, inputs[of_input, :, t])
        s = torch.lerp(s, torch.tanh(torch.sparse.mm(matrix, s) + drive), leak)
        out[t] = s[weights.readout_node]
    return out.permute(1, 3, 0, 2).contiguous(), s.T.contiguous()
