"""Run a tensor network's program forward and backward."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from elegans_pyg._threads import share
from elegans_pyg.nn.tensor.program import NORMED, UNIT, Group, TensorProgram
from elegans_pyg.nn.workspace import Workspace

# Numbers of a row that a kernel takes at a time: all partial products of a long chain of factors then fit in an L2 cache.
_BLOCK = 1024


class Rules(NamedTuple):
    """Options of a step: the activation, how values are combined (``"mul"`` or ``"add"``), whether a factor is ``1 + value / k``, the dtype
    of matrix products, and whether compiled kernels compute the elementwise ones."""

    activation: Callable[[Tensor], Tensor]
    combine: str
    gated: bool
    matmul_dtype: torch.dtype
    fused: bool


class Parameters(NamedTuple):
    """``unit_weight (U, w, w)``, ``unit_bias (U, w)``, ``norm_weight (N, w)``, ``norm_bias (N, w)``; also their gradients."""

    unit_weight: Tensor
    unit_bias: Tensor
    norm_weight: Tensor
    norm_bias: Tensor


def walk(program: TensorProgram, rules: Rules, workspace: Workspace, x: Tensor, parameters: Parameters) -> Tensor:
    """Compute the rows ``program.output`` from inputs ``x (V, B, w)``."""
    return _Walk.apply(program, rules, workspace, x, *parameters)


class _Walk(torch.autograd.Function):
    """The program as a differentiable function.

    For the backward pass one map is kept per row, and one more per row made by a unit. Products, activations and norms are recomputed,
    because keeping their parts would cost a map per synapse. Products are computed round by round, one factor of every row at a time, in a
    fifth of the time of torch_geometric.utils.scatter(..., reduce="mul").
    """

    @staticmethod
    def forward(ctx, program: TensorProgram, rules: Rules, workspace: Workspace, x: Tensor, *tensors: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        parameters = Parameters(*tensors)
        needed, size = any(ctx.needs_input_grad), x[0].numel()
        kept = program.num_applied if needed else 0
        table, applied = (workspace.take(rows * size, x).view(rows, *x.shape[1:]) for rows in (program.num_rows, kept))
        table[: program.num_variants] = x
        for group in program.groups:
            rows = table[group.low : group.high]
            if group.kind == UNIT:
                before = applied[group.applied : group.applied + len(rows)] if needed else rows
                _apply_units(group, rules, table, parameters, before)
            else:
                before = _combined(group, rules, table)
            rows.copy_(_finish(group, rules, before, parameters.norm_weight[group.norm], parameters.norm_bias[group.norm]))
        ctx.program, ctx.rules, ctx.workspace = program, rules, workspace
        ctx.save_for_backward(table, applied, *tensors)
        return table[program.output]

    @staticmethod
    @once_differentiable
    def backward(ctx, out_grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        program, rules = ctx.program, ctx.rules
        table, applied, *tensors = ctx.saved_tensors
        parameters, grads = Parameters(*tensors), Parameters(*map(torch.zeros_like, tensors))
        table_grad = ctx.workspace.take(table.numel(), table).view_as(table).zero_()
        table_grad.index_add_(0, program.output, out_grad)
        for group in reversed(program.groups):
            below, rows_grad = table_grad[: group.low], table_grad[group.low : group.high]
            partial: list[Tensor] = []
            if group.kind == UNIT:
                before = applied[group.applied : group.applied + len(rows_grad)]
                rows_grad = _finish_backward(group, rules, before, parameters, grads, rows_grad)
                _units_backward(group, rules, table, parameters, grads, rows_grad, below)
            else:
                before = _combined(group, rules, table, partial)
                if group.kind == NORMED:
                    rows_grad = _finish_backward(group, rules, before, parameters, grads, rows_grad)
                _combined_backward(group, rules, table, partial, rows_grad, below)
        return None, None, None, table_grad[: program.num_variants].clone(), *grads


def _apply_units(group: Group, rules: Rules, table: Tensor, parameters: Parameters, out: Tensor) -> None:
    source = table.index_select(0, group.source).to(rules.matmul_dtype)
    for low, high, units in group.pieces:
        weight, bias = parameters.unit_weight[units].to(rules.matmul_dtype), parameters.unit_bias[units].unsqueeze(1)
        if rules.matmul_dtype == out.dtype:
            torch.baddbmm(bias, source[low:high], weight.mT, out=out[low:high])
        else:
            torch.add(torch.bmm(source[low:high], weight.mT), bias, out=out[low:high])


def _units_backward(
    group: Group, rules: Rules, table: Tensor, parameters: Parameters, grads: Parameters, rows_grad: Tensor, below: Tensor
) -> None:
    source, low_grad = table.index_select(0, group.source).to(rules.matmul_dtype), rows_grad.to(rules.matmul_dtype)
    source_grad = torch.empty_like(rows_grad)
    for low, high, units in group.pieces:
        part = slice(low, high)
        source_grad[part] = torch.bmm(low_grad[part], parameters.unit_weight[units].to(rules.matmul_dtype))
        weight_grad, bias_grad = torch.bmm(low_grad[part].mT, source[part]), rows_grad[part].sum(1)
        for whole, grad in ((grads.unit_weight, weight_grad), (grads.unit_bias, bias_grad)):
            if isinstance(units, slice):
                whole[units] += grad
            else:
                whole.index_add_(0, units, grad.to(whole.dtype))
    below.index_add_(0, group.source, source_grad)


def _finish(group: Group, rules: Rules, before: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply the activation after a unit, and the norm where there is one."""
    rows = rules.activation(before) if group.kind == UNIT else before
    if not len(group.norm):
        return rows
    return F.layer_norm(rows, rows.shape[-1:]) * weight.unsqueeze(1) + bias.unsqueeze(1)


