"""Trained networks given a person's own files: images of other sizes and polarities, sequences, currents; and what is no such file."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from elegans_pyg.datasets import ImageKind, load_images, read_images
from elegans_pyg.recipes.elegans_echo import ELEGANS_ECHO, EchoSettings
from elegans_pyg.recipes.elegans_m2 import ELEGANS_M2, M2Settings
from elegans_pyg.recipes.ensemble import ENSEMBLE
from elegans_pyg.recipes.fit_rnn import FIT_RNN, FitRnnSettings
from elegans_pyg.studies import Run, predict
from elegans_pyg.training import SequenceSettings
from tests.commands import invoke, refused
from tests.recipes.tiny import tensor_settings, tiny_settings, write_wiring
from tests.recipes.undrawn import learnt
from tests.recipes.waves import use_leaky

KIND = ImageKind(1, (8, 8), list("0123456789"), "dark")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Networks that have learnt the digits, more or less."""
    folder = tmp_path_factory.mktemp("digits")
    settings = tiny_settings(folder, channels=8)
    training = {
        "iterations": 200,
        "batch_size": 50,
        "eval_every": 200,
        "checkpoint_every": 200,
        "lr_decay_every": 150,
        "learning_rate": 0.01,
    }
    settings = settings.model_copy(update={"training": training})
    run = learnt(ENSEMBLE, settings, folder / "run")
    assert run.results["accuracy"].min() > 0.5
    return run


def test_upscaled_and_inverted_digits_are_what_they_were(digits: Run, tmp_path: Path) -> None:
    images = load_images("digits").test_images[:50]
    with torch.no_grad():
        expected = digits.model()(images / 255 - 0.5).argmax(2)
    shapes = {"same": (False, Image.Resampling.NEAREST), "smooth": (True, Image.Resampling.BICUBIC)}
    for folder, (inverted, resampling) in shapes.items():
        (tmp_path / folder).mkdir()
        for number, image in enumerate(images):
            pixels = image[0].numpy()
            picture = Image.fromarray(255 - pixels if inverted else pixels).resize((80, 80), resampling)
            picture.convert("RGB" if number % 2 else "L").save(tmp_path / folder / f"{number:02}.png")
        report = predict(digits, [tmp_path / folder])
        found = report.files["predictions.csv"]
        assert isinstance(found, pd.DataFrame)
        classes = found.pivot(index="variant", columns="image", values="class").to_numpy().astype(int)
        shares = found[[f"p_{label}" for label in range(10)]]
        assert shares.sum(axis=1).to_numpy() == pytest.approx(1)
        assert (found["probability"] == shares.max(axis=1)).all()
        same = (torch.tensor(classes) == expected).float().mean(1)
        # Without smoothing the very same pixels come back.
        assert (same == 1).all() if folder == "same" else (same >= 0.8).all(), same
        assert any("8x8 from 80x80" in note and ("inverted" in note) == inverted for note in report.notes)


def test_a_unit_alone_and_the_means_of_families(digits: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "some.npy", load_images("digits").test_images[:3, 0].numpy())
    everyone, alone = predict(digits, [tmp_path / "some.npy"]), predict(digits.folder.path, [tmp_path / "some.npy"], "connectome", seed=1)
    table, own = everyone.files["predictions.csv"], alone.files["predictions.csv"]
    assert own["image"].tolist() == [f"some.npy[{number}]" for number in range(3)]
    pd.testing.assert_frame_equal(own, table[table["variant"] == 1].reset_index(drop=True), rtol=1e-5)
    means, units = everyone.tables
    shares = table[(table["family"] == "connectome") & (table["image"] == "some.npy[0]")].filter(like="p_").mean()
    cells = [next(iter(column.cells)).plain for column in means.columns]
    assert cells[:4] == ["some.npy[0]", "connectome", shares.idxmax().removeprefix("p_"), f"{100 * shares.max():.1f}"]
    assert len(units.rows) == 12


