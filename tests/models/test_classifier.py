"""ConnectomeClassifier against the same layers built from torch.nn, one variant at a time."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch

from elegans_pyg.models import ConnectomeClassifier
from tests.dags import random_dag
from tests.nn.dag.per_node_loop import PerNodeLoop

DAGS = [random_dag(1, 7, 0.5), random_dag(2, 4, 0.6), random_dag(3, 9, 0.3, share_of_inputs=0.5)]


def separate_layers(model: ConnectomeClassifier, variant: int) -> nn.Module:
    """Variant ``variant`` of ``model`` from ordinary torch.nn layers."""
    state = model.variant_state_dict(variant)
    channels = model.dag.channels
    source = nn.Conv2d(model.in_channels, channels, 3, stride=2, padding=1)
    sink = nn.Conv2d(channels, channels, 1)
    linear = nn.Linear(channels, model.num_classes)
    for name, layer in (("source", source), ("sink", sink), ("linear", linear)):
        layer.load_state_dict({key: state[f"{name}.{key}"][0] for key in ("weight", "bias")})
    alone = ConnectomeClassifier(DAGS[variant], model.in_channels, model.num_classes, channels)
    alone.load_state_dict(state)
    loop = PerNodeLoop(DAGS[variant], channels).load_from(alone.dag)

    class Separate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([source, loop, sink, linear])

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = sink(loop(source(images).unsqueeze(0))[0])
            return linear(maps.mean((-2, -1)))

    return Separate()


@pytest.mark.parametrize("shared", [True, False])
def test_each_variant_equals_separate_layers(shared):
    with torch.random.fork_rng(devices=[]):
        torch.set_default_dtype(torch.float64)
        try:
            model = ConnectomeClassifier(Batch.from_data_list(DAGS), in_channels=2, num_classes=4, channels=3, seeds=[5, 9, 2])
            images = torch.randn(3, 6, 2, 9, 8, generator=torch.Generator().manual_seed(0))
            separate = [separate_layers(model, v) for v in range(3)]
            logits = model(images[0] if shared else images)
            for v in range(3):
                torch.testing.assert_close(logits[v], separate[v](images[0 if shared else v]), rtol=1e-9, atol=1e-9)
        finally:
            torch.set_default_dtype(torch.float32)


def test_a_variant_starts_the_same_alone_and_in_company():
    together = ConnectomeClassifier(Batch.from_data_list(DAGS), 1, 10, channels=4, seeds=[5, 9, 2])
    alone = ConnectomeClassifier(DAGS[1], 1, 10, channels=4, seeds=9)
    for name, tensor in together.variant_state_dict(1).items():
        assert torch.equal(tensor, alone.state_dict()[name]), name


def test_different_seeds_differ():
    first, second = (ConnectomeClassifier(DAGS[0], 1, 10, channels=4, seeds=seed).state_dict() for seed in (0, 1))
    for name in ("source.weight", "dag.conv_weight", "linear.weight", "sink.bias"):
        assert not torch.equal(first[name], second[name]), name


def test_parameter_counts_add_up():
    model = ConnectomeClassifier(Batch.from_data_list(DAGS), 1, 10, channels=4)
    assert sum(model.parameters_per_variant()) == sum(p.numel() for p in model.parameters())
    nodes, edges = DAGS[2].num_nodes, DAGS[2].num_edges
    outer = (4 * 9 + 4) + (4 * 4 + 4) + (10 * 4 + 10)
    assert model.parameters_per_variant(norm=False)[2] == outer + nodes * 4 * 9 + edges
    assert model.parameters_per_variant()[2] == outer + nodes * 4 * 11 + edges


def test_bad_input_is_refused():
    model = ConnectomeClassifier(Batch.from_data_list(DAGS), 1, 10, channels=4)
    with pytest.raises(ValueError, match=r"images: expected \(B, 1, H, W\), or \(3, B, 1, H, W\), got \(2, 3, 8, 8\)"):
        model(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"images: expected .* got \(2, 5, 1, 8, 8\)"):
        model(torch.zeros(2, 5, 1, 8, 8))
    with pytest.raises(ValueError, match="seeds must hold one integer for each of the 3 variants, got 2"):
        ConnectomeClassifier(Batch.from_data_list(DAGS), 1, 10, channels=4, seeds=[1, 2])
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        ConnectomeClassifier(DAGS[0], 1, 1)
    with pytest.raises(ValueError, match="in_channels must be at least 1, got 0"):
        ConnectomeClassifier(DAGS[0], 0, 10)
    with pytest.raises(ValueError, match=r"variant: expected 0 to 2, got 3"):
        model.variant_state_dict(3)
