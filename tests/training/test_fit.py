"""The loop: independence of variants, resuming, stopping, Ctrl-C, and what is written when."""

from __future__ import annotations

import errno
import math
import os
import signal
import sys
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from elegans_pyg._progress import Progress
from elegans_pyg.studies import check_fit
from elegans_pyg.training import FitResult, TrainingError, evaluate, fit, load_checkpoint, save_checkpoint
from elegans_pyg.training.data import FitData
from elegans_pyg.training.data_order import DataOrder, stratified_split
from tests.training.double import Ensemble, make_ensemble, make_images, make_table, settings

IMAGES = make_images()


def run(model: Ensemble, *, images=IMAGES, table=None, out=None, resume=False, quiet=True, progress=None, **changes) -> FitResult:
    table = make_table() if table is None else table
    return fit(model, images, settings(**changes), variants=table, out=out, resume=resume, quiet=quiet, progress=progress)


def assert_same_tensors(one: Ensemble, other: Ensemble) -> None:
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.parametrize("data_order", ["shared", "variant"])
def test_variants_train_together_as_they_do_alone(data_order: str) -> None:
    together = make_ensemble()
    result = run(together, precision="float64", data_order=data_order)
    ptr = together.variant_ptr()
    for v, (width, seed) in enumerate(zip([4, 7, 5], [5, 6, 7], strict=True)):
        alone = Ensemble([width], [seed])
        table = make_table().iloc[[v]].assign(variant=0)
        single = run(alone, table=table, precision="float64", data_order=data_order)
        for name, tensor in alone.state_dict().items():
            part = together.state_dict()[name][ptr[name][v] : ptr[name][v + 1]]
            torch.testing.assert_close(part, tensor, rtol=0, atol=1e-9)
        assert single.results["accuracy"][0] == result.results["accuracy"][v]


