"""M1: its heads, its reservoir, its encoders, and variants that share nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from elegans_pyg.datasets.images import ImageData
from elegans_pyg.models import DenseNetwork, ElegansM1
from elegans_pyg.models.encoders import ResNet9, make_encoders
from elegans_pyg.training import FitSettings, fit
from tests.models.wirings import network

SMALL = {"encoder_channels": (2, 3, 4, 5), "image_size": (8, 8)}


def make_images(count: int = 60) -> ImageData:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 4
    return ImageData("noise", pixels, labels, pixels[:12], labels[:12], list("abcd"))


def test_resnet9_against_its_equation() -> None:
    """Layer by layer with torch.nn.functional, from the same parameters."""
    net = ResNet9(3, (4, 6, 8, 10)).eval()
    assert sum(parameter.numel() for parameter in ResNet9().parameters()) == 6_568_000

    def block(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        convolution, norm, _ = part
        x = nn.functional.conv2d(x, convolution.weight, padding=1)
        return nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias).clamp(min=0)

    images = torch.randn(2, 3, 16, 16)
    x = nn.functional.max_pool2d(block(net.start[1], block(net.start[0], images)), 2)
    x = x + block(net.second[1], block(net.second[0], x))
    x = nn.functional.max_pool2d(block(net.middle[0], x), 2)
    x = nn.functional.max_pool2d(block(net.middle[2], x), 2)
    x = x + block(net.last[1], block(net.last[0], x))
    torch.testing.assert_close(net(images), x.flatten(2).max(dim=2).values)


@pytest.mark.parametrize("head", ["wired", "reservoir", "dense", "bare"])
def test_variants_train_together_as_they_do_alone(head: str) -> None:
    config = FitSettings(iterations=5, batch_size=10, precision="float64", eval_every=5, augment="crop_flip_cutout", weight_decay=0.1)
    table = pd.DataFrame({"variant": range(2), "family": list("ab"), "wiring_seed": 0, "seed": [3, 8]})

    def train(which: list[int]) -> ElegansM1:
        seeds = [table["seed"][v] for v in which]
        middle = None
        if head == "dense":
            middle = DenseNetwork(6, 3_000, len(seeds), seeds)
        elif head != "bare":
            middle = network(seeds, freeze=head == "reservoir")
        model = ElegansM1(middle, 4, seeds=seeds, num_variants=len(seeds), **SMALL)
        fit(model, make_images(), config, variants=table.iloc[which].assign(variant=range(len(which))), quiet=True)
        return model

    together = train([0, 1])
    for v in range(2):
        for name, tensor in train([v]).state_dict().items():
            torch.testing.assert_close(together.variant_state_dict(v)[name], tensor, rtol=0, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


def test_a_reservoir_is_left_as_it_is_and_its_encoder_learns() -> None:
    model = ElegansM1(network([1, 2], freeze=True), 4, seeds=[1, 2], **SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit(model, make_images(), FitSettings(iterations=2, batch_size=20, eval_every=2), quiet=True)
    changed = {name.split(".")[0] for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"encoder", "latent", "linear"}


def test_refusals() -> None:
    with pytest.raises(ValueError, match="num_classes: expected at least 2, got 1"):
        ElegansM1(network([1]), 1)
    with pytest.raises(ValueError, match="num_variants: expected at least 1 without a network, got None"):
        ElegansM1(None, 4)
    with pytest.raises(ValueError, match="num_variants: the network has 2, got 3; leave it out"):
        ElegansM1(network([1, 2]), 4, num_variants=3)
    with pytest.raises(ValueError, match=r"channels: expected four widths of at least 1, got \(1, 2\)"):
        ElegansM1(network([1]), 4, encoder_channels=(1, 2))
    with pytest.raises(ValueError, match="image_size: 'resnet9' expects at least 8x8 pixels, got 6x9"):
        ElegansM1(None, 4, num_variants=1, image_size=(6, 9))
    with pytest.raises(ValueError, match=r"weights: 'resnet9' is trained from scratch, got w.safetensors"):
        ElegansM1(network([1]), 4, weights="w.safetensors")
    with pytest.raises(ValueError, match=r"images: expected \(B, 3, H, W\), or \(1, B, 3, H, W\), got \(2, 1, 8, 8\)"):
        ElegansM1(network([1]), 4, **SMALL)(torch.zeros(2, 1, 8, 8))


def test_timm_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"the encoder 'resnet18' needs 'timm', .* pip install 'elegans-pyg\[timm\]'"):
        ElegansM1(network([1]), 4, encoder="resnet18")


class TestTimm:
    """With timm itself, where it is installed."""

    @pytest.fixture(autouse=True)
    def _timm(self) -> None:
        pytest.importorskip("timm", reason="timm is not installed (extra timm)")

    def test_encoders_start_from_their_seeds_and_leave_the_global_state(self) -> None:
        before = torch.get_rng_state()
        together, features = make_encoders("resnet18", 3, [4, 9], image_size=(32, 32))
        assert torch.equal(torch.get_rng_state(), before)
        assert features == 512
        alone, _ = make_encoders("resnet18", 3, [9])
        for name, tensor in alone.state_dict().items():
            assert torch.equal(together.state_dict()[name][1:], tensor), name
        assert together(torch.rand(2, 3, 32, 32), shared=True).shape == (2, 2, 512)

    def test_local_weights_are_loaded_and_checked(self, tmp_path: Path) -> None:
        source, _ = make_encoders("resnet18", 3, [1])
        state = {name.removeprefix("stacked."): tensor[0].clone() for name, tensor in source.state_dict().items()}
        save_file(state, tmp_path / "w.safetensors")
        loaded, _ = make_encoders("resnet18", 3, [5, 6], weights=tmp_path / "w.safetensors")
        for v in range(2):
            for name, tensor in source.variant_state_dict(0).items():
                assert torch.equal(loaded.variant_state_dict(v)[name], tensor)
        del state["conv1.weight"]
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(ValueError, match=r"does not fit resnet18, first at conv1\.weight"):
            make_encoders("resnet18", 3, [5], weights=tmp_path / "w.safetensors")
        (tmp_path / "w.safetensors").write_bytes(b"no")
        with pytest.raises(ValueError, match="is not a safetensors file"):
            make_encoders("resnet18", 3, [5], weights=tmp_path / "w.safetensors")

    def test_unknown_names(self) -> None:
        with pytest.raises(ValueError, match="encoder: unknown choice 'resnet_9'"):
            make_encoders("resnet_9", 3, [1])
