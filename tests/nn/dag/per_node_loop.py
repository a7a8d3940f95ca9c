"""The obvious DAG network that every executor must agree with: one small module per node, run one after another, inputs stacked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from elegans_pyg.nn import DAGNet

Rounding = Callable[[Tensor], Tensor]


class Stored(torch.autograd.Function):
    """Maps as they come back from memory, and their gradient likewise."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, forward: Rounding | None, backward: Rounding | None) -> Tensor:
        ctx.rounding = backward
        return maps.clone() if forward is None else forward(maps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad if ctx.rounding is None else ctx.rounding(grad), None, None


class Node(nn.Module):
    def __init__(self, channels: int, kernel_size: int, rounding: Rounding | None, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.rounding = rounding
        self.conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels, eps=eps, momentum=momentum)

    def forward(self, a: Tensor) -> Tensor:
        if self.rounding is None:
            return self.norm(self.conv(torch.relu(a)))
        rectified = Stored.apply(torch.relu(Stored.apply(a, None, self.rounding)), self.rounding, None)
        return self.norm(Stored.apply(self.conv(rectified), self.rounding, None))


class PerNodeLoop(nn.Module):
    """``V`` DAGs, node by node, in an order that needs no levels: a node runs once its predecessors have.

    With ``rounding``, a node's rectified sum, its convolution, and the gradient at its sum are stored with fewer digits.
    """

    def __init__(self, batch: Data | Batch, channels: int, kernel_size: int = 3, rounding: Rounding | None = None) -> None:
        super().__init__()
        graphs = batch.to_data_list() if isinstance(batch, Batch) else [batch]
        self.graphs = []
        offset = edge_offset = 0
        for graph in graphs:
            predecessors: dict[int, list[tuple[int, int]]] = {n: [] for n in range(graph.num_nodes)}
            for e, (m, n) in enumerate(graph.edge_index.T.tolist()):
                predecessors[n].append((m, edge_offset + e))
            self.graphs.append((offset, predecessors, graph.input_mask.tolist(), graph.output_mask.tolist()))
            offset += graph.num_nodes
            edge_offset += graph.num_edges
        self.nodes = nn.ModuleList(Node(channels, kernel_size, rounding) for _ in range(offset))
        self.edge_weight = nn.Parameter(torch.zeros(edge_offset))

    def load_from(self, net: DAGNet) -> PerNodeLoop:
        """Take over the parameters and statistics of ``net``."""
        with torch.no_grad():
            self.edge_weight.copy_(net.edge_weight)
            for n, node in enumerate(self.nodes):
                node.conv.weight.copy_(net.conv_weight[n].unsqueeze(1))
                node.norm.weight.copy_(net.norm_weight[n])
                node.norm.bias.copy_(net.norm_bias[n])
                node.norm.running_mean.copy_(net.running_mean[n])
                node.norm.running_var.copy_(net.running_var[n])
        return self

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self._walk(x[v], *graph) for v, graph in enumerate(self.graphs)])

    def _walk(
        self, x: Tensor, offset: int, predecessors: dict[int, list[tuple[int, int]]], inputs: list[bool], outputs: list[bool]
    ) -> Tensor:
        reached = {n for n, flag in enumerate(inputs) if flag}
        while True:
            more = {n for n, edges in predecessors.items() if any(m in reached for m, _ in edges)} - reached
            if not more:
                break
            reached |= more
        y: dict[int, Tensor] = {}
        while len(y) < len(reached):
            for n in sorted(reached - set(y)):
                edges = [(m, e) for m, e in predecessors[n] if m in reached]
                if inputs[n]:
                    a = x
                elif all(m in y for m, _ in edges):
                    stacked = torch.stack([y[m] for m, _ in edges], dim=-1)
                    a = (stacked * self.edge_weight[[e for _, e in edges]]).sum(-1)
                else:
                    continue
                y[n] = self.nodes[offset + n](a)
        return torch.stack([y[n] for n, flag in enumerate(outputs) if flag and n in reached]).mean(0)

    def gradients(self) -> dict[str, Tensor]:
        """Gradients in the shapes of DAGNet's parameters; zero where a node took no part."""

        def stacked(tensors: list[Tensor]) -> Tensor:
            return torch.stack([torch.zeros_like(t) if t.grad is None else t.grad for t in tensors])

        return {
            "edge_weight": torch.zeros_like(self.edge_weight) if self.edge_weight.grad is None else self.edge_weight.grad,
            "conv_weight": stacked([node.conv.weight for node in self.nodes]).squeeze(2),
            "norm_weight": stacked([node.norm.weight for node in self.nodes]),
            "norm_bias": stacked([node.norm.bias for node in self.nodes]),
        }

    def statistics(self) -> dict[str, Tensor]:
        return {
            "running_mean": torch.stack([node.norm.running_mean for node in self.nodes]),
            "running_var": torch.stack([node.norm.running_var for node in self.nodes]),
        }