def test_a_step_is_adam_on_each_variants_own_mean_loss() -> None:
    """Against a plain loop: one optimiser a variant, the same batches, the learning rate decayed by hand."""
    model = make_ensemble()
    run(model, precision="float64", lr_decay_every=4, iterations=10)
    chosen, _ = stratified_split(IMAGES.train_labels, 0.25, 0)
    for v, (width, seed) in enumerate(zip([4, 7, 5], [5, 6, 7], strict=True)):
        reference = Ensemble([width], [seed]).double()
        optimizer = torch.optim.Adam(reference.parameters(), lr=0.004, foreach=False)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.1)
        order = DataOrder(len(chosen), 16, 0, torch.device("cpu"))
        for _ in range(10):
            batch = chosen[order.next_batch()]
            loss = F.cross_entropy(reference(IMAGES.train_images[batch].double() / 255 - 0.5)[0], IMAGES.train_labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        ptr = model.variant_ptr()["outer"]
        torch.testing.assert_close(model.outer[ptr[v] : ptr[v + 1]], reference.outer, rtol=0, atol=1e-12)


def test_learns_and_tells(tmp_path: Path) -> None:
    result = run(make_ensemble(), out=tmp_path / "run", iterations=60, learning_rate=0.02)
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert list(metrics.columns) == ["iteration", "variant", "family", "wiring_seed", "seed", "split", "loss", "accuracy"]
    pd.testing.assert_frame_equal(metrics, result.metrics, check_dtype=False)
    for split in ("train", "validation"):
        assert metrics[metrics["split"] == split]["iteration"].tolist() == [step for step in range(5, 61, 5) for _ in range(3)]
    assert metrics[metrics["split"] == "test"]["iteration"].tolist() == [60] * 3
    assert list(result.results.columns) == ["variant", "family", "wiring_seed", "seed", "accuracy"]
    assert result.results["accuracy"].min() > 0.9
    right = (result.test_predictions == IMAGES.test_labels).double().mean(dim=1)
    assert result.results["accuracy"].tolist() == right.tolist() == metrics[metrics["split"] == "test"]["accuracy"].tolist()
    last = metrics[(metrics["split"] == "validation") & (metrics["iteration"] == 60)]
    assert result.validation_accuracy.tolist() == last["accuracy"].tolist()
    assert (result.iterations, result.interrupted, result.stopped) == (60, False, {})
    assert result.seconds > 0
    assert result.images_per_second > 0


def test_reported_losses_are_those_of_the_weights() -> None:
    model = make_ensemble()
    result = run(model, precision="float64", iterations=7)
    _, held_out = stratified_split(IMAGES.train_labels, 0.25, 0)
    with torch.no_grad():
        for split, pixels, labels in [
            ("validation", IMAGES.train_images[held_out], IMAGES.train_labels[held_out]),
            ("test", IMAGES.test_images, IMAGES.test_labels),
        ]:
            logits = model(pixels.double() / 255 - 0.5)
            rows = result.metrics[(result.metrics["split"] == split) & (result.metrics["iteration"] == 7)]
            np.testing.assert_allclose(rows["loss"], [F.cross_entropy(one, labels).item() for one in logits], rtol=1e-12)


def test_the_test_images_are_run_once_and_at_the_end() -> None:
    seen: list[str] = []
    model = make_ensemble(on_forward=lambda call: seen.append("step"))
    model.register_forward_pre_hook(lambda module, inputs: None if module.training else seen.append(f"evaluate {inputs[0].shape[-4]}"))
    run(model, eval_batch_size=25, iterations=5)
    assert seen == ["step"] * 5 + ["evaluate 24", "evaluate 25"]


def test_predictions_can_be_changed() -> None:
    found = evaluate(make_ensemble(), IMAGES.test_images, IMAGES.test_labels, 10)
    found.predictions[0] = -1
    assert not found.predictions.is_inference()


def test_global_random_state_is_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = make_ensemble(), make_ensemble()
    run(first, out=tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    torch.rand(3)
    run(second)
    assert_same_tensors(first, second)


@pytest.mark.parametrize("data_order", ["shared", "variant"])
@pytest.mark.parametrize("way", ["extended", "interrupted"])
def test_resume_is_bit_identical(tmp_path: Path, way: str, data_order: str) -> None:
    straight, halves = make_ensemble(), make_ensemble()
    options = {"data_order": data_order, "eval_every": 4, "lr_decay_every": 9}
    expected = run(straight, out=tmp_path / "straight", **options)
    if way == "extended":
        assert run(halves, out=tmp_path / "halves", **options, iterations=8).iterations == 8
    else:
        # Step 10 lies between two evaluations: the running sums and the place in the epoch must survive too.
        halves.on_forward = lambda call: signal.raise_signal(signal.SIGINT) if call == 10 else None
        part = run(halves, out=tmp_path / "halves", **options)
        assert (part.interrupted, part.iterations, part.test_predictions) == (True, 10, None)
        assert part.results["accuracy"].isna().all()
        assert "test" not in set(part.metrics["split"])
    resumed = Ensemble([4, 7, 5], [90, 91, 92])
    actual = run(resumed, out=tmp_path / "halves", resume=True, **options)
    assert_same_tensors(straight, resumed)
    pd.testing.assert_frame_equal(actual.metrics, expected.metrics, check_exact=True)
    assert (tmp_path / "halves" / "metrics.csv").read_bytes() == (tmp_path / "straight" / "metrics.csv").read_bytes()
    pd.testing.assert_frame_equal(actual.results, expected.results)
    assert torch.equal(actual.test_predictions, expected.test_predictions)
    one, other = (load_checkpoint(tmp_path / name / "checkpoint") for name in ("straight", "halves"))
    assert all(torch.equal(tensor, other.optimizer[name]) for name, tensor in one.optimizer.items())
    assert {**one.state, "seconds": 0} == {**other.state, "seconds": 0}


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    first = run(make_ensemble(), out=tmp_path)
    before = load_checkpoint(tmp_path / "checkpoint").state["seconds"]
    again = run(make_ensemble(), out=tmp_path, resume=True)
    assert again.seconds > before > 0
    assert torch.equal(first.test_predictions, again.test_predictions)
    pd.testing.assert_frame_equal(first.metrics, again.metrics)
    pd.testing.assert_frame_equal(first.results, again.results)


def test_resume_drops_what_is_newer_than_the_checkpoint(tmp_path: Path) -> None:
    """A crash at step 18, after the evaluation at 15 and with the checkpoint of 12, and a row cut short."""

    def crash(call: int) -> None:
        if call == 18:
            raise RuntimeError("the power went out")

    expected = run(make_ensemble())
    with pytest.raises(RuntimeError, match="power"):
        run(make_ensemble(on_forward=crash), out=tmp_path)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("15,2,ws")
    assert load_checkpoint(tmp_path / "checkpoint").state["iteration"] == 12
    actual = run(make_ensemble(), out=tmp_path, resume=True)
    pd.testing.assert_frame_equal(actual.metrics, expected.metrics, check_exact=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.1}, r"settings\.learning_rate was 0\.004 in the checkpoint and is 0\.1 now"),
        ({"iterations": 5}, "iterations: expected at least the 20 of the checkpoint, got 5"),
        ({"images": make_images(seed=1)}, r"dataset\.sha256 was"),
        ({"images": replace(IMAGES, name="others")}, r"dataset\.name was 'patterns' in the checkpoint and is 'others' now"),
        ({"table": make_table(["connectome", "er", "ba"])}, r"variants\.2\.family was 'ws' in the checkpoint and is 'ba' now"),
        ({"model": Ensemble([4, 7, 6], [5, 6, 7])}, r"model\.inner was '\(16, 36\) torch.float32' .* is '\(17, 36\) torch.float32' now"),
    ],
)
def test_resume_refuses_another_run(tmp_path: Path, change: dict, message: str) -> None:
    run(make_ensemble(), out=tmp_path)
    with pytest.raises(ValueError, match=message):
        run(change.pop("model", make_ensemble()), out=tmp_path, resume=True, **change)


