"""Checkpoints: what is read is what was written, whatever moment a crash chooses."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from elegans_pyg.training import Checkpoint, load_checkpoint, save_checkpoint


class Crash(BaseException):
    """The machine stops: no clean-up runs that a real crash would not run."""


def crashing(operation: Callable[..., object], countdown: Iterator[int]) -> Callable[..., object]:
    """``operation``, but with a crash in its place when the countdown, shared with the others, comes to 0."""

    def counted(*args: object, **options: object) -> object:
        if next(countdown) == 0:
            raise Crash
        return operation(*args, **options)

    return counted


def make(number: int) -> Checkpoint:
    return Checkpoint({"iteration": number}, {"w": torch.full((3, 2), float(number))}, {"w/step": torch.tensor(float(number))})


def assert_holds(folder: Path, number: int) -> None:
    loaded = load_checkpoint(folder)
    assert loaded.state["iteration"] == number
    assert torch.equal(loaded.model["w"], make(number).model["w"])
    assert torch.equal(loaded.optimizer["w/step"], make(number).optimizer["w/step"])


def test_round_trip_keeps_every_kind_of_tensor(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).t(),
        "b": torch.tensor([1.0, float("nan"), float("-inf")], dtype=torch.float64),
        "c": torch.empty(0, 5, dtype=torch.bfloat16),
        "d": torch.tensor(7),
    }
    save_checkpoint(tmp_path / "checkpoint", Checkpoint({"iteration": 3, "deep": {"big": 2**127 + 1, "small": 0.1}}, tensors, {}))
    loaded = load_checkpoint(tmp_path / "checkpoint")
    for name, tensor in tensors.items():
        torch.testing.assert_close(loaded.model[name], tensor, rtol=0, atol=0, equal_nan=True)
    assert loaded.optimizer == {}
    assert loaded.state == {"format_version": 2, "iteration": 3, "deep": {"big": 2**127 + 1, "small": 0.1}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


def test_a_crash_at_any_moment_leaves_one_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crash before the k-th change of the disk, for every k there is; then save again over what it left."""
    seen, crashed, crash_at = set(), True, 0
    while crashed:
        crash_at += 1
        root = tmp_path / str(crash_at)
        root.mkdir()
        folder = root / "checkpoint"
        save_checkpoint(folder, make(1))
        countdown = iter(range(crash_at - 1, -1, -1))
        with monkeypatch.context() as patch:
            for owner, name in [(os, "fsync"), (os, "open"), (Path, "mkdir"), (Path, "rename"), (Path, "open"), (shutil, "rmtree")]:
                patch.setattr(owner, name, crashing(getattr(owner, name), countdown))
            try:
                save_checkpoint(folder, make(2))
                crashed = False
            except Crash:
                pass
        number = load_checkpoint(folder).state["iteration"]
        seen.add(number)
        assert_holds(folder, number)
        save_checkpoint(folder, make(3))
        assert_holds(folder, 3)
        assert sorted(path.name for path in root.iterdir()) == ["checkpoint"]
    assert crash_at > 10
    assert seen == {1, 2}


@pytest.mark.parametrize("fails", ["fsync", "rename"])
def test_an_error_keeps_the_checkpoint_from_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    folder = tmp_path / "checkpoint"

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"\(No space left on device\); there is no earlier one; free space and resume") as caught:
            save_checkpoint(folder, make(1))
        assert caught.value.errno == errno.ENOSPC
    save_checkpoint(folder, make(1))
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", full) if fails == "fsync" else (Path, "rename", full)))
        with pytest.raises(OSError, match="the previous checkpoint is kept"):
            save_checkpoint(folder, make(2))
    assert_holds(folder, 1)
    assert not (tmp_path / "checkpoint.tmp").exists()


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"checkpoint: none in .*; start without resume"):
        load_checkpoint(tmp_path / "checkpoint")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["removed", "truncated", "emptied", "flipped"])
def test_damaged(tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, make(1))
    path, content = folder / name, (folder / name).read_bytes()
    if damage == "removed":
        path.unlink()
        with pytest.raises(FileNotFoundError, match=rf"{name} is missing; put it back or start again"):
            load_checkpoint(folder)
        return
    path.write_bytes({"truncated": content[:-20], "emptied": b"", "flipped": b"\xff" + content[1:]}[damage])
    with pytest.raises(ValueError, match=rf"{name} is damaged .*; put it back or start again in another folder"):
        load_checkpoint(folder)


def test_states_that_are_json_but_no_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, make(1))
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"state.json is damaged"):
        load_checkpoint(folder)
    (folder / "state.json").write_text(json.dumps({**state, "format_version": 99}))
    with pytest.raises(ValueError, match=r"expected format version 2 in .*, got 99; read it with the version that wrote it"):
        load_checkpoint(folder)
    (folder / "state.json").write_text(json.dumps({**state, "iteration": 2}))
    with pytest.raises(ValueError, match=r"state.json is damaged \(its sha256 differs\)"):
        load_checkpoint(folder)
    (folder / "model.safetensors").write_bytes(b"abc")
    state["sha256"]["model.safetensors"] = hashlib.sha256(b"abc").hexdigest()
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"model.safetensors is not a safetensors file"):
        load_checkpoint(folder)
