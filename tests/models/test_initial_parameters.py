"""Initial parameters: their distributions are those that the docstrings state."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch_geometric.data import Data

from elegans_pyg.datasets import Connectome
from elegans_pyg.models import ConnectomeClassifier, ConnectomeRNN, ReducedOrder, Reservoir
from elegans_pyg.nn import TensorNetwork
from elegans_pyg.transforms import ConstrainedDAG
from elegans_pyg.wirings import MOTOR, SENSORY


@pytest.fixture(scope="module")
def wiring() -> Data:
    return Connectome("witvliet2021-1")[0]


def assert_uniform(values: Tensor, low: float, high: float) -> None:
    numbers = values.detach().double().flatten()
    assert low - 1e-6 <= float(numbers.min())
    assert float(numbers.max()) <= high + 1e-6
    # Of so many numbers the largest distance of the distributions is at most this, but for one seed in a million.
    assert stats.kstest(numbers, stats.uniform(low, high - low).cdf).statistic < 2.7 / math.sqrt(len(numbers))


def test_classifiers_start_as_the_layers_of_pytorch(wiring: Data) -> None:
    net = ConnectomeClassifier(ConstrainedDAG()(wiring), 3, 10, 40, kernel_size=5)
    for layer, fan_in in ((net.source, 27), (net.sink, 40), (net.linear, 40)):
        for parameter in (layer.weight, layer.bias):
            assert_uniform(parameter, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
    assert_uniform(net.dag.conv_weight, -1 / 5, 1 / 5)


def test_tensor_networks_start_as_linear_layers(wiring: Data) -> None:
    net = TensorNetwork(wiring, 16)
    assert net.attention is not None
    for parameter in (net.unit_weight, net.unit_bias, net.attention.weight):
        assert_uniform(parameter, -1 / 4, 1 / 4)


def test_reservoirs_have_weights_within_their_scales(wiring: Data) -> None:
    reservoir = Reservoir(wiring, 8, input_scale=0.3, bias_scale=0.7)
    assert_uniform(reservoir.input_weight, -0.3, 0.3)
    assert_uniform(reservoir.bias, -0.7, 0.7)


def test_recurrent_connectomes_start_within_half_of_the_gain() -> None:
    wiring = Connectome("cook2019-hermaphrodite", synapses="both")[0]
    signed, free = (ConnectomeRNN(wiring, 9, 5, gain=0.8, tau=3.0, dale=dale) for dale in (True, False))
    for positive in (signed.weight, signed.gap):
        assert_uniform(torch.nn.functional.softplus(positive), 0.4, 1.2)
    assert_uniform(free.weight, -0.8, 0.8)
    assert_uniform(signed.input_weight, -1 / 3, 1 / 3)
    read = 1 / math.sqrt(int((wiring.neuron_type == MOTOR).sum()))
    assert_uniform(signed.readout_weight, -read, read)
    assert signed.input_weight.numel() == 9 * int((wiring.neuron_type == SENSORY).sum())
    torch.testing.assert_close(signed.log_tau.exp(), torch.full_like(signed.log_tau, 3.0))


def test_reduced_order_models_start_as_in_keras() -> None:
    net = ReducedOrder("lstm", 30, 20, 8)
    weight, recurrent = net.weight[0, :, :30], net.weight[0, :, 30:].double()
    assert_uniform(weight, -math.sqrt(6 / (30 + 32)), math.sqrt(6 / (30 + 32)))
    assert_uniform(net.readout, -math.sqrt(6 / (8 + 20)), math.sqrt(6 / (8 + 20)))
    torch.testing.assert_close(recurrent.T @ recurrent, torch.eye(8, dtype=torch.float64), atol=1e-6, rtol=0)
    assert net.bias[0].tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    # Uniform over the orthogonal matrices: a sign of the QR decomposition would make the first entry of each column negative.
    first = [ReducedOrder("rnn", 1, 1, 2, seeds=seed).weight[0, 0, 1].item() for seed in range(40)]
    assert 8 < sum(entry > 0 for entry in first) < 32