def test_a_checkpoint_from_before_wirings_were_compared_is_resumed(tmp_path: Path) -> None:
    run(make_ensemble(), out=tmp_path)
    saved = load_checkpoint(tmp_path / "checkpoint")
    del saved.state["run"]["wiring"]
    save_checkpoint(tmp_path / "checkpoint", saved)
    assert run(make_ensemble(), out=tmp_path, resume=True, iterations=22).iterations == 22


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="checkpoint: none in"):
        run(make_ensemble(), out=tmp_path, resume=True)
    with pytest.raises(ValueError, match="expected a run folder for resume, got None"):
        run(make_ensemble(), resume=True)
    run(make_ensemble(), out=tmp_path)
    with pytest.raises(FileExistsError, match="holds a run already; resume it"):
        run(make_ensemble(), out=tmp_path)


@pytest.mark.parametrize("damage", ["deleted", "truncated", "edited"])
def test_metrics_heal(tmp_path: Path, damage: str) -> None:
    path, model = tmp_path / "metrics.csv", make_ensemble()
    run(make_ensemble(), out=tmp_path)
    whole = path.read_bytes()

    def harm() -> None:
        path.unlink()
        if damage != "deleted":
            path.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else whole.replace(b"0.", b"9."))

    harm()
    run(model, out=tmp_path, resume=True)
    assert path.read_bytes() == whole
    # The same where the damage is done in the middle of a run, before the resume and before the end.
    other, path = tmp_path / "other", tmp_path / "other" / "metrics.csv"
    stopping = make_ensemble(on_forward=lambda call: signal.raise_signal(signal.SIGINT) if call == 12 else None)
    run(stopping, out=other)
    harm()
    run(make_ensemble(on_forward=lambda call: harm() if call == 2 else None), out=other, resume=True)
    assert path.read_bytes() == whole


