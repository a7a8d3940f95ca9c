"""Linear systems on forests, solved exactly in two sweeps (Hines 1984, doi:10.1016/0020-7101(84)90008-4), and their gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from elegans_pyg.dynamics.cables.compartments import Ints


class Tree(NamedTuple):
    """A forest: ``parent (P,)``, itself for a root; ``levels``, nodes by their depth, the roots first; and their :func:`numbering`, if they
    are swept by a Numba kernel."""

    parent: Tensor
    levels: list[Tensor]
    compiled: tuple[Ints, Ints, Ints] | None

    @classmethod
    def of(cls, parent: Ints, levels: list[Ints], device: torch.device, compiled: bool = False) -> Tree:
        tensors = [torch.from_numpy(nodes).to(device) for nodes in levels]
        return cls(torch.from_numpy(parent).to(device), tensors, numbering(levels, len(parent)) if compiled else None)


def numbering(levels: list[Ints], compartments: int) -> tuple[Ints, Ints, Ints]:
    """Nodes by depth, compartments before branch points; each node's place among them; and runs of one depth below the roots, deepest
    first, as pairs of first and end."""
    depth = np.repeat(np.arange(len(levels)), [len(nodes) for nodes in levels])
    nodes = np.concatenate(levels)
    order = np.lexsort((nodes, depth, nodes >= compartments))
    order, kind, depth = nodes[order], (nodes >= compartments)[order], depth[order]
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    starts = np.flatnonzero((np.diff(depth, prepend=-1) != 0) | (np.diff(kind.astype(np.int64), prepend=0) != 0))
    runs = np.stack([starts, np.append(starts[1:], len(order))], axis=1)[depth[starts] > 0]
    below = depth[runs[:, 0]]
    return order, place, np.ascontiguousarray(runs[np.argsort(-below, kind="stable")])


def spread(voltage: Tensor, axial: Tensor, parent: Tensor) -> Tensor:
    """Current into every node from its neighbours, ``(P, S)``; ``axial (P,)`` is the conductance to the parent, 0 for a root."""
    flow = axial[:, None] * (voltage[parent] - voltage)
    return flow.index_add(0, parent, -flow)


def solve(ground: Tensor, axial: Tensor, current: Tensor, tree: Tree) -> Tensor:
    """Potentials ``x (P, S)`` at which every node's ``ground x`` and what flows to its neighbours add up to ``current``; differentiable.

    ``ground (P, S)`` is each node's own conductance, ``axial (P,)`` that to its parent. The matrix is symmetric, so that the transposed
    system of the backward pass is the same one.
    """
    found: Tensor = _Solve.apply(ground, axial, current, tree)
    return found


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ground: Tensor, axial: Tensor, current: Tensor, tree: Tree) -> Tensor:
        found = _sweep(ground, axial, current, tree)
        ctx.save_for_backward(ground, axial, found)
        ctx.tree = tree
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        ground, axial, found = ctx.saved_tensors
        parent = ctx.tree.parent
        current = _sweep(ground, axial, gradient, ctx.tree)
        across = (current - current[parent]) * (found - found[parent])
        return -current * found, -across.sum(1), current, None


def _sweep(ground: Tensor, axial: Tensor, current: Tensor, tree: Tree) -> Tensor:
    """Up to the roots, each node adding to its parent what its subtree amounts to; and down again.

    A subtree of conductance ``a`` behind an axial conductance ``g`` is one of ``a g / (a + g)``: nothing is subtracted, so that single
    precision suffices however large ``g`` is.
    """
    if tree.compiled is not None:
        from elegans_pyg.dynamics.cables.fused import sweep_fused

        return sweep_fused(ground, axial, current, tree)
    own, flow = ground.clone(), current.clone()
    kept: list[tuple[Tensor, Tensor]] = []
    for nodes in reversed(tree.levels[1:]):
        g, a, i, parents = axial[nodes, None], own[nodes], flow[nodes], tree.parent[nodes]
        inverse = 1 / (g + a)
        share = g * inverse
        kept.append((i * inverse, share))
        own.index_add_(0, parents, a * share)
        flow.index_add_(0, parents, i * share)
    found, roots = torch.empty_like(flow), tree.levels[0]
    found[roots] = flow[roots] / own[roots]
    for nodes in tree.levels[1:]:
        alone, share = kept.pop()
        found[nodes] = alone + share * found[tree.parent[nodes]]
    return found