def _finish_backward(group: Group, rules: Rules, before: Tensor, parameters: Parameters, grads: Parameters, rows_grad: Tensor) -> Tensor:
    leaves = [tensor.detach() for tensor in (before, parameters.norm_weight[group.norm], parameters.norm_bias[group.norm])]
    with torch.enable_grad():
        wanted = [leaf.requires_grad_() for leaf in leaves][: 3 if len(group.norm) else 1]
        before_grad, *norm_grad = torch.autograd.grad(_finish(group, rules, *leaves), wanted, rows_grad)
    for whole, grad in zip((grads.norm_weight, grads.norm_bias), norm_grad, strict=False):
        whole.index_add_(0, group.norm, grad)
    return before_grad


def _factor(group: Group, rules: Rules, table: Tensor, rows: Tensor) -> Tensor:
    factor = table.index_select(0, rows)
    return factor.mul_(group.gain[: len(rows)]).add_(1.0) if rules.gated else factor


def _combined(group: Group, rules: Rules, table: Tensor, partial: list[Tensor] | None = None) -> Tensor:
    """Compute the products or sums of a group's rows; ``partial`` receives the products before each round."""
    if rules.fused:
        out = table.new_empty(len(group.source), *table.shape[1:])
        _run_kernel("products", group, rules, table, out)
        return out
    total = table.index_select(0, group.source)
    for rows in group.rounds:
        head = total[: len(rows)]
        if rules.combine == "add":
            head += table.index_select(0, rows)
        else:
            if partial is not None:
                partial.append(head.clone())
            head *= _factor(group, rules, table, rows)
    return total


def _combined_backward(group: Group, rules: Rules, table: Tensor, partial: list[Tensor], grad: Tensor, below: Tensor) -> None:
    if rules.fused:
        _run_kernel("products_backward", group, rules, table, grad, below)
        return
    # Without division, so that zeros are right too: a factor's gradient is the product before it times the gradient after it.
    grad = grad.clone() if rules.combine == "mul" else grad
    for r, rows in reversed(list(enumerate(group.rounds))):
        head = grad[: len(rows)]
        if rules.combine == "add":
            below.index_add_(0, rows, head)
        else:
            factor_grad = partial[r].mul_(head)
            if rules.gated:
                factor_grad.mul_(group.gain[: len(rows)])
            below.index_add_(0, rows, factor_grad)
            head *= _factor(group, rules, table, rows)
    below.index_add_(0, group.source, grad)


def _run_kernel(name: str, group: Group, rules: Rules, table: Tensor, *grads: Tensor) -> None:
    from elegans_pyg.nn.tensor import kernels

    table, *grads_flat = (tensor.flatten(1) for tensor in (table, *grads))
    steps = (group.source, group.factor_ptr, group.factors, group.gain.view(-1))
    share(getattr(kernels, name), -(-table.size(1) // _BLOCK), _BLOCK, table, *steps, rules.gated, *grads_flat)