def test_a_run_killed_before_its_first_checkpoint_starts_anew(tmp_path: Path) -> None:
    expected = run(make_ensemble(), out=tmp_path / "whole")
    for resume in (True, False):
        folder = tmp_path / f"started-{resume}"
        folder.mkdir()
        (folder / "metrics.csv").write_text("iteration,var")
        actual = run(make_ensemble(), out=folder, resume=resume)
        pd.testing.assert_frame_equal(actual.metrics, expected.metrics, check_exact=True)
        assert (folder / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


@pytest.mark.parametrize("select", ["last", "best"])
def test_a_finished_run_is_read_and_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str], select: str) -> None:
    model = make_ensemble()
    first = run(model, out=tmp_path, select=select)
    again = Ensemble([4, 7, 5], [90, 91, 92])
    again.register_forward_pre_hook(lambda module, inputs: pytest.fail("the model was run"))
    second = run(again, out=tmp_path, resume=True, quiet=False, select=select)
    assert "already finished at iteration 20; nothing left to train" in capsys.readouterr().err
    assert_same_tensors(model, again)
    pd.testing.assert_frame_equal(first.metrics, second.metrics, check_exact=True)
    pd.testing.assert_frame_equal(first.results, second.results)
    assert torch.equal(first.test_predictions, second.test_predictions)
    assert first.validation_accuracy.tolist() == second.validation_accuracy.tolist()
    assert (second.interrupted, second.tested_at.tolist()) == (False, first.tested_at.tolist())


def test_evaluations_before_the_last_take_a_fixed_part(tmp_path: Path) -> None:
    sizes: list[int] = []
    model = make_ensemble()
    model.register_forward_pre_hook(lambda module, inputs: None if module.training else sizes.append(len(inputs[0])))
    first = run(model, eval_images=9, eval_batch_size=100)
    assert sizes == [9, 9, 9, 24, 25]
    second = run(make_ensemble(), eval_images=9, eval_batch_size=5)
    np.testing.assert_allclose(first.metrics["loss"], second.metrics["loss"], rtol=1e-6)
    sizes.clear()
    # By default max(batch_size, 0.3 eval_every batch_size).
    model = make_ensemble()
    model.register_forward_pre_hook(lambda module, inputs: None if module.training else sizes.append(len(inputs[0])))
    run(model, eval_batch_size=100, eval_every=4, iterations=8)
    run(model, eval_batch_size=100, eval_every=2, iterations=4)
    assert sizes == [19, 24, 25, 16, 24, 25]


class Samples(torch.utils.data.Dataset):
    def __init__(self, images: object, labels: object) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[object, object]:
        return self.images[index], self.labels[index]


