"""A tensor network run by visiting its synapses one by one, for one variant; what TensorNetwork is checked against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import Data

from elegans_pyg.nn import TensorNetwork

ROLE_OF_TYPE = {0: "sensor", 1: "interneuron", 2: "motor"}


def role(data: Data, neuron: int) -> str:
    return ROLE_OF_TYPE.get(int(data.neuron_type[neuron]), "interneuron")


def visits(data: Data, order: list, skip: list) -> list[tuple[int, int, tuple[str, str]]]:
    """(source, target, role pair) of every synapse, in the order of the visits."""
    found = []
    for edge, (source, target) in enumerate(data.edge_index.T.tolist()):
        pair = (role(data, source), role(data, target))
        if pair not in skip:
            found.append((order.index(pair), source, target, int(data.edge_type[edge]), pair))
    return [(source, target, pair) for _, source, target, _, pair in sorted(found)]


class SynapseBySynapse:
    """The motor neurons' last values, a dictionary by neuron, with the parameters that ``net`` has for one variant."""

    def __init__(self, net: TensorNetwork, data: Data, variant: int, first_neuron: int, order: list, skip: list, reapply: list) -> None:
        self.net, self.data, self.reapply = net, data, reapply
        self.visits = visits(data, order, skip)
        program = net.program
        self.unit = {int(n) - first_neuron: i for i, n in enumerate(program.unit_neuron) if self._mine(program.unit_ptr, variant, i)}
        self.norm = {int(n) - first_neuron: i for i, n in enumerate(program.norm_neuron) if self._mine(program.norm_ptr, variant, i)}
        self.count = self._count()

    @staticmethod
    def _mine(ptr: list[int], variant: int, number: int) -> bool:
        return ptr[variant] <= number < ptr[variant + 1]

    def _count(self) -> dict[int, int]:
        """Synapses that reach each neuron when it has a value already."""
        has_value = {n for n in range(self.data.num_nodes) if role(self.data, n) == "sensor"}
        count: dict[int, int] = {}
        for source, target, _ in self.visits:
            if source in has_value:
                if target in has_value:
                    count[target] = count.get(target, 0) + 1
                has_value.add(target)
        return count

    def normalise(self, neuron: int, value: Tensor) -> Tensor:
        if neuron not in self.norm:  # the readout does not depend on it, so it has no parameters
            return F.layer_norm(value, value.shape[-1:])
        weight, bias = self.net.norm_weight[self.norm[neuron]], self.net.norm_bias[self.norm[neuron]]
        mean, variance = value.mean(-1, keepdim=True), value.var(-1, unbiased=False, keepdim=True)
        return (value - mean) / torch.sqrt(variance + 1e-5) * weight + bias

    def apply_unit(self, neuron: int, value: Tensor) -> Tensor:
        if neuron not in self.unit:
            return value  # again: nothing that is read depends on it
        weight, bias = self.net.unit_weight[self.unit[neuron]], self.net.unit_bias[self.unit[neuron]]
        made = getattr(F, self.net.activation)(value @ weight.T + bias)
        return self.normalise(neuron, made) if self.net.norm == "unit" else made

    def __call__(self, x: Tensor) -> dict[int, Tensor]:
        net = self.net
        state: dict[int, Tensor] = {n: x for n in range(self.data.num_nodes) if role(self.data, n) == "sensor"}

        def read(neuron: int) -> Tensor:
            return self.normalise(neuron, state[neuron]) if net.norm == "state" else state[neuron]

        for source, target, pair in self.visits:
            if source not in state:
                continue
            value = read(source)
            if target not in state:
                state[target] = self.apply_unit(target, value)
                continue
            if pair in self.reapply:
                value = self.apply_unit(target, value)
            if net.combine == "add":
                state[target] = state[target] + value
            elif net.norm == "state":
                state[target] = state[target] * (1 + value / self.count[target])
            else:
                state[target] = state[target] * value
        return {n: read(n) for n in sorted(state) if role(self.data, n) == "motor"}
