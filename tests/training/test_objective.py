"""Objectives: scores against scikit-learn and scikit-image, and an ensemble of autoencoders through the whole loop."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import structural_similarity as skimage_similarity
from sklearn.metrics import f1_score
from torch import Tensor, nn

from elegans_pyg.datasets.images import ImageData
from elegans_pyg.training import Autoencoding, FitResult, evaluate, fit
from elegans_pyg.training.data_order import DataOrder, stratified_split
from elegans_pyg.training.objective import structural_similarity
from tests.training.double import make_table, settings


class Autoencoders(nn.Module):
    """``V`` linear autoencoders of 8x8 images through ``code`` numbers; ``on_forward`` is called at every training step."""

    def __init__(self, seeds: Sequence[int], code: int = 6, on_forward: Callable[[int], None] | None = None) -> None:
        super().__init__()
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.inner = nn.Parameter(torch.stack([torch.randn(64, code, generator=g) / 8 for g in generators]))
        self.outer = nn.Parameter(torch.stack([torch.randn(code, 64, generator=g) / 8 for g in generators]))
        self.bias = nn.Parameter(torch.zeros(len(seeds), 64))
        self.num_variants, self.on_forward, self.calls = len(seeds), on_forward, 0

    def variant_ptr(self) -> dict[str, list[int]]:
        return {name: list(range(self.num_variants + 1)) for name in ("inner", "outer", "bias")}

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            if self.on_forward is not None:
                self.on_forward(self.calls)
        flat = images.flatten(-3).expand(self.num_variants, -1, -1)
        return (flat @ self.inner @ self.outer + self.bias.unsqueeze(1)).unflatten(2, (1, 8, 8))


def make_images(seed: int = 0) -> ImageData:
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randint(0, 2, (4, 1, 8, 8), generator=generator) * 200

    def draw(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(0, 4, (count,), generator=generator)
        return (patterns[labels] + torch.randint(0, 56, (count, 1, 8, 8), generator=generator)).to(torch.uint8), labels

    return ImageData("blocks", *draw(120), *draw(33), ["a", "b", "c", "d"])


IMAGES = make_images()


def run(model: nn.Module, *, table: pd.DataFrame | None = None, out: Path | None = None, resume: bool = False, **changes) -> FitResult:
    table = make_table() if table is None else table
    changes = {"learning_rate": 0.02, **changes}
    return fit(model, IMAGES, settings(**changes), objective=Autoencoding(), variants=table, out=out, resume=resume, quiet=True)


def test_scores_are_those_of_scikit_learn_and_scikit_image() -> None:
    model, objective = Autoencoders([1, 2, 3]).double(), Autoencoding()
    images, labels = IMAGES.test_images, IMAGES.test_labels
    # Batches of 10 leave a short one: sums, not means of means, are what add up.
    evaluation = evaluate(model, images, labels, 10, "float64", objective=objective)
    assert evaluation is not None
    assert evaluation.predictions is None
    target = (images.numpy() / 255 > 0.3).astype(float)
    with torch.no_grad():
        shares = model(torch.from_numpy(target)).sigmoid().numpy()
    for v in range(3):
        ink = target.ravel() > 0.5
        expected = {
            "pixel_accuracy": np.mean((shares[v] > 0.5) == (target > 0.5)),
            "pixel_f1": f1_score(ink, shares[v].ravel() > 0.25),
            "mse": np.mean((shares[v] - target) ** 2),
            "ssim": np.mean([skimage_similarity(a[0], b[0], data_range=1.0) for a, b in zip(shares[v], target, strict=True)]),
        }
        assert {name: values[v] for name, values in evaluation.scores.items()} == pytest.approx(expected, rel=1e-9)
        entropy = -(target * np.log(shares[v]) + (1 - target) * np.log(1 - shares[v])).mean()
        assert evaluation.loss[v] == pytest.approx(entropy, rel=1e-9)


def test_nothing_drawn_scores_the_share_of_background() -> None:
    """What a network full of NaN is judged to be: NaN is above no threshold."""
    model = Autoencoders([0])
    with torch.no_grad():
        model.bias.fill_(math.nan)
    evaluation = evaluate(model, IMAGES.test_images, IMAGES.test_labels, objective=Autoencoding())
    assert evaluation is not None
    assert evaluation.scores["pixel_accuracy"][0] == pytest.approx((IMAGES.test_images <= 0.3 * 255).double().mean().item())
    assert evaluation.scores["pixel_f1"][0] == 0


def test_structural_similarity_refuses_tiny_images_and_knows_equal_ones() -> None:
    images = torch.rand(2, 3, 1, 9, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(structural_similarity(images, images), torch.ones(2, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"expected at least 7x7 pixels for structural similarity, got \(6, 9\)"):
        structural_similarity(torch.rand(1, 1, 1, 6, 9), torch.rand(1, 1, 1, 6, 9))


@pytest.mark.parametrize("data_order", ["shared", "variant"])
def test_autoencoders_train_together_as_they_do_alone(data_order: str) -> None:
    changes = {
        "precision": "float64", "data_order": data_order, "schedule": "cosine", "warmup": 0.2, "weight_decay": 0.1, "clip_norm": 0.05,
        "augment": "crop_flip_cutout", "select": "best",
    }  # fmt: skip
    together = Autoencoders([5, 6, 7])
    result = run(together, **changes)
    for v in range(3):
        alone = Autoencoders([5 + v])
        single = run(alone, table=make_table().iloc[[v]].assign(variant=0), **changes)
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(together.state_dict()[name][v : v + 1], tensor, rtol=0, atol=1e-9)
        assert single.results["ssim"][0] == pytest.approx(result.results["ssim"][v], abs=1e-9)
        assert single.tested_at[0] == result.tested_at[v]


def test_learns_and_names_its_columns(tmp_path: Path) -> None:
    result = run(Autoencoders([1, 2, 3]), out=tmp_path / "run", iterations=120)
    columns = ["iteration", "variant", "family", "wiring_seed", "seed", "split", "loss", "pixel_accuracy", "pixel_f1", "mse", "ssim"]
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert list(metrics.columns) == columns
    assert metrics[metrics["split"] == "train"]["ssim"].isna().all()
    assert metrics[metrics["split"] != "train"]["ssim"].notna().all()
    assert result.results["pixel_accuracy"].min() > 0.95
    assert result.test_predictions is None
    assert result.validation_accuracy.min() > 0.95


@pytest.mark.parametrize("data_order", ["shared", "variant"])
def test_resume_is_bit_identical(tmp_path: Path, data_order: str) -> None:
    """Augmentation, schedule, decay, clipping and the best weights all come out of the checkpoint or the step's number."""
    changes = {
        "data_order": data_order, "eval_every": 4, "schedule": "cosine", "warmup": 0.1, "weight_decay": 0.1, "clip_norm": 0.1,
        "augment": "crop_flip_cutout", "select": "best",
    }  # fmt: skip
    straight, halves, resumed = Autoencoders([1, 2, 3]), Autoencoders([1, 2, 3]), Autoencoders([7, 8, 9])
    expected = run(straight, out=tmp_path / "straight", **changes)
    halves.on_forward = lambda call: signal.raise_signal(signal.SIGINT) if call == 10 else None
    part = run(halves, out=tmp_path / "halves", **changes)
    assert (part.interrupted, part.iterations) == (True, 10)
    assert part.tested_at.tolist() == [10] * 3
    actual = run(resumed, out=tmp_path / "halves", resume=True, **changes)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])
    pd.testing.assert_frame_equal(actual.metrics, expected.metrics, check_exact=True)
    assert actual.tested_at.tolist() == expected.tested_at.tolist()
    pd.testing.assert_frame_equal(actual.results, expected.results)
    again = run(Autoencoders([4, 5, 6]), out=tmp_path / "halves", resume=True, **changes)
    pd.testing.assert_frame_equal(again.results, expected.results)