def test_data_sets_of_pytorch() -> None:
    pair = Samples(IMAGES.train_images, IMAGES.train_labels.tolist()), Samples(IMAGES.test_images.numpy(), IMAGES.test_labels.numpy())
    one, other, scaled = make_ensemble(), make_ensemble(), make_ensemble()
    expected = run(one)
    actual = run(other, images=pair)
    assert_same_tensors(one, other)
    pd.testing.assert_frame_equal(expected.results, actual.results)
    # Floating-point images are used as they are.
    floats = tuple(Samples(torch.as_tensor(part.images).float() / 255 - 0.5, part.labels) for part in pair)
    run(scaled, images=floats)
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, scaled.state_dict()[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            [torch.zeros(1, 6, 6), torch.zeros(1, 6, 5)],
            [0, 1],
            r"expected image 1 of shape \(1, 6, 6\) torch.float32 like the first",
        ),
        ([torch.zeros(6, 6)], [0], r"train: expected image 0 of shape \(C, H, W\), got \(6, 6\)"),
        ([torch.zeros(1, 6, 6)], [0.5], r"train: expected a whole number as label of image 0, got 0\.5"),
        ([torch.zeros(1, 6, 6)], [torch.tensor([1, 0])], "train: expected a whole number as label of image 0"),
        ([], [], "train: expected at least one image, got none"),
    ],
)
def test_data_sets_that_do_not_stack(images: list, labels: list, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        run(make_ensemble(), images=(Samples(images, labels), Samples(images, labels)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("label", "names", "expected"), [(-100, "", "0, got -100"), (3, "abc", "0 to 2, got 3"), (3, "", "0 to 2, got 3")])
def test_labels_that_are_no_class_are_refused(tmp_path: Path, label: int, names: str, expected: str) -> None:
    train, test = (
        (images, labels.clone())
        for images, labels in ((IMAGES.train_images, IMAGES.train_labels), (IMAGES.test_images, IMAGES.test_labels))
    )
    # Only labels without names can be as high as the model allows, which is known when it has run.
    (test if label < 0 or names else train)[1][:] = label
    data = FitData("patterns", train, test, classes=tuple(names))
    with pytest.raises(ValueError, match=f"(test: expected labels from|labels: expected) {expected}; "):
        fit(make_ensemble(), data, settings(), out=tmp_path / "run", quiet=True)
    assert (tmp_path / "run").exists() == (label == 3 and not names)


def test_one_display_over_many_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("shards", 40) as progress:
        run(make_ensemble(), quiet=False, progress=progress)
        assert progress.done == 20
        run(make_ensemble(), quiet=False, progress=progress)
    assert progress.done == 40
    assert "40 of 40" in capsys.readouterr().err


@pytest.mark.parametrize("poison_at", [0, 7])
def test_non_finite_loss_stops_one_variant_and_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str], poison_at: int) -> None:
    healthy = make_ensemble()
    expected = run(healthy)

    def poison(call: int) -> None:
        if call == poison_at:
            with torch.no_grad():
                sick.outer[4:11] *= math.inf

    sick = make_ensemble(on_forward=poison)
    if poison_at == 0:
        with torch.no_grad():
            sick.inner[4] = math.nan
    frozen = sick.inner.detach().clone()

    def keep(module: Ensemble, inputs: object) -> None:
        if module.calls < poison_at:
            frozen.copy_(module.inner.detach())

    sick.register_forward_pre_hook(keep)
    result = run(sick, out=tmp_path)
    at = max(poison_at, 1)
    assert result.stopped == {1: f"non-finite loss at iteration {at}"}
    assert capsys.readouterr().err == f"warning: variant 1 (er) stopped: non-finite loss at iteration {at}\n"
    for name, tensor in healthy.state_dict().items():
        ptr = healthy.variant_ptr()[name]
        for v in (0, 2):
            assert torch.equal(sick.state_dict()[name][ptr[v] : ptr[v + 1]], tensor[ptr[v] : ptr[v + 1]])
    assert torch.equal(sick.inner[4:11].nan_to_num(9), frozen[4:11].nan_to_num(9))
    others = result.metrics["variant"] != 1
    pd.testing.assert_frame_equal(result.metrics[others], expected.metrics[others], check_exact=True)
    late = result.metrics[~others & (result.metrics["iteration"] >= at)]
    assert late[["loss", "accuracy"]].isna().all(axis=None)
    assert len(late) == len(expected.metrics[~others & (expected.metrics["iteration"] >= at)])
    assert math.isnan(result.results["accuracy"][1])
    assert (result.test_predictions[1] == -1).all()
    stopped_again = run(make_ensemble(), out=tmp_path, resume=True, iterations=25)
    assert stopped_again.stopped == result.stopped


def test_no_variant_left_ends_the_run() -> None:
    model = make_ensemble()
    with torch.no_grad():
        model.bias.fill_(math.nan)
    with pytest.raises(TrainingError, match="all 3 variants stopped on a non-finite loss, the last at iteration 1"):
        run(model)
    assert model.calls == 1


@pytest.mark.parametrize("select", ["last", "best"])
def test_variants_all_stopped_end_as_among_others(tmp_path: Path, select: str) -> None:
    sick, beside = Ensemble([4], [5]), make_ensemble()
    for model in (sick, beside):
        with torch.no_grad():
            model.bias[0] = math.nan
    among = run(beside, select=select)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for resume in (False, True):
            images, table = IMAGES, make_table(["connectome"])
            options = {"variants": table, "out": tmp_path, "resume": resume, "quiet": True, "allow_all_stopped": True}
            alone = fit(sick, images, settings(select=select), **options)
            assert (alone.interrupted, alone.iterations, alone.stopped) == (False, 20, among.stopped)
            pd.testing.assert_frame_equal(alone.results, among.results.iloc[:1])
            assert torch.equal(alone.test_predictions, among.test_predictions[:1])
            assert alone.tested_at[0] == among.tested_at[0]
    assert sick.calls == 1


