"""Leaky units on any wiring, for many wirings and sequences at once: the update equation and its two backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch_geometric.utils import cumsum, scatter

from elegans_pyg._arguments import check_choice
from elegans_pyg._threads import share
from elegans_pyg.nn.executors import BACKENDS, choose, refusal
from elegans_pyg.nn.recurrent.rows import Rows, rows_of
from elegans_pyg.nn.reservoir.walk import TANH

ACTIVATIONS: Mapping[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "tanh": (torch.tanh, lambda v: 1 - v.tanh().square()),
    "sigmoid": (torch.sigmoid, lambda v: v.sigmoid() * (1 - v.sigmoid())),
    "relu": (torch.relu, lambda v: (v > 0).to(v.dtype)),
}
"""Activation functions of the voltage, and their derivatives."""


class LeakyWalk(nn.Module):
    r"""Runs ``V`` independent networks of leaky units through all time steps; it has no parameters of its own.

    .. math::
        v_{i,t+1} = k_i\, v_{i,t} + \sum_{e: j \to i} w_e\, z_{j,t} + \sum_{f} p_{if}\, x_{f,t} + c_i, \qquad z_t = [\phi(v_t);\, v_t]

    A source ``j`` below ``N`` is the activity :math:`\phi(v_j)`, read by a chemical synapse; ``N + j`` is the voltage :math:`v_j`, read by
    a gap junction.

    Args:
        node_ptr ``(V + 1,)``: offsets of the variants into nodes.
        source, target ``(E,)``: edges, with nodes numbered in the batch.
        input_node, input_feature ``(K,)``: which feature enters which node, variant by variant.
        read_node ``(R,)``: nodes whose voltages are returned, variant by variant.
        activation: one of :data:`ACTIVATIONS`.
        backend: ``"reference"`` (plain PyTorch, any device), ``"fused"`` (Numba, CPU; first derivatives only), or ``"auto"``: fused where
            it can run.

    Shapes:
        - **keep** :math:`k` and **offset** :math:`c` ``(N,)``, **weight** ``(E,)``, **input weight** :math:`p` ``(K,)``
        - **x:** ``(V, B, T, F)``, or ``(1, B, T, F)`` for the same input in every variant; **state:** voltages ``(N, B)`` before the first
          step
        - **result:** voltages after each step ``(T, R, B)``, and of all nodes after the last ``(N, B)``

    Raises:
        ValueError: for an unknown activation or backend, or ``backend="fused"`` where it does not apply.
    """

    node_ptr: Tensor
    source: Tensor
    target: Tensor
    input_node: Tensor
    input_variant: Tensor
    input_feature: Tensor
    read_node: Tensor
    by_target: Tensor
    by_source: Tensor

    def __init__(
        self,
        node_ptr: Tensor,
        source: Tensor,
        target: Tensor,
        input_node: Tensor,
        input_feature: Tensor,
        read_node: Tensor,
        activation: str = "tanh",
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.activation = check_choice("activation", activation, list(ACTIVATIONS))
        self.backend = check_choice("backend", backend, BACKENDS)
        sizes, nodes = node_ptr.diff(), int(node_ptr[-1])
        variant = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        first, count = node_ptr[variant], sizes[variant]
        own = torch.arange(nodes) - first
        # Inside a variant, its own voltages follow its own activities.
        inside = torch.cat([own, own + count])[source]
        by_target = torch.argsort(target, stable=True)
        column = 2 * first[target] + inside
        by_source = torch.argsort(column, stable=True)
        tables = {
            "node_ptr": node_ptr,
            "source": source,
            "target": target,
            "input_node": input_node,
            "input_variant": variant[input_node],
            "input_feature": input_feature,
            "read_node": read_node,
            "by_target": by_target,
            "by_source": by_source,
            "row_ptr": cumsum(torch.bincount(target, minlength=nodes)),
            "column_ptr": cumsum(torch.bincount(column, minlength=2 * nodes)),
            "inside_source": inside[by_target].to(torch.uint32),
            "inside_target": own[target][by_source].to(torch.uint32),
            "input_ptr": cumsum(torch.bincount(variant[input_node], minlength=len(sizes))),
            "inside_input": own[input_node].to(torch.uint32),
            "read_ptr": cumsum(torch.bincount(variant[read_node], minlength=len(sizes))),
            "inside_read": own[read_node].to(torch.uint32),
        }
        tables |= {f"{name}_by_target": table for name, table in rows_of(target, sizes, inside, 2 * sizes)._asdict().items()}
        tables |= {f"{name}_by_source": table for name, table in rows_of(column, 2 * sizes, own[target], sizes)._asdict().items()}
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def forward(
        self, keep: Tensor, weight: Tensor, input_weight: Tensor, offset: Tensor, x: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        refused = refusal(keep.device, keep.dtype, devices=("cpu",))
        if choose(self.backend, refused, plain="reference", argument="backend") == "fused":
            return _FusedWalk.apply(self, keep, weight, input_weight, offset, x, state)
        return self.reference(keep, weight, input_weight, offset, x, state)

    def reference(
        self, keep: Tensor, weight: Tensor, input_weight: Tensor, offset: Tensor, x: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The definition."""
        phi, v, nodes, read = ACTIVATIONS[self.activation][0], state, len(keep), []
        variant = self.input_variant if len(x) > 1 else torch.zeros_like(self.input_variant)
        for t in range(x.size(2)):
            z = torch.cat([phi(v), v])
            arriving = scatter(weight[:, None] * z[self.source], self.target, dim=0, dim_size=nodes)
            entering = scatter(input_weight[:, None] * x[variant, :, t, self.input_feature], self.input_node, dim=0, dim_size=nodes)
            v = keep[:, None] * v + arriving + entering + offset[:, None]
            read.append(v[self.read_node])
        return torch.stack(read), v

    def tables(self, *names: str) -> tuple[Tensor, ...]:
        """Return buffers by name, followed by those of inputs and outputs."""
        ends = ("input_ptr", "inside_input", "input_feature", "read_ptr", "inside_read")
        return tuple(self.get_buffer(name) for name in ("node_ptr", *names, *ends))

    def arranged(self, weight: Tensor, by: str, lanes: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the tables of :class:`~elegans_pyg.nn.recurrent.rows.Rows` for edges ``by`` target or source, and the weights in the order
        in which the kernels read them."""
        rows = Rows(*(self.get_buffer(f"{name}_by_{by}") for name in Rows._fields))
        if lanes > 1:
            return rows[:-1], weight[self.get_buffer(f"by_{by}")]
        return rows[:-1], weight.new_zeros(len(rows.source)).index_copy_(0, rows.slot, weight)


class _FusedWalk(torch.autograd.Function):
    """The same in one walk per variant and group of sequences, forward and backward, by :mod:`~elegans_pyg.nn.recurrent.leaky_kernels`.

    The forward pass keeps only the voltages; the backward pass recomputes the activities.
    """

    @staticmethod
    def forward(
        ctx: Any, walk: LeakyWalk, keep: Tensor, weight: Tensor, input_weight: Tensor, offset: Tensor, x: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        from elegans_pyg.nn.recurrent import leaky_kernels

        wanted = any(ctx.needs_input_grad)
        keep, weight, input_weight, offset, x = (part.detach().contiguous() for part in (keep, weight, input_weight, offset, x))
        sequences, steps, nodes = x.size(1), x.size(2), len(keep)
        ctx.lanes = leaky_kernels.LANES if 2 * sequences > leaky_kernels.LANES else 1
        ctx.kind = (list(ACTIVATIONS).index(walk.activation), *TANH[keep.dtype])
        # The kernels expect contiguous strides, which clone() alone does not guarantee for few sequences.
        last = state.detach().clone(memory_format=torch.contiguous_format)
        groups, count = -(-sequences // ctx.lanes), (len(walk.node_ptr) - 1) * -(-sequences // ctx.lanes)
        # Allocated by NumPy, which asks for huge pages: fewer page faults for the voltages of many steps.
        shapes = (groups, steps if wanted else 0, nodes * ctx.lanes), (len(walk.read_node), steps, sequences)
        kept, y = (torch.from_numpy(np.empty(shape, dtype=keep.numpy().dtype)) for shape in shapes)
        rows, arranged = walk.arranged(weight, "target", ctx.lanes)
        arguments = (walk.tables("row_ptr", "inside_source"), rows, (keep, arranged, input_weight, offset), x, last, kept, y)
        share(leaky_kernels.forward, count, ctx.lanes, *ctx.kind, *arguments)
        if wanted:
            ctx.walk, ctx.count = walk, count
            ctx.save_for_backward(keep, weight, input_weight, x, kept)
        return y.transpose(0, 1), last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> Any:
        from elegans_pyg.nn.recurrent import leaky_kernels

        walk, (keep, weight, input_weight, x, kept) = ctx.walk, ctx.saved_tensors
        variants, groups = len(walk.node_ptr) - 1, -(-x.size(1) // ctx.lanes)
        per_group = [part.new_zeros(groups, len(part)) for part in (keep, weight, input_weight, keep)]
        grad_x = x.new_zeros(variants if ctx.needs_input_grad[5] else 0, *x.shape[1:])
        grad_state = grad_last.clone(memory_format=torch.contiguous_format)
        rows, arranged = walk.arranged(weight, "source", ctx.lanes)
        graph, grads = walk.tables("column_ptr", "inside_target"), (*per_group, grad_x)
        arguments = (graph, rows, (keep, arranged, input_weight), x, kept, grad_y.transpose(0, 1).contiguous(), grad_state, grads)
        share(leaky_kernels.backward, ctx.count, ctx.lanes, *ctx.kind, *arguments)
        grad_keep, by_source, grad_input, grad_offset = (part.sum(0) for part in per_group)
        grad_weight = torch.empty_like(by_source)
        grad_weight[walk.by_source] = by_source
        of_x = None
        if ctx.needs_input_grad[5]:
            of_x = grad_x if len(x) == variants else grad_x.sum(0, keepdim=True)
        return None, grad_keep, grad_weight, grad_input, grad_offset, of_x, grad_state
