"""Linear responses of many wirings: against ConnectomeRNN's, alone and side by side, and fits that find what responses were made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch_geometric.data import Data

from elegans_pyg.datasets import Connectome, edge_sign
from elegans_pyg.models import ConnectomeRNN, LinearPropagation
from elegans_pyg.models.linear_propagation import LARGEST_AMPLITUDE, Measured, Stage, fit
from elegans_pyg.transforms import Rewired

STAGES = (Stage("global", 0.0, 20), Stage("class", 0.1, 10), Stage("edge", 0.1, 10))


@pytest.fixture(scope="module")
def larva() -> Data:
    data = Connectome("witvliet2021-1", synapses="both")[0]
    data.edge_sign = edge_sign(data)
    return data


def shaken(model: LinearPropagation, scale: float = 0.5) -> LinearPropagation:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return model


def measured_of(model: LinearPropagation, noise: float = 0.0) -> Measured:
    """What would be measured of all pairs, the 5 % strongest of which respond."""
    nodes = model.num_nodes
    neuron, row = (~torch.eye(nodes, dtype=torch.bool)).nonzero().T
    pairs = Measured(torch.arange(nodes), row, neuron, torch.ones(()), torch.ones(()), torch.ones(()))
    with torch.no_grad():
        response = model.pairs(pairs)[0, 0]
    response = response + noise * response.std() * torch.randn(response.shape, generator=torch.Generator().manual_seed(1))
    responds = response.abs() >= response.abs().quantile(0.95)
    return replace(pairs, responds=responds, amplitude=response, weight=torch.ones_like(response))


def test_it_is_the_linear_response_of_a_recurrent_network(larva: Data) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        model = shaken(LinearPropagation([larva]))
        own, coupling = model.responses(torch.arange(model.num_nodes))[0, 0], model.coupling()[0, 0]
        # The same network: all synapses as chemical ones of weights without a sign rule, around rest at 0, where tanh' is 1.
        target, source = coupling.nonzero().T
        wiring = Data(
            edge_index=torch.stack([source, target]), edge_weight=torch.ones(len(source)), neuron_type=larva.neuron_type,
            neuron_name=larva.neuron_name, num_nodes=model.num_nodes,
        )  # fmt: skip
        network = ConnectomeRNN(wiring, dale=False, counts=False)
        with torch.no_grad():
            strength = network._strength[0]
            network.weight.copy_(coupling[network.edge_index[1], network.edge_index[0]] / strength)
        torch.testing.assert_close(own, network.linear_response()[0])
        torch.testing.assert_close(own.T[:5], torch.linalg.inv(torch.eye(len(own)) - coupling).T[:5])
    finally:
        torch.set_default_dtype(torch.float32)


def test_no_neuron_takes_over_more_than_it_gets(larva: Data) -> None:
    model = LinearPropagation([larva, Rewired(0)(larva)], copies=2)
    into = torch.zeros(model.num_nodes).index_fill_(0, larva.edge_index[1, larva.edge_index[0] != larva.edge_index[1]], 0.5)
    torch.testing.assert_close(model.coupling()[0, 0].sum(1), into)
    # A mean of the partners by synapse count.
    node = int(larva.edge_index[1, 0])
    weights = torch.zeros(model.num_nodes)
    for (source, target), count in zip(larva.edge_index.T.tolist(), larva.edge_weight.tolist(), strict=True):
        if target == node != source:
            weights[source] += count
    torch.testing.assert_close(model.coupling()[0, 1, node], weights / weights.sum() / 2)
    assert bool((shaken(model, 5.0).coupling().abs().sum(-1) < 0.951).all())
    assert bool(model.responses(torch.arange(9)).isfinite().all())


def test_a_gap_junction_has_one_weight_and_groups_follow_signs(larva: Data) -> None:
    model = LinearPropagation([larva])
    number = {
        pair: place
        for place, pair in enumerate(zip(model.source[0].tolist(), model.target[0].tolist(), model.group[0].tolist(), strict=True))
    }
    for (source, target, group), place in number.items():
        sign = larva.edge_sign[((larva.edge_index == torch.tensor([[source], [target]])).all(0)) & (larva.edge_type == int(group == 3))]
        assert sign.tolist() == [{0: 1, 1: -1}.get(group, 0)]
        same = bool(model.slot[0, place] == model.slot[0, number[target, source, group]]) if (target, source, group) in number else False
        assert same == (group == 3)
    assert model.edge.shape[-1] == len(number) - sum(group == 3 for *_, group in number) // 2


def test_variants_and_copies_are_fitted_as_if_alone(larva: Data) -> None:
    graphs = [larva, Rewired(0)(larva), Rewired(1)(larva)]
    measured = measured_of(LinearPropagation([larva]), noise=1.0)
    turn = torch.arange(len(measured.row)) % 3
    train, validation = torch.stack([turn == 0, turn == 1]), torch.stack([turn == 1, turn == 2])
    together = fit(LinearPropagation(graphs, copies=2), measured, train, validation, STAGES)
    alone = fit(LinearPropagation(graphs[1:2], copies=1), measured, train[1:], validation[1:], STAGES)
    for freedom in ("global", "class", "edge"):
        for one, other in zip(together[freedom], alone[freedom], strict=True):
            torch.testing.assert_close(one[1, 1], other[0, 0], rtol=2e-3, atol=2e-3)


def test_every_freedom_fits_better_where_responses_have_it(larva: Data) -> None:
    measured = measured_of(shaken(LinearPropagation([larva]), 0.7))
    turn = torch.arange(len(measured.row)) % 3
    found = fit(LinearPropagation([larva]), measured, (turn == 0)[None], (turn == 1)[None], STAGES)
    held = turn == 2
    # As fits see it, without what is very strong.
    target = (measured.amplitude[held] / measured.amplitude.std()).clamp(-LARGEST_AMPLITUDE, LARGEST_AMPLITUDE)
    r = [float(torch.corrcoef(torch.stack([own.amplitude[0, 0, held], target]))[0, 1]) for own in found.values()]
    assert list(found) == ["global", "class", "edge"]
    assert r[2] > r[1] + 0.01 > r[0] + 0.02


def test_amplitudes_count_by_their_observations(larva: Data) -> None:
    measured = measured_of(LinearPropagation([larva]), noise=1.0)
    turn = torch.arange(len(measured.row)) % 3
    weight, never = (turn > 0).float(), (turn == 0).nonzero().flatten()
    # Amplitudes of pairs that were never observed change places.
    other = measured.amplitude.index_copy(0, never, measured.amplitude[never.flip(0)])
    found = [
        fit(LinearPropagation([larva]), replace(measured, weight=weight, amplitude=own), (turn < 2)[None], (turn == 2)[None], STAGES[:1])
        for own in (measured.amplitude, other)
    ]
    torch.testing.assert_close(*(own["global"].amplitude for own in found), rtol=1e-3, atol=1e-3)


def test_a_stage_that_predicts_the_validation_pairs_worse_is_not_kept(larva: Data) -> None:
    measured = measured_of(shaken(LinearPropagation([larva]), 0.7))
    turn = torch.arange(len(measured.row)) % 2
    # What is validated is the opposite of what is learned.
    opposite = replace(
        measured,
        amplitude=torch.where(turn == 1, -measured.amplitude, measured.amplitude),
        responds=torch.where(turn == 1, ~measured.responds, measured.responds),
    )
    stages = (Stage("global", 0.0, 20), Stage("edge", 0.1, 10))
    for pairs, kept in ((opposite, True), (measured, False)):
        found = fit(LinearPropagation([larva]), pairs, (turn == 0)[None], (turn == 1)[None], stages)
        assert torch.equal(found["edge"].amplitude, found["global"].amplitude) == kept


def test_a_penalty_keeps_weights_near_the_synapse_counts(larva: Data) -> None:
    measured = measured_of(shaken(LinearPropagation([larva])))
    turn = torch.arange(len(measured.row)) % 2
    sizes = []
    for penalty in (0.0, 1e3):
        model = LinearPropagation([larva])
        fit(model, measured, (turn == 0)[None], (turn == 1)[None], (Stage("edge", penalty, 10),))
        sizes.append(float(model.edge.detach().square().mean()))
    assert sizes[1] < sizes[0] / 4


def test_refusals(larva: Data) -> None:
    with pytest.raises(ValueError, match=r"gain: expected a number from 0 to 0\.94, got 0\.95"):
        LinearPropagation([larva], gain=0.95)
    with pytest.raises(ValueError, match="graphs: expected the same neurons"):
        LinearPropagation([larva, Connectome("witvliet2021-2")[0]])