def test_a_signal_too_late_to_stop_the_run_is_told(tmp_path: Path) -> None:
    model, evaluations = make_ensemble(), []

    def press(module: Ensemble, inputs: object) -> None:
        if not module.training:
            evaluations.append(module.calls)
            if evaluations == [5, 10, 15, 20, 20]:
                signal.raise_signal(signal.SIGTERM)

    model.register_forward_pre_hook(press)
    result = run(model, out=tmp_path, eval_batch_size=100)
    assert (result.interrupted, result.signal, result.results["accuracy"].isna().any()) == (False, signal.SIGTERM, False)
    assert run(make_ensemble(), out=tmp_path, resume=True, eval_batch_size=100).signal is None


def test_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    def press_twice(call: int) -> None:
        if call == 8:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(make_ensemble(on_forward=press_twice), out=tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert load_checkpoint(tmp_path / "checkpoint").state["iteration"] == 6


def test_interrupt_during_an_evaluation_resumes_with_it(tmp_path: Path) -> None:
    expected, model = run(make_ensemble()), make_ensemble()
    evaluations: list[int] = []

    def press(module: Ensemble, inputs: object) -> None:
        if not module.training:
            evaluations.append(module.calls)
            if evaluations == [5, 5, 10]:
                signal.raise_signal(signal.SIGINT)

    model.register_forward_pre_hook(press)
    part = run(model, out=tmp_path)
    assert part.interrupted
    assert part.metrics["iteration"].max() == 5
    final = run(make_ensemble(), out=tmp_path, resume=True)
    pd.testing.assert_frame_equal(final.metrics, expected.metrics, check_exact=True)


def test_interrupt_without_a_folder_and_handler_restored(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    model = make_ensemble(on_forward=lambda call: signal.raise_signal(signal.SIGINT) if call == 3 else None)
    result = run(model, quiet=False)
    assert (result.interrupted, result.iterations, result.signal) == (True, 3, signal.SIGINT)
    assert "interrupted after iteration 3\n" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_works_off_the_main_thread() -> None:
    results: list[FitResult] = []
    model, reference = make_ensemble(), make_ensemble()
    thread = threading.Thread(target=lambda: results.append(run(model)))
    thread.start()
    thread.join()
    assert results[0].iterations == 20
    run(reference)
    assert_same_tensors(model, reference)


def test_full_disk_keeps_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/")[2].startswith(".optimizer.safetensors"):
            raise OSError(errno.ENOSPC, "No space left on device")

    model = make_ensemble(on_forward=lambda call: monkeypatch.setattr(os, "fsync", full) if call == 9 else None)
    with pytest.raises(OSError, match=r"could not write .*checkpoint \(No space left on device\); the previous checkpoint is kept"):
        run(model, out=tmp_path)
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "checkpoint").state["iteration"] == 6
    assert not (tmp_path / "checkpoint.tmp").exists()
    assert run(make_ensemble(), out=tmp_path, resume=True).iterations == 20


def test_quiet_and_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    run(make_ensemble(), iterations=10)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    run(make_ensemble(), iterations=10, quiet=False)
    lines = capsys.readouterr().err.splitlines()
    assert 5 <= len(lines) <= 11
    assert all(line.startswith(("training: ", "validation: ", "test: ")) and "samples/s" in line for line in lines)
    assert all("s left" in line for line in lines[:-1])
    assert [line.partition("iteration ")[2].split()[0] for line in lines[-1:]] == ["10/10"]
    assert "test: 10 of 10" in lines[-1]
    assert "validation accuracy" in lines[-1]


def test_progress_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    run(make_ensemble(), quiet=False)
    shown = capsys.readouterr().err
    assert "20/20" in shown
    assert "samples/s" in shown


def test_without_validation() -> None:
    result = run(make_ensemble(), validation_fraction=0)
    assert set(result.metrics["split"]) == {"train", "test"}
    assert np.isnan(result.validation_accuracy).all()


def test_the_best_evaluation_needs_a_validation_image(tmp_path: Path) -> None:
    message = "select: 'best' needs validation images, and 0.005 of 96 training images is none; raise validation_fraction"
    with pytest.raises(ValueError, match=message):
        run(make_ensemble(), out=tmp_path / "run", select="best", validation_fraction=0.005)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=message):
        check_fit(settings(select="best", validation_fraction=0.005), IMAGES)
    run(make_ensemble(), validation_fraction=0.005, iterations=1)


