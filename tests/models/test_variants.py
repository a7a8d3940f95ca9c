"""Ensembles of ordinary modules: each copy is the module alone, whatever stands beside it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from elegans_pyg.models import DenseNetwork, ElegansM1, SideBySide
from elegans_pyg.models.variants import Copies, seeded
from tests.models.wirings import network


def block() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ELU(), nn.Flatten(), nn.Linear(75, 4), nn.LayerNorm(4))


def make(seed: int) -> nn.Module:
    return seeded(block, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shared", [False, True])
def test_copies_are_the_modules_one_by_one(shared: bool) -> None:
    alone = [make(seed).double() for seed in range(3)]
    together = Copies([copy.deepcopy(module) for module in alone]).double()
    x = torch.randn(7, 2, 5, 5, dtype=torch.float64) if shared else torch.randn(3, 7, 2, 5, 5, dtype=torch.float64)
    x.requires_grad_()
    outputs = together(x, shared=shared)
    outputs.square().sum().backward()
    grad, x.grad = x.grad, None
    expected = torch.stack([module(x if shared else x[v]) for v, module in enumerate(alone)])
    expected.square().sum().backward()
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(grad, x.grad)
    for v, module in enumerate(alone):
        own = {name.removeprefix("stacked."): tensor for name, tensor in together.variant_state_dict(v).items()}
        for name, tensor in module.state_dict().items():
            # Running statistics and the count of batches too, which the forward pass updates in place.
            torch.testing.assert_close(own[name].squeeze(0), tensor)
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(together.get_parameter(f"stacked.{name}").grad[v], parameter.grad)
    together.eval()
    torch.testing.assert_close(together(x, shared=shared)[1], alone[1].eval()(x if shared else x[1]))


def test_first_parameters_are_a_seeds_own_and_leave_the_global_state() -> None:
    before = torch.get_rng_state()
    one, other, again = make(1), make(2), make(1)
    assert torch.equal(torch.get_rng_state(), before)
    for (name, tensor), same in zip(one.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(tensor, same), name
    assert not torch.equal(one[0].weight, other[0].weight)
    bound = 1 / (2 * 9) ** 0.5
    assert one[0].weight.abs().max() <= bound
    assert one[0].weight.abs().max() > 0.8 * bound
    assert one[0].bias.abs().max() <= bound
    assert torch.equal(one[1].running_var, torch.ones(3))
    assert torch.equal(one[5].weight, torch.ones(4))
    with pytest.raises(TypeError, match="expected linear layers, convolutions and normalisations, got a LSTM"):
        seeded(lambda: nn.LSTM(2, 2), torch.Generator())


def test_copies_refuse_strangers() -> None:
    with pytest.raises(ValueError, match="copies: expected at least one module, got none"):
        Copies([])
    with pytest.raises(ValueError, match="expected modules of one architecture"):
        Copies([nn.Linear(2, 3), nn.Linear(2, 4)])
    for shape in ((3, 5, 2), (5, 2)):
        with pytest.raises(ValueError, match=r"x: expected \(2, B, ...\), one part per variant, got"):
            Copies([nn.Linear(2, 3), nn.Linear(2, 3)])(torch.rand(shape))


@pytest.mark.parametrize("shared", [False, True])
def test_side_by_side_is_each_model_alone(shared: bool) -> None:
    def models() -> list[ElegansM1]:
        options = {"encoder_channels": (2, 3, 3, 4), "in_channels": 1, "image_size": (8, 8)}
        return [
            ElegansM1(network([3, 4]), 5, seeds=[3, 4], **options),
            ElegansM1(DenseNetwork(6, 3_000, 1, [7]), 5, seeds=[7], **options),
            ElegansM1(None, 5, num_variants=2, seeds=[8, 9], **options),
        ]

    together, alone = SideBySide(models()), models()
    images = torch.rand(4, 1, 8, 8) if shared else torch.rand(5, 4, 1, 8, 8)
    parts = [images] * 3 if shared else images.split([2, 1, 2])
    outputs = together(images)
    assert outputs.shape == (5, 4, 5)
    torch.testing.assert_close(outputs, torch.cat([model(part) for model, part in zip(alone, parts, strict=True)]))
    counts = [count for model in alone for count in model.parameters_per_variant()]
    assert together.parameters_per_variant() == counts
    assert sum(counts) == sum(parameter.numel() for parameter in together.parameters())
    # Of every entry, the rows of a variant are those of its own model, and nobody else's.
    pointers = together.variant_ptr()
    for name, tensor in together.state_dict().items():
        own = [after - before for before, after in zip(pointers[name], pointers[name][1:], strict=False)]
        number = int(name.split(".")[1])
        assert sum(own) == len(tensor)
        assert {v for v, count in enumerate(own) if count} <= [{0, 1}, {2}, {3, 4}][number]
    for number in (-1, 5):
        with pytest.raises(ValueError, match=f"variant: expected 0 to 4, got {number}"):
            together.variant_state_dict(number)
    with pytest.raises(ValueError, match="models: expected at least one, got none"):
        SideBySide([])
