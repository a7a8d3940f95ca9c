"""Linear systems on forests, solved exactly in two sweeps (Hines 1984, doi:10.1016/0020-7101(84)90008-4), and their gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from elegans_pyg._threads import share
from elegans_pyg.dynamics.cables.segments import Ints

# Stimuli per kernel call: one vector register's, so that the state of thousands of compartments stays in the fastest caches.
WIDEST = 8


class Tree(NamedTuple):
    """A forest: ``parent (P,)``, itself for a root; ``levels``, nodes by depth, the roots first; and their :func:`numbering`, if a Numba
    kernel sweeps them."""

    parent: Tensor
    levels: list[Tensor]
    compiled: tuple[Ints, Ints, Ints] | None

    @classmethod
    def of(cls, parent: Ints, levels: list[Ints], device: torch.device, compiled: bool = False) -> Tree:
        tensors = [torch.from_numpy(nodes).to(device) for nodes in levels]
        return cls(torch.from_numpy(parent).to(device), tensors, numbering(parent, levels, len(parent)) if compiled else None)


def numbering(parent: Ints, levels: list[Ints], compartments: int) -> tuple[Ints, Ints, Ints]:
    """Nodes in the order of the kernels, compartments before branch points; each node's position in it; and the stretches ``(K, 3)`` in
    which the trees are swept, deepest first: first child, first parent, and number of consecutive pairs of these."""
    order, place, depth = np.empty_like(parent), np.empty_like(parent), np.empty_like(parent)
    free = {False: 0, True: compartments}
    for level, nodes in enumerate(levels):
        above = place[parent[nodes]] if level else nodes
        # First children of consecutive parents are consecutive, then their second children.
        by_parent = np.argsort(above, kind="stable")
        sorted_above = above[by_parent]
        rank = np.empty_like(nodes)
        rank[by_parent] = np.arange(len(nodes)) - np.searchsorted(sorted_above, sorted_above)
        for branch in (False, True):
            own = np.flatnonzero((nodes >= compartments) == branch)
            own = own[np.lexsort((above[own], rank[own]))]
            places = free[branch] + np.arange(len(own))
            order[places], place[nodes[own]], depth[places] = nodes[own], places, level
            free[branch] += len(own)
    up = place[parent[order]]
    new = (np.diff(depth, prepend=-1) != 0) | (np.diff(up, prepend=-2) != 1)
    new[compartments : compartments + 1] = True
    start = np.flatnonzero(new & (depth > 0))
    end = np.append(np.flatnonzero(new), len(order))
    length = end[np.searchsorted(end, start, side="right")] - start
    stretches = np.stack([start, up[start], length], axis=1)[np.argsort(-depth[start], kind="stable")]
    return order, place, np.ascontiguousarray(stretches)


def spread(voltage: Tensor, axial: Tensor, parent: Tensor) -> Tensor:
    """Current into every node from its neighbours, ``(P, S)``; ``axial (P,)`` is the conductance to the parent, 0 for a root."""
    flow = axial[:, None] * (voltage[parent] - voltage)
    return flow.index_add(0, parent, -flow)


def solve(ground: Tensor, axial: Tensor, current: Tensor, tree: Tree) -> Tensor:
    """Potentials ``x (P, S)`` at which every node's ``ground x`` plus the flow to its neighbours equals ``current``; differentiable.

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
    """Sweep up to the roots, where each node adds the equivalent of its subtree to its parent, and down again.

    A subtree of conductance ``a`` behind an axial conductance ``g`` is equivalent to ``a g / (a + g)``: nothing is subtracted, so that
    single precision suffices however large ``g`` is.
    """
    if tree.compiled is not None:
        return _sweep_compiled(ground, axial, current, *tree.compiled, len(tree.levels[0]))
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


def _sweep_compiled(ground: Tensor, axial: Tensor, current: Tensor, order: Ints, place: Ints, stretches: Ints, roots: int) -> Tensor:
    from elegans_pyg.dynamics.cables import kernels

    nodes, found = torch.from_numpy(order), torch.empty_like(current)
    own, conductance, flow = (part.detach()[nodes] for part in (axial, ground, current))
    share(kernels.sweep_trees, current.size(1), own, stretches, roots, conductance, flow, found, largest=WIDEST)
    return found[torch.from_numpy(place)]