def test_the_best_evaluation_is_tested() -> None:
    """A learning rate that ruins what was learned: the best weights come from before, and validation says which."""

    def ruin(call: int) -> None:
        if call == 60:
            with torch.no_grad():
                model.outer[1] *= -1

    model = Autoencoders([1, 2, 3], on_forward=ruin)
    result = run(model, iterations=62, eval_every=10, select="best", learning_rate=0.01)
    validation = result.metrics[result.metrics["split"] == "validation"].pivot(
        index="iteration", columns="variant", values="pixel_accuracy"
    )
    assert result.tested_at.tolist() == validation.idxmax().tolist()
    assert result.tested_at[1] < 60
    last = Autoencoders([1, 2, 3])
    run(last, iterations=int(result.tested_at[1]), eval_every=10, learning_rate=0.01)
    assert torch.equal(last.inner[1], model.inner[1])
    _, held_out = stratified_split(IMAGES.train_labels, 0.25, 0)
    again = evaluate(model, IMAGES.train_images[held_out], IMAGES.train_labels[held_out], objective=Autoencoding())
    assert again is not None
    np.testing.assert_allclose(again.scores["pixel_accuracy"], validation.max().to_numpy(), atol=1e-12)


def test_a_stopped_variant_keeps_its_weights_under_decay_and_clipping() -> None:
    model = Autoencoders([1, 2, 3], on_forward=lambda call: model.bias.data[1].fill_(math.inf) if call == 8 else None)
    before: list[Tensor] = []
    model.register_forward_pre_hook(lambda module, inputs: before.append(module.inner[1].detach().clone()) if module.calls == 7 else None)
    result = run(model, weight_decay=0.5, clip_norm=0.1, select="best")
    assert result.stopped == {1: "non-finite loss at iteration 8"}
    assert result.results["pixel_accuracy"].isna().tolist() == [False, True, False]
    last = run(model2 := Autoencoders([1, 2, 3]), weight_decay=0.5, clip_norm=0.1, select="best")
    for v in (0, 2):
        assert torch.equal(model.inner[v], model2.inner[v])
        assert last.results["mse"][v] == result.results["mse"][v]
    assert result.tested_at[1] == 5
    assert before