def test_the_command_says_what_it_did_and_leaves_the_run_alone(digits: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in digits.folder.path.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (640, 480), "white").save("photo.jpg")
    for number in (1, 2):
        code, out, err = invoke("predict", digits.folder.path, "photo.jpg", "--family", "er")
        assert (code, err) == (0, "")
        assert "photo.jpg: 8x8 from 640x480, grey, inverted, padded." in out
        assert max(map(len, out.splitlines())) <= 80
        assert f"written to runs/predictions-{number}" in out
        folder = tmp_path / "runs" / f"predictions-{number}"
        assert {path.name for path in folder.iterdir()} == {"predictions.csv", "predictions.png", "predictions.svg"}
        assert len(pd.read_csv(folder / "predictions.csv")) == 1
    assert {path: path.read_bytes() for path in digits.folder.path.rglob("*") if path.is_file()} == before
    assert "expected a new or empty folder" in refused("predict", digits.folder.path, "photo.jpg", "--out", digits.folder.path)


def test_what_is_no_image_is_refused_in_one_line(digits: Run, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "classes" / "seven").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "classes" / "seven" / "one.png")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "flat.npy", np.zeros(5))
    np.save(tmp_path / "negative.npy", np.full((8, 8), -1.0))
    np.save(tmp_path / "nan.npy", np.full((8, 8), np.nan))
    for number in (-1, np.nan, np.inf):
        Image.fromarray(np.full((8, 8), number, dtype=np.float32)).save(tmp_path / f"{number}.tif")
    for file, said in {
        "text.png": "expected an image, got damaged bytes (of no known format)",
        "missing.png": "there is no file",
        "empty": "holds no image",
        "classes": "does not have the name of a class; choose from 0, 1, 2, 3",
        "broken.npy": "is not an array that NumPy can read",
        "flat.npy": "expected numbers (H, W), (n, H, W)",
        "negative.npy": "expected numbers from 0 to 1 or 0 to 255, got -1 to -1",
        "nan.npy": "expected numbers from 0 to 1 or 0 to 255, got nan to nan",
        "-1.tif": "expected finite numbers of 0 or more, got -1 to -1",
        "nan.tif": "expected finite numbers of 0 or more, got nan to nan",
        "inf.tif": "expected finite numbers of 0 or more, got inf to inf",
    }.items():
        assert said in refused("predict", digits.folder.path, tmp_path / file, "--out", tmp_path / "out")
    photo = tmp_path / "classes" / "seven" / "one.png"
    assert "expected at least one file, got none" in refused("predict", digits.folder.path)
    assert "no family 'ws'; choose from connectome, er" in refused("predict", digits.folder.path, photo, "--family", "ws")
    assert "is not a run folder" in refused("predict", tmp_path / "empty", photo)
    assert not (tmp_path / "out").exists()


