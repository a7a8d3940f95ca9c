"""The M1 recipe from settings to tables, on a wiring of 24 neurons, and once on the worm's."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from elegans_pyg.datasets import images as image_sets
from elegans_pyg.datasets import load_images
from elegans_pyg.models.encoders import RESNET9_CHANNELS, ResNet9
from elegans_pyg.models.variants import footprint
from elegans_pyg.recipes import elegans_m1 as m1
from elegans_pyg.recipes.elegans_m1 import ELEGANS_M1, M1Settings
from elegans_pyg.recipes.tensor_networks import network_parameters
from elegans_pyg.studies import load_run, run_study
from elegans_pyg.training.settings import FitSettings
from tests.commands import invoke, refused
from tests.recipes.tiny import tensor_settings

COMMAND = ("reproduce", "elegans-m1")


@pytest.fixture
def tiny(tmp_path: Path) -> M1Settings:
    training = {"iterations": 4, "checkpoint_every": 2, "augment": "crop_flip_cutout", "schedule": "cosine", "eval_batch_size": 400}
    return tensor_settings(M1Settings, tmp_path, training, encoder_channels=(2, 3, 4, 5))


@pytest.mark.drawn
def test_from_settings_to_table(tiny: M1Settings, tmp_path: Path) -> None:
    done = run_study(ELEGANS_M1, tiny, tmp_path / "run", quiet=True)
    results = done.results
    assert results["family"].tolist() == ["connectome", "reservoir", "er", "dense", "encoder"]
    assert results["accuracy"].between(0, 1).all()
    wired, frozen, _, dense, bare = results["parameters"]
    assert abs(dense - wired) < 0.01 * wired
    assert frozen == wired > bare
    assert results["trained"][1] == wired - network_parameters(tiny)
    networks = pd.read_csv(tmp_path / "run" / "networks.csv")
    np.testing.assert_allclose(networks["accuracy"], results["accuracy"])
    assert networks["network"].tolist()[1:] == [
        *("connectome, frozen (reservoir)", "er", "dense head, equal parameters", "bare encoder"),
    ]
    assert any(note.startswith("No network does better") for note in done.report.notes)
    shortened = done.report.notes[1]
    assert shortened.startswith("Shortened: 80 images per run instead of 1,843,200, a resnet9 of 2, 3, 4, 5 channels, width 8")
    assert {path.stem for path in done.figures} == {"families", "accuracy"}
    assert load_run(tmp_path / "run").settings == done.settings


def test_units_give_the_same_alone(tiny: M1Settings) -> None:
    together = run_study(ELEGANS_M1, tiny, quiet=True).results
    apart = run_study(ELEGANS_M1, tiny.model_copy(update={"at_once": 1}), quiet=True).results
    pd.testing.assert_frame_equal(apart, together, rtol=1e-3, atol=3e-3)


def test_defaults_and_the_short_form() -> None:
    full, quick = (ELEGANS_M1.make({"device": "cpu"}, quick=quick) for quick in (False, True))
    assert full == M1Settings(training=FitSettings(**m1.COMMON, **m1.FULL, device="cpu"))
    assert (full.dataset, full.width, full.encoder, full.encoder_channels) == ("cifar10", 128, "resnet9", RESNET9_CHANNELS)
    assert (full.training.iterations, full.training.batch_size, full.training.weight_decay) == (3_600, 512, 0.05)
    assert (quick.width, quick.seeds, quick.variants, quick.encoder_channels) == (32, 1, 1, (16, 32, 64, 64))
    assert (quick.training.iterations, quick.training.augment, quick.training.precision) == (500, "crop_flip_cutout", "float32")
    assert ELEGANS_M1.make({"device": "cpu", "seed": 3}).training.data_seed == 3


def test_on_cuda_it_computes_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ELEGANS_M1.make({"device": "cuda:1"}).training.precision == "bfloat16"
    assert ELEGANS_M1.make({"device": "cuda", "precision": "float32"}).training.precision == "float32"
    for there, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert ELEGANS_M1.make().training.precision == precision


def test_told_its_device_it_leaves_pytorch_alone() -> None:
    code = "from elegans_pyg.recipes.elegans_m1 import ELEGANS_M1; ELEGANS_M1.make({'device': 'cpu'})"
    code += "; import sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_absurd_settings_are_refused_before_anything_is_allocated(tiny: M1Settings, tmp_path: Path) -> None:
    for changes in ({"width": 100_000}, {"encoder_channels": (100_000,) * 4}):
        with pytest.raises(ValueError, match="memory: one unit needs about"):
            run_study(ELEGANS_M1, tiny.model_copy(update=changes), tmp_path / "run", quiet=True)
    with pytest.raises(ValueError, match="encoder_channels: expected at most 100,000 each, got 1000000"):
        tiny.model_copy(update={"encoder_channels": (1_000_000, 1, 1, 1)})
    with pytest.raises(ValueError, match="encoder_channels: expected at least 4 values"):
        tiny.model_copy(update={"encoder_channels": (64, 128)})
    assert not (tmp_path / "run").exists()


def test_an_encoder_is_counted_as_it_is() -> None:
    parameters, computed = footprint(lambda: ResNet9(3, (2, 3, 4, 5)), 3, 8, 8)
    net = ResNet9(3, (2, 3, 4, 5))
    assert parameters == sum(parameter.numel() for parameter in net.parameters())
    # Convolution, BatchNorm and ReLU of every block, and the pooled maps.
    blocks = 64 * (2 + 3) + 16 * (3 + 3 + 4) + 4 * 5 + 1 * (5 + 5)
    assert computed == 3 * blocks + 16 * 3 + 4 * 4 + 1 * 5


class TestRefusals:
    """Without images, or anything else, being looked for."""

    @pytest.fixture(autouse=True)
    def _no_images(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def load(*arguments: object, **options: object) -> None:
            raise AssertionError("images were loaded")

        monkeypatch.setattr(image_sets, "_loaded", load)
        monkeypatch.chdir(tmp_path)

    def test_an_unknown_encoder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if find_spec("timm") is None:
            names = SimpleNamespace(is_model=lambda name: False, list_models=lambda pattern: [])
            monkeypatch.setitem(sys.modules, "timm", names)
        assert "encoder: unknown choice 'nope'" in refused(*COMMAND, "--encoder", "nope", "-q")
        assert not list(tmp_path.glob("runs/*"))

    def test_a_missing_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "timm", None)
        assert "the encoder 'nope' needs 'timm'" in refused(*COMMAND, "--encoder", "nope", "-q")
        assert not list(tmp_path.glob("runs/*"))

    def test_weights_that_are_not_there(self, tmp_path: Path) -> None:
        line = refused(*COMMAND, "--encoder", "resnet18", "--weights", "none.safetensors", "-q")
        assert "weights: none.safetensors does not exist; give the safetensors file of the encoder 'resnet18'" in line
        assert "weights: 'resnet9' is trained from scratch" in refused(*COMMAND, "--weights", "none.safetensors", "-q")
        assert not list(tmp_path.glob("runs/*"))


def test_timm_weights_that_do_not_fit_are_refused_before_the_run(tiny: M1Settings, tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed (extra timm)")
    (tmp_path / "w.safetensors").write_bytes(b"no")
    settings = tiny.model_copy(update={"encoder": "resnet18", "weights": str(tmp_path / "w.safetensors")})
    with pytest.raises(ValueError, match="is not a safetensors file"):
        run_study(ELEGANS_M1, settings, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_command_ends_with_table_and_folder(tiny: M1Settings, tmp_path: Path) -> None:
    wiring = ("--connectome", tiny.connectome, "--neurons", tiny.neurons, "--dataset", "digits", "--families", "er")
    short = ("--width", 8, "--iterations", 2, "--batch-size", 20, "--encoder-channels", "2,3,4,5", "--device", "cpu")
    code, out, err = invoke(*COMMAND, "--quick", *wiring, *short, "--out", tmp_path / "run", "-q")
    assert (code, err) == (0, "")
    assert "bare encoder" in out
    assert "Test accuracy on digits" in out
    assert f"repeat it:  elegans-pyg reproduce elegans-m1 --config {tmp_path / 'run' / 'config.yaml'}" in out


@pytest.mark.drawn
@pytest.mark.slow
def test_the_worms_own_classifiers(tmp_path: Path) -> None:
    root = os.environ.get("ELEGANS_PYG_IMAGES")
    if root is None:
        pytest.skip("ELEGANS_PYG_IMAGES names no folder with cifar10")
    short = ("--width", 4, "--families", "rewired", "--iterations", 2, "--batch-size", 10, "--encoder-channels", "2,2,2,2")
    images = ("--image-root", root, "--train-images", 200, "--validation-fraction", 0.1, "--eval-batch-size", 1_000)
    code, out, err = invoke(*COMMAND, "--quick", *short, *images, "--device", "cpu", "--out", tmp_path / "run", "-q")
    assert (code, err) == (0, "")
    assert "99.99" in out
    assert "cannot be reproduced" in out
    loaded = load_run(tmp_path / "run")
    assert loaded.results["family"].tolist() == ["connectome", "reservoir", "rewired", "dense", "encoder"]
    assert loaded.wirings["connectome"].num_nodes == 279


def test_cifar100_is_read_from_a_folder_by_its_fine_labels(tmp_path: Path) -> None:
    """In the layout of the hub's file, which has both kinds of labels; a small one, of four classes."""
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "cifar100").mkdir()
    for split, rows in (("train", [0, 1, 2, 3]), ("test", [4, 5])):
        encoded = []
        for row in rows:
            buffer = BytesIO()
            image.fromarray(pixels[row]).save(buffer, format="PNG")
            encoded.append({"bytes": buffer.getvalue(), "path": None})
        names = {"fine_label": [3, 1, 2, 0][: len(rows)], "coarse_label": [1, 2, 0, 1][: len(rows)]}
        pq.write_table(pa.table({"img": encoded, **names}), tmp_path / "cifar100" / f"{split}.parquet")
    images = load_images("cifar100", tmp_path, cache=tmp_path / "cache", quiet=True)
    assert images.train_labels.tolist() == [3, 1, 2, 0]
    assert (images.num_classes, images.in_channels, images.image_size) == (4, 3, (32, 32))
    assert (images.test_images.permute(0, 2, 3, 1).numpy() == pixels[4:]).all()