def test_clipping_is_each_variants_own_norm() -> None:
    """Against PyTorch's own clipping of one variant's gradients."""
    model = Autoencoders([1, 2, 3])
    run(model, iterations=3, precision="float64", clip_norm=0.01, weight_decay=0.1, learning_rate=0.05)
    chosen, _ = stratified_split(IMAGES.train_labels, 0.25, 0)

    for v in range(3):
        alone, order = Autoencoders([1 + v]).double(), DataOrder(len(chosen), 16, 0, torch.device("cpu"))
        decayed = [parameter for parameter in alone.parameters() if parameter.dim() == 3]
        groups = [{"params": decayed}, {"params": [alone.bias], "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=0.05, weight_decay=0.1)
        for _ in range(3):
            batch = chosen[order.next_batch()]
            judged = Autoencoding().measure(alone, IMAGES.train_images[batch], IMAGES.train_labels[batch], "float64")
            optimizer.zero_grad()
            judged.losses.mean().backward()
            nn.utils.clip_grad_norm_(alone.parameters(), 0.01)
            optimizer.step()
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(model.state_dict()[name][v : v + 1], tensor, rtol=0, atol=1e-6)


def test_refusals(tmp_path: Path) -> None:
    class Flat(Autoencoders):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).flatten(2)

    with pytest.raises(ValueError, match=r"expected logits of shape \(3, 16, 1, 8, 8\), got \(3, 16, 64\)"):
        run(Flat([1, 2, 3]))
    with pytest.raises(ValueError, match=r"threshold: expected a number between 0 and 1, got 1\.5"):
        Autoencoding(threshold=1.5)
    run(Autoencoders([1, 2, 3]), out=tmp_path, schedule="cosine")
    with pytest.raises(ValueError, match="iterations: was 20 in the checkpoint and is 30 now, but a learning rate with schedule 'cosine'"):
        run(Autoencoders([1, 2, 3]), out=tmp_path, resume=True, schedule="cosine", iterations=30)
    with pytest.raises(ValueError, match=r"objective was 'Autoencoding\(threshold=0.3, ink_threshold=0.25\)' in the checkpoint"):
        fit(
            Autoencoders([1, 2, 3]),
            IMAGES,
            settings(schedule="cosine", learning_rate=0.02),
            variants=make_table(),
            out=tmp_path,
            resume=True,
        )
