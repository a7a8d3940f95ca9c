"""M2: the published sizes, variants that share nothing, and what the echo version trains."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from elegans_pyg.datasets import load_images
from elegans_pyg.models import DenseNetwork, ElegansM2
from elegans_pyg.training import Autoencoding, FitSettings, fit
from tests.models.wirings import network


class Passing(torch.nn.Module):
    """Stands for a network without parameters."""

    num_variants, width, out_features = 1, 784, 784

    def variant_ptr(self) -> dict[str, list[int]]:
        return {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(x)


def test_published_sizes() -> None:
    model = ElegansM2(Passing())
    shapes = {name: tuple(parameter.shape[1:]) for name, parameter in model.named_parameters() if parameter.dim() > 2}
    kernels = [(240, 1, 3, 3), (120, 240, 3, 3), (120, 120, 3, 3), (784, 120 * 7 * 7)]
    layers = [(784, 784), (512, 784), (256, 512), (128, 256)]
    back = [(120, 8, 3, 3), (120, 120, 3, 3), (240, 120, 3, 3), (1, 240, 3, 3)]
    assert list(shapes.values()) == [*kernels, *layers, *back]
    images = (torch.rand(3, 1, 28, 28) > 0.8).float()
    assert model(images).shape == (1, 3, 1, 28, 28)
    assert model.encode(images).shape == (1, 3, 128)


def test_the_join_is_the_product_with_the_networks_input() -> None:
    class Doubling(Passing):
        width = out_features = 16

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    model = ElegansM2(Doubling(), image_size=(8, 8)).eval()
    images = (torch.rand(3, 1, 8, 8) > 0.5).float()
    x = model.encoder(images, shared=True)
    torch.testing.assert_close(x.mean(-1), torch.zeros(1, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(model.encode(images), model.bottleneck(2 * x * x))
    torch.testing.assert_close(model(images), model.decoder(model.encode(images)))


@pytest.mark.parametrize("data_order", ["shared", "variant"])
def test_variants_train_together_as_they_do_alone(data_order: str) -> None:
    images = load_images("digits")
    config = FitSettings(
        iterations=6, batch_size=10, precision="float64", data_order=data_order, eval_every=3, clip_norm=0.5, select="best"
    )
    table = pd.DataFrame({"variant": range(3), "family": list("abc"), "wiring_seed": 0, "seed": [3, 8, 4]})

    def train(which: list[int]) -> ElegansM2:
        seeds = [table["seed"][v] for v in which]
        model = ElegansM2(network(seeds), image_size=(8, 8), seeds=seeds)
        rows = table.iloc[which].assign(variant=range(len(which)))
        fit(model, images, config, objective=Autoencoding(), variants=rows, quiet=True)
        return model

    together = train([0, 1, 2])
    for v in range(3):
        for name, tensor in train([v]).state_dict().items():
            torch.testing.assert_close(together.variant_state_dict(v)[name], tensor, rtol=0, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


def test_echo_trains_code_and_decoder_alone() -> None:
    model = ElegansM2(network([1, 2], freeze=True), image_size=(8, 8), echo=True, seeds=[1, 2])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = FitSettings(iterations=3, batch_size=20, eval_every=3)
    fit(model, load_images("digits"), config, objective=Autoencoding(), quiet=True)
    changed = {name.split(".")[0] for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"bottleneck", "decoder"}
    trained, everything = model.parameters_per_variant(trainable=True), model.parameters_per_variant()
    frozen = sum(part[0].numel() for part in (*model.encoder.parameters(),)) + model.network.parameters_per_variant()[0]
    assert everything[0] - trained[0] == frozen


def test_a_frozen_network_lets_everything_around_it_learn() -> None:
    model = ElegansM2(network([1, 2], freeze=True), image_size=(8, 8))
    model((torch.rand(5, 1, 8, 8) > 0.5).float()).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith("network."), name


def test_one_code_for_every_variant_and_image_of_its_own() -> None:
    model = ElegansM2(DenseNetwork(6, 3_000, 2), image_size=(8, 8)).eval()
    images = (torch.rand(2, 5, 1, 8, 8) > 0.5).float()
    separate, shared = model(images), [model(part) for part in images]
    for v in range(2):
        torch.testing.assert_close(separate[v], shared[v][v])


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"network: expected as many outputs as inputs \(6\) .* got 24; use readout 'attention'"):
        ElegansM2(network([1], readout="concat"))
    with pytest.raises(ValueError, match="image_size: expected at least 8x8 pixels, got 6x9"):
        ElegansM2(network([1]), image_size=(6, 9))
    with pytest.raises(ValueError, match="echo: expected a frozen network, got one with trainable parameters; build it with freeze=True"):
        ElegansM2(network([1]), echo=True)
    model = ElegansM2(network([1, 2]), image_size=(8, 8))
    with pytest.raises(ValueError, match=r"images: expected \(B, 1, 8, 8\), or \(2, B, 1, 8, 8\), got \(3, 4, 1, 8, 8\)"):
        model(torch.zeros(3, 4, 1, 8, 8))
    with pytest.raises(ValueError, match="variant: expected 0 to 1, got 2"):
        model.variant_state_dict(2)