def test_units_whose_training_was_stopped_are_left_out(digits: Run, tmp_path: Path) -> None:
    shutil.copytree(digits.folder.path, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()  # with the checksum of what is changed here
    table = digits.results.assign(stopped=["", "", "non-finite loss at iteration 3", ""])
    table.to_csv(tmp_path / "run" / "results.csv", index=False, na_rep="nan")
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    report = predict(tmp_path / "run", [tmp_path / "black.png"])
    assert report.files["predictions.csv"]["variant"].tolist() == [0, 1, 3]
    assert report.notes[-1] == "Left out, as their training was stopped: units 2."
    with pytest.raises(ValueError, match=r"run: the training of all these units of .* was stopped; choose others"):
        predict(tmp_path / "run", [tmp_path / "black.png"], family="er")


def test_folders_of_classes_say_how_many_are_right(digits: Run, tmp_path: Path) -> None:
    images = load_images("digits")
    for number in range(20):
        folder = tmp_path / str(int(images.test_labels[number]))
        folder.mkdir(exist_ok=True)
        Image.fromarray(images.test_images[number, 0].numpy()).save(folder / f"{number}.png")
    report = predict(digits, [tmp_path], variant=0)
    found = report.files["predictions.csv"]
    right = (found["class"] == found["true"]).mean()
    said = f"connectome: {100 * right:.1f} % right by the folders' names."
    assert said in report.notes
    # An image of no class does not count.
    np.save(tmp_path / "blank.npy", np.zeros((8, 8)))
    folders = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    (tmp_path / "classes").mkdir()
    for folder in folders:
        folder.rename(tmp_path / "classes" / folder.name)
    more = predict(digits, [tmp_path / "classes", tmp_path / "blank.npy"], variant=0)
    assert said in more.notes
    assert more.files["predictions.csv"]["true"].iloc[-1] == ""
    with torch.no_grad():
        own = digits.model(variant=0)(images.test_images[:20] / 255 - 0.5)[0].argmax(1)
    assert right == (own == images.test_labels[:20]).double().mean()


def test_images_become_like_the_data_sets(tmp_path: Path) -> None:
    # A bar of 4x2 pixels, top left, drawn in many ways.
    bar = np.zeros((8, 8), dtype=np.uint8)
    bar[1:3, 1:5] = 255
    big = np.kron(bar, np.ones((6, 6), dtype=np.uint8))
    Image.fromarray(bar).save(tmp_path / "a.png")
    Image.fromarray(255 - big).convert("1").save(tmp_path / "b.png")
    Image.fromarray(np.dstack([np.zeros_like(big)] * 3 + [big])).save(tmp_path / "c.png")  # black on transparent
    Image.fromarray(big.astype(np.uint16) * 257).save(tmp_path / "d.png")
    Image.fromarray(big).convert("P").save(tmp_path / "e.png")
    np.save(tmp_path / "f.npy", 1.0 - big / 255)
    Image.fromarray(np.hstack([big, np.zeros((48, 48), dtype=np.uint8)])).save(tmp_path / "g.png")
    found = read_images([tmp_path], KIND)
    assert found.names == ["a.png", "b.png", "c.png", "d.png", "e.png", "f.npy", "g.png"]
    assert found.changed[0] == "unchanged"
    for pixels, name in zip(found.pixels[:6], found.names, strict=False):
        assert np.abs(pixels[0].numpy().astype(int) - bar).max() <= 1, name
    # Twice as wide: half the size, in the middle, on its own background.
    assert found.changed[6] == "8x8 from 96x48, padded"
    assert found.pixels[6, 0, [0, 1, 6, 7]].max() == 0
    assert found.pixels[6].sum() == pytest.approx(bar.sum() / 4, abs=40)
    # One grey channel is one image, not 8 of width 1.
    np.save(tmp_path / "channel.npy", bar[..., None])
    assert torch.equal(read_images([tmp_path / "channel.npy"], KIND).pixels, torch.tensor(bar)[None, None])
    # Colours stay, and nothing is inverted where the data set has no background of its own.
    Image.new("RGB", (16, 16), (250, 200, 100)).save(tmp_path / "h.png")
    colour = read_images([tmp_path / "h.png"], ImageKind(3, (4, 4), ["a", "b"], "any"))
    assert colour.pixels.shape == (1, 3, 4, 4)
    assert colour.pixels[0, :, 2, 2].tolist() == [250, 200, 100]
    # What is padded has the image's own background.
    Image.new("RGB", (16, 8), (250, 200, 100)).save(tmp_path / "wide.png")
    padded = read_images([tmp_path / "wide.png"], ImageKind(3, (4, 4), ["a", "b"], "any"))
    assert padded.changed == ["4x4 from 16x8, padded"]
    assert torch.equal(padded.pixels, torch.tensor([250, 200, 100]).to(torch.uint8)[None, :, None, None].expand(1, 3, 4, 4))
    assert ImageKind.of(load_images("digits")) == KIND


def test_autoencoders_write_what_they_made(tmp_path: Path) -> None:
    run = learnt(ELEGANS_M2, tensor_settings(M2Settings, tmp_path), tmp_path / "run")
    image = load_images("digits").test_images[:1]
    Image.fromarray(image[0, 0].numpy()).save(tmp_path / "one.png")
    code, _, err = invoke("predict", run.folder.path, tmp_path / "one.png", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert table["family"].tolist() == run.units.table["family"].tolist()
    target = (image > 0.3 * 255).float()
    for row in table.itertuples():
        with torch.no_grad():
            made = run.model(variant=row.variant)(target)[0].sigmoid()
        assert row.mse == pytest.approx(float((made - target).square().mean()), rel=1e-4)
        kept = np.asarray(Image.open(tmp_path / "out" / row.file))
        np.testing.assert_allclose(kept, 255 * made[0, 0].numpy(), atol=0.51)


def test_reservoirs_read_sequences(tmp_path: Path) -> None:
    wiring, neurons = write_wiring(tmp_path)
    few = {"families": ("er",), "variants": 1, "tasks": ("narma10", "parity"), "radii": (0.9,), "leaks": (1.0,), "train": 60}
    run = learnt(ELEGANS_ECHO, EchoSettings(connectome=str(wiring), neurons=str(neurons), **few), tmp_path / "run")
    values = np.random.default_rng(0).uniform(0, 0.5, 30).astype(np.float32)
    pd.DataFrame({"u": values}).to_csv(tmp_path / "u.csv", index=False)
    code, _, err = invoke("predict", run.folder.path, tmp_path / "u.csv", "--task", "narma10", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    expected = run.model(task="narma10")(torch.tensor(values).double().view(1, -1, 1))
    np.testing.assert_allclose(table["output_1"].to_numpy().reshape(2, 30), expected[:, 0, :, 0], rtol=1e-5)
    assert (tmp_path / "out" / "outputs-1-u.png").is_file()
    assert "task: readouts of different tasks" in refused("predict", run.folder.path, tmp_path / "u.csv")
    pd.DataFrame({"u": values, "v": values}).to_csv(tmp_path / "uv.csv", index=False)
    assert "expected 1 column(s) in uv.csv" in refused("predict", run.folder.path, tmp_path / "uv.csv", "--task", "parity")


def test_reduced_order_models_answer_currents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_leaky(monkeypatch)
    settings = FitRnnSettings(dt_ms=0.1, cell="gru", hidden=3, runs=2, count=8, training=SequenceSettings(epochs=2))
    run = learnt(FIT_RNN, settings, tmp_path / "run")
    monkeypatch.undo()
    current = np.random.default_rng(0).uniform(0, 2, 40).astype(np.float32)
    pd.DataFrame({"time_ms": 0.1 * np.arange(40), "AVBL": current}).to_csv(tmp_path / "i.csv", index=False)
    code, out, err = invoke("predict", run.folder.path, tmp_path / "i.csv", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "i.csv has no PLML, PLMR, AVBR: these neurons get no current." in " ".join(out.split())
    table, model = pd.read_csv(tmp_path / "out" / "predictions.csv"), run.model()
    inputs = torch.zeros(1, 40, 4)
    inputs[0, :, model.input_names.index("AVBL")] = torch.tensor(current)
    np.testing.assert_allclose(table[model.output_names].to_numpy().reshape(2, 40, 4), model.predict_mV(inputs)[:, 0], rtol=1e-4)
    assert (tmp_path / "out" / "voltages-1-i.png").is_file()
    # In single precision, these times would seem unequal.
    pd.DataFrame({"time_ms": 20_000 + 0.1 * np.arange(40), "AVBL": current}).to_csv(tmp_path / "late.csv", index=False)
    late = predict(run, [tmp_path / "late.csv"]).files["predictions.csv"]
    np.testing.assert_allclose(late[model.output_names], table[model.output_names], rtol=1e-4)
    pd.DataFrame({"RIM": current}).to_csv(tmp_path / "rim.csv", index=False)
    assert "has a column 'RIM', which is not an input; choose from PLML" in refused("predict", run.folder.path, tmp_path / "rim.csv")
    pd.DataFrame({"time_ms": np.arange(40), "AVBL": current}).to_csv(tmp_path / "slow.csv", index=False)
    assert "expected a row every 0.1 ms" in refused("predict", run.folder.path, tmp_path / "slow.csv")