def test_bfloat16_keeps_float32_parameters() -> None:
    model = make_ensemble()
    result = run(model, precision="bfloat16", iterations=60, learning_rate=0.02)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert result.results["accuracy"].min() > 0.85


def test_default_table_names_variants_by_number() -> None:
    result = fit(make_ensemble(), IMAGES, settings(iterations=1), quiet=True)
    assert result.results["seed"].tolist() == [0, 1, 2]
    assert set(result.results["family"]) == {"unnamed"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (make_table().drop(columns=["seed"]), "got none named seed"),
        (make_table()[::-1], r"expected the rows to be variants 0 to 2 in order, got \[2, 1, 0\]"),
        (make_table().assign(seed=0.5), "expected integers in column 'seed', got float64"),
    ],
)
def test_bad_variant_tables(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(make_ensemble(), table=table)


def test_bad_models() -> None:
    class Unsplit(Ensemble):
        def variant_ptr(self) -> dict[str, list[int]]:
            return {**super().variant_ptr(), "bias": [0, 2, 3]}

    class Nameless(Ensemble):
        def variant_ptr(self) -> dict[str, list[int]]:
            return {name: ptr for name, ptr in super().variant_ptr().items() if name != "bias"}

    class Flat(Ensemble):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images)[0]

    with pytest.raises(ValueError, match=r"expected 4 rising offsets from 0 to 3 in variant_ptr\(\)\['bias'\], got \[0, 2, 3\]"):
        run(Unsplit([4, 7, 5], [5, 6, 7]))
    with pytest.raises(ValueError, match=r"variant_ptr\(\) and state_dict\(\) disagree on bias"):
        run(Nameless([4, 7, 5], [5, 6, 7]))
    with pytest.raises(ValueError, match=r"expected logits of shape \(3, 16, classes\), got \(16, 3\)"):
        run(Flat([4, 7, 5], [5, 6, 7]))


def test_too_large_a_batch() -> None:
    with pytest.raises(ValueError, match="batch_size: expected at most the 72 images left for training, got 100"):
        run(make_ensemble(), batch_size=100)


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scalars: dict[tuple[str, int], float] = {}

    class SummaryWriter:
        def __init__(self, log_dir: str, purge_step: int) -> None:
            assert (log_dir, purge_step) == (str(tmp_path / "tensorboard"), 1)

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            scalars[tag, step] = value

        def close(self) -> None:
            scalars["closed", 0] = 1.0

    fake = ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    result = run(make_ensemble(), out=tmp_path, tensorboard=True)
    assert scalars.pop(("closed", 0)) == 1.0
    expected = {}
    for row in result.metrics.itertuples():
        expected[f"{row.split}_loss/{row.variant}-{row.family}", row.iteration] = row.loss
        expected[f"{row.split}_accuracy/{row.variant}-{row.family}", row.iteration] = row.accuracy
    assert scalars == expected


def test_tensorboard_needs_its_extra_and_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="expected a run folder for tensorboard"):
        run(make_ensemble(), tensorboard=True)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"pip install 'elegans-pyg\[tensorboard\]'"):
        run(make_ensemble(), out=tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_cuda_agrees_with_the_cpu_and_stops_variants_alike() -> None:
    models = []
    for device in ("cpu", "cuda"):
        model = make_ensemble()
        with torch.no_grad():
            model.inner[4] = math.nan
        assert run(model, device=device, precision="float64").stopped == {1: "non-finite loss at iteration 1"}
        models.append(model.cpu())
    for name, tensor in models[0].state_dict().items():
        torch.testing.assert_close(tensor, models[1].state_dict()[name], equal_nan=True, rtol=0, atol=1e-9)
