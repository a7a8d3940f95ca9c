"""Synapses of a wiring of leaky units: their signs and strengths, and which of them share a parameter."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import coalesce

from elegans_pyg.wirings import CHEMICAL, ELECTRICAL

SHARES = ("edge", "class", "type", "global")


@dataclass(frozen=True)
class Synapses:
    """The ``E`` directed synapses (chemical and extrasynaptic) and ``P`` pairs with gap junctions of one wiring.

    Attributes:
        owner ``(N,)``: for each neuron, the index of its set of neuronal parameters.
        chemical ``(2, E)``, sign ``(E,)`` (+1, -1, or 0 if unknown), strength ``(E,)``, group ``(E,)``: sources and targets, and the index
            of the weight that a synapse uses.
        gap ``(2, P)``, gap_strength ``(P,)``, gap_group ``(2, P)``: both neurons of a pair, and the indices of the two conductances whose
            mean it uses.
    """

    owner: Tensor
    chemical: Tensor
    sign: Tensor
    strength: Tensor
    group: Tensor
    gap: Tensor
    gap_strength: Tensor
    gap_group: Tensor


def neuron_classes(names: Sequence[str]) -> list[str]:
    """Return the class of each neuron, by its name.

    A final ``L`` or ``R`` is dropped if the neuron of the other side exists (``AVAL``, but not ``AVL``), else the number of a series
    (``VA01``, but not ``M1``).
    """
    known, swap = set(names), {"L": "R", "R": "L"}
    paired = [name[:-1] + swap.get(name[-1:], "?") in known for name in names]
    return [name[:-1] if pair else re.sub(r"(?<=[A-Za-z]{2})\d+$", "", name) for name, pair in zip(names, paired, strict=True)]


def synapses(wiring: Data, share: str, counts: bool, sign: Tensor | None) -> Synapses:
    """Return the synapses of a wiring from :func:`~elegans_pyg.wirings.as_wiring`; without ``sign (E,)``, all signs are unknown."""
    edge_index, edge_type = wiring.edge_index.cpu(), wiring.edge_type.cpu()
    weight = wiring.edge_weight.detach().cpu().double() if counts else torch.ones(edge_type.numel(), dtype=torch.float64)
    sign = (edge_type == CHEMICAL) * (torch.zeros_like(edge_type) if sign is None else sign)
    nodes, electrical = wiring.neuron_type.numel(), edge_type == ELECTRICAL
    chemical, sign, kind = edge_index[:, ~electrical], sign[~electrical], edge_type[~electrical]
    # The given directions of a pair make one gap junction; a neuron has none with itself.
    junction = electrical & (edge_index[0] != edge_index[1])
    gap, gap_weight = coalesce(edge_index[:, junction].sort(dim=0).values, weight[junction], nodes, reduce="mean")
    if share == "edge":
        owner, group, gap_group = torch.arange(nodes), torch.arange(len(sign)), torch.arange(gap.size(1)).expand(2, -1)
    else:
        label: list[str] = {
            "class": lambda: neuron_classes(wiring.neuron_name),
            "type": lambda: list(map(str, wiring.neuron_type.tolist())),
            "global": lambda: [""] * nodes,
        }[share]()
        place = {name: number for number, name in enumerate(sorted(set(label)))}
        owner = torch.tensor([place[name] for name in label])
        group = torch.stack([owner[chemical[0]], kind, sign]).unique(dim=1, return_inverse=True)[1]
        gap_group = owner[gap].unique(return_inverse=True)[1]
    return Synapses(owner, chemical, sign, _scaled(weight[~electrical], nodes), group, gap, _scaled(gap_weight, nodes / 2), gap_group)


def _scaled(weight: Tensor, parts: float) -> Tensor:
    """Scale to a sum of ``parts``, so that a neuron receives 1 in total on average."""
    return weight * (parts / weight.sum()) if len(weight) else weight


def edge_signs(graph: Data) -> Tensor:
    """Return the sign of every edge: ``edge_sign`` if present, else the sign of its source neuron (``inhibitory``).

    Raises:
        ValueError: if neither is present, or it has the wrong shape or values.
    """
    sign, inhibitory, source = graph.get("edge_sign"), graph.get("inhibitory"), graph.edge_index[0].cpu()
    if isinstance(sign, Tensor):
        if sign.shape != source.shape or not bool(torch.isin(sign.cpu(), torch.tensor([-1, 0, 1])).all()):
            got = f"shape {tuple(sign.shape)}, values {sign.unique().tolist()[:4]}"
            raise ValueError(f"batch.edge_sign: expected 1, -1 or 0 for each of {len(source)} edges, got {got}; use datasets.edge_sign")
        return sign.cpu().long()
    if not isinstance(inhibitory, Tensor) or inhibitory.shape != (graph.num_nodes,) or inhibitory.dtype != torch.bool:
        wanted = "expected edge_sign, one number per edge, or inhibitory, one bool per node"
        raise ValueError(f"batch: {wanted}, got neither; add one, or set dale=False")
    return 1 - 2 * inhibitory.cpu()[source].long()
