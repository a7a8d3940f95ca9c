"""Signal propagation through wirings at rest: linear responses of many wirings side by side, fitted to measured ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.rnn import pad_sequence
from torch_geometric.data import Data

from elegans_pyg._arguments import check_number
from elegans_pyg.nn.recurrent.sharing import neuron_classes
from elegans_pyg.wirings import CHEMICAL, ELECTRICAL, as_wiring

LARGEST_GAIN = 0.95
"""Bound of the gains, below 1 so that every wiring has a steady response for any parameters."""
FREEDOMS = ("global", "class", "edge")
"""What has parameters of its own, in the order of the fit; each stage also keeps fitting the parameters of the stages before."""
LARGEST_AMPLITUDE = 4.0
"""Measured amplitudes are clipped to this many standard deviations."""
_FLOOR, _RATE = 1e-3, 0.05
_GROUPS = 5


class Predictions(NamedTuple):
    """Predictions ``(V, F, P)`` of each copy of each wiring for ``P`` pairs: the log odds of a response, and its amplitude."""

    log_odds: Tensor
    amplitude: Tensor


@dataclass(frozen=True)
class Measured:
    """Measured responses of ``P`` pairs of neurons.

    Attributes:
        stimulated ``(S,)``: node ids of the stimulated neurons.
        row ``(P,)``, neuron ``(P,)``: of each pair, the position of the stimulated neuron in these, and the node id of the responding one.
        responds ``(P,)`` bool, amplitude ``(P,)``, weight ``(P,)``: whether it responds, how strongly, and the number of observations.
    """

    stimulated: Tensor
    row: Tensor
    neuron: Tensor
    responds: Tensor
    amplitude: Tensor
    weight: Tensor


class LinearPropagation(nn.Module):
    r"""Linear responses of ``V`` wirings, each with ``F`` independent sets of parameters.

    In the steady state a neuron's activity is its input plus a weighted mean of its partners' activities, times a gain:

    .. math::
        v_i = u_i + \sum_{e: j \to i} g_e\, p_e\, v_j, \qquad
        p_e = \frac{n_e \exp(a_{c(j)} + \theta_e)}{\sum_{e' \to i} n_{e'} \exp(a_{c(j')} + \theta_{e'})}, \qquad
        g_e = 0.95 \tanh(\gamma_{k(e)} + b_{c(i)})

    with synapse counts :math:`n`, classes of neurons :math:`c`, and five kinds :math:`k`: chemical synapses predicted to excite, to
    inhibit, or neither; gap junctions; extrasynaptic signalling. It is the linear response of a
    :class:`~elegans_pyg.models.ConnectomeRNN` with these weights. With :math:`M` the matrix of :math:`g_e p_e`, the response to a steady
    input to neuron :math:`j` is column :math:`j` of :math:`R = (I - M)^{-1}`, which exists for any parameters, because no row of
    :math:`|M|` sums to more than 0.95. Neuron :math:`i` responds to :math:`j` with log odds :math:`\alpha + \beta \log(|R_{ij}| + 10^{-3})
    + o_{c(i)}` and amplitude :math:`\eta + \zeta R_{ij} + s_{c(i)}`.

    Initially :math:`a, b, \theta, o, s` are 0 and all gains are ``gain``. Self-loops are left out.

    Args:
        graphs: ``V`` wirings of the same neurons in the same order, as for :func:`~elegans_pyg.wirings.as_wiring`; ``edge_sign``, if
            present, distinguishes chemical synapses, see :func:`~elegans_pyg.datasets.edge_sign`.
        copies: number of parameter sets per wiring, ``F``.
        gain: initial gain of all synapses, from 0 to 0.94.

    Shapes:
        - **parameters:** ``gain (V, F, 5)``, ``read (V, F, 4)`` (:math:`\alpha, \beta, \eta, \zeta`), ``classes (V, F, 4, C)``
          (:math:`a, b, o, s`), ``edge (V, F, Q)``, one per synapse or gap junction

    Raises:
        TypeError, ValueError: as for :func:`~elegans_pyg.wirings.as_wiring`; for wirings of different neurons, or a gain out of range.
    """

    source: Tensor
    target: Tensor
    count: Tensor
    group: Tensor
    slot: Tensor
    owner: Tensor

    def __init__(self, graphs: Sequence[Data], copies: int = 1, gain: float = 0.5) -> None:
        super().__init__()
        gain = check_number("gain", gain, high=LARGEST_GAIN - 0.01)
        names = as_wiring(graphs[0], "graphs").neuron_name
        if any(as_wiring(graph, "graphs").neuron_name != names for graph in graphs[1:]):
            raise ValueError("graphs: expected the same neurons in the same order, got different ones; give rewired versions of one wiring")
        label = neuron_classes(names)
        place = {name: number for number, name in enumerate(sorted(set(label)))}
        tables = [_links(graph) for graph in graphs]
        # Wirings with fewer edges are padded with edges of count 0.
        joined = {name: pad_sequence([table[name] for table in tables], batch_first=True) for name in tables[0]}
        joined["owner"] = torch.tensor([place[name] for name in label])
        joined["count"] = joined["count"].to(torch.get_default_dtype())
        for name, table in joined.items():
            self.register_buffer(name, table, persistent=False)
        self.num_nodes, leading = len(names), (len(graphs), copies)
        self.gain = nn.Parameter(torch.full((*leading, _GROUPS), math.atanh(gain / LARGEST_GAIN)))
        self.read = nn.Parameter(torch.zeros(*leading, 4))
        self.classes = nn.Parameter(torch.zeros(*leading, 4, len(place)))
        self.edge = nn.Parameter(torch.zeros(*leading, int(joined["slot"].max()) + 1 if joined["slot"].numel() else 0))

    def coupling(self) -> Tensor:
        """Compute :math:`M`, ``(V, F, N, N)``, target by source."""
        size, (source, target, group, slot) = self.num_nodes, (self._spread(name) for name in ("source", "target", "group", "slot"))
        out, into = self.classes[:, :, 0], self.classes[:, :, 1]
        strength = self.count[:, None] * torch.exp(out.gather(-1, self.owner[source]) + self.edge.gather(-1, slot))
        total = strength.new_zeros(*strength.shape[:2], size).scatter_add(-1, target, strength)
        gain = LARGEST_GAIN * torch.tanh(self.gain.gather(-1, group) + into.gather(-1, self.owner[target]))
        share = strength / total.gather(-1, target).clamp(min=torch.finfo(total.dtype).tiny)
        matrix = share.new_zeros(*share.shape[:2], size * size).scatter_add(-1, target * size + source, gain * share)
        return matrix.unflatten(-1, (size, size))

    def responses(self, stimulated: Tensor) -> Tensor:
        """Compute the columns of :math:`R` of these neurons, ``(V, F, N, S)``."""
        one = torch.eye(self.num_nodes, dtype=self.gain.dtype, device=self.gain.device)
        return torch.linalg.solve(one - self.coupling(), one[:, stimulated])

    def forward(self, measured: Measured) -> Predictions:
        """Compute predictions of these pairs."""
        response = self.pairs(measured)
        alpha, beta, eta, zeta = self.read[..., None].unbind(-2)
        odds, strength = self.classes[:, :, 2:, self.owner[measured.neuron]].unbind(2)
        return Predictions(alpha + beta * torch.log(response.abs() + _FLOOR) + odds, eta + zeta * response + strength)

    def pairs(self, measured: Measured) -> Tensor:
        """Compute :math:`R_{ij}` of these pairs, ``(V, F, P)``."""
        place = measured.neuron * len(measured.stimulated) + measured.row
        return self.responses(measured.stimulated).flatten(-2)[..., place]

    def _spread(self, name: str) -> Tensor:
        """Expand a table of edges ``(V, E)`` to every copy, ``(V, F, E)``."""
        return getattr(self, name)[:, None].expand(-1, self.gain.size(1), -1)


def _links(graph: Data) -> dict[str, Tensor]:
    """Return the edges of one wiring without self-loops, ``(E,)`` each: ends, synapse counts, the kind that has a gain, and the index of
    the weight, which both directions of a gap junction share."""
    wiring, sign = as_wiring(graph, "graphs"), graph.get("edge_sign")
    (source, target), kind = wiring.edge_index, wiring.edge_type
    # Excitatory, inhibitory, neither; gap junction; extrasynaptic.
    group = torch.where(kind == CHEMICAL, 2, torch.where(kind == ELECTRICAL, 3, 4))
    if isinstance(sign, Tensor):
        group = torch.where((kind == CHEMICAL) & (sign != 0), (sign < 0).long(), group)
    kept = source != target
    ends = wiring.edge_index[:, kept]
    ends = torch.where(kind[kept] == ELECTRICAL, ends.sort(dim=0).values, ends)
    slot = ((kind[kept] * wiring.num_nodes + ends[0]) * wiring.num_nodes + ends[1]).unique(return_inverse=True)[1]
    return {"source": source[kept], "target": target[kept], "count": wiring.edge_weight[kept], "group": group[kept], "slot": slot}


class Stage(NamedTuple):
    """A stage of the fit: what has parameters of its own (:data:`FREEDOMS`), the penalty on them, and the number of steps."""

    freedom: str
    penalty: float
    steps: int


def fit(
    model: LinearPropagation, measured: Measured, train: Tensor, validation: Tensor, stages: Sequence[Stage]
) -> Mapping[str, Predictions]:
    r"""Fit every copy of every wiring to its own training pairs, all side by side, and predict all pairs.

    The loss is the cross-entropy of the response plus the squared error of the amplitude (weighted by the number of observations), each
    relative to that of a prediction by the mean. With a penalty, its strength times the mean square of the parameters of classes and of
    edges is added, which keeps edge weights near the synapse counts and classes near the common values. Adam runs the stages one after the
    other, each from the end of the last. The predictions of a freedom are those of the stage with the smallest validation loss, among its
    own and the earlier ones.

    Args:
        model: a model with ``F`` copies, which is trained in place.
        measured: the pairs.
        train, validation: ``(F, P)`` bool, the pairs of each copy.
        stages: in the order of :data:`FREEDOMS`.

    Returns:
        The predictions of all pairs, by freedom.
    """
    parts = {"global": [model.gain, model.read], "class": [model.classes], "edge": [model.edge]}
    # Some responses are 20 standard deviations strong, and would dominate the loss.
    target = (measured.amplitude / measured.amplitude.std()).clamp(-LARGEST_AMPLITUDE, LARGEST_AMPLITUDE)
    base = _baseline(measured, target, train)

    def loss_on(mask: Tensor) -> Callable[[Predictions], Tensor]:
        unit = _losses(base, measured, target, mask)
        return lambda predicted: (_losses(predicted, measured, target, mask) / unit).sum(0)

    train_loss, validation_loss = loss_on(train), loss_on(validation)
    _start(model, measured, target, train)
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    with torch.no_grad():
        kept = model(measured)
    least, found = torch.full(kept.log_odds.shape[:2], math.inf), dict[str, Predictions]()
    for freedom, penalty, steps in stages:
        learnt = FREEDOMS[: FREEDOMS.index(freedom) + 1]
        for name, tensors in parts.items():
            for tensor in tensors:
                tensor.requires_grad_(name in learnt)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = train_loss(model(measured))
            for tensor in (model.classes, model.edge) if penalty else ():
                loss = loss + penalty * tensor.square().flatten(2).mean(-1)
            loss.sum().backward()
            optimizer.step()
        with torch.no_grad():
            predicted = model(measured)
            loss = validation_loss(predicted)
        better = (loss < least)[..., None]
        least = torch.minimum(loss, least)
        kept = Predictions(*(torch.where(better, new, old) for new, old in zip(predicted, kept, strict=True)))
        found[freedom] = kept
    return found


def _losses(predicted: Predictions, measured: Measured, target: Tensor, mask: Tensor) -> Tensor:
    """Compute cross-entropy and weighted squared error over the pairs of each copy, ``(2, V, F)``."""
    responds = measured.responds.to(predicted.log_odds).expand_as(predicted.log_odds)
    entropy = binary_cross_entropy_with_logits(predicted.log_odds, responds, reduction="none")
    weight = mask * measured.weight
    error = (predicted.amplitude - target).square()
    return torch.stack([(entropy * mask).sum(-1) / mask.sum(-1), (error * weight).sum(-1) / weight.sum(-1)])


def _baseline(measured: Measured, target: Tensor, train: Tensor) -> Predictions:
    """Predict all pairs by the response rate and the mean amplitude of the training pairs of each copy, ``(1, F, P)``."""
    weight = train * measured.weight
    rate = (train * measured.responds).sum(-1, keepdim=True) / train.sum(-1, keepdim=True)
    mean = (weight * target).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True)
    return Predictions(torch.logit(rate.to(target), eps=1e-4).expand(train.shape)[None], mean.expand(train.shape)[None])


@torch.no_grad()
def _start(model: LinearPropagation, measured: Measured, target: Tensor, train: Tensor) -> None:
    """Initialise the readout: log odds rise by one half per unit of the logarithm, amplitudes are regressed on responses."""
    response, base = model.pairs(measured), _baseline(measured, target, train)
    weight = train * measured.weight
    weight = weight / weight.sum(-1, keepdim=True)
    mean = (weight * response).sum(-1)
    centred = response - mean[..., None]
    slope = (weight * centred * target).sum(-1) / (weight * centred.square()).sum(-1).clamp(min=1e-12)
    logarithm = (train * torch.log(response.abs() + _FLOOR)).sum(-1) / train.sum(-1)
    alpha, eta = base.log_odds[..., 0] - logarithm / 2, base.amplitude[..., 0] - slope * mean
    model.read.copy_(torch.stack([alpha, torch.full_like(alpha, 0.5), eta, slope], dim=-1))
