from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from elegans_pyg import __version__, cli
from elegans_pyg.recipes.ensemble import ENSEMBLE
from elegans_pyg.recipes.park_kim import PARK_KIM
from elegans_pyg.studies.registry import RECIPES, find
from elegans_pyg.training import TrainingError
from tests.commands import TINY, invoke, refused, start
from tests.recipes.tiny import tiny_settings

COMMANDS = ("info", "compare", "plot", "report", "join", "predict", "export", *RECIPES)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in with small settings in ``small.yaml``, and no figures, which take most of a short run's time."""
    monkeypatch.chdir(tmp_path)
    for figures in ("accuracy_figures", "_classifier_figures"):
        monkeypatch.setattr(f"elegans_pyg.recipes.ensemble.{figures}", lambda *_: {})
    (tmp_path / "small.yaml").write_text(tiny_settings(tmp_path).to_yaml())
    return tmp_path


def test_help_and_version() -> None:
    assert invoke("--version")[:2] == (0, f"elegans-pyg {__version__}\n")
    code, out, _ = invoke()
    assert code == 0
    assert all(command.split()[0] in out for command in COMMANDS)
    for command in COMMANDS:
        code, out, _ = invoke(*command.split(), "--help")
        assert code == 0
        assert "Usage" in out
        assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_setting_is_an_option_that_says_what_it_means(name: str) -> None:
    study = find(name)
    text = " ".join(invoke(*name.split(), "--help")[1].split())
    for setting, (_, info) in study.settings.flat_fields().items():
        option = "family-option" if setting == "family_options" else setting.replace("_", "-")
        assert setting == study.places or f"--{option} " in text, setting
        assert info.description, setting


def test_help_tells_the_real_defaults() -> None:
    for study in (ENSEMBLE, PARK_KIM):
        text, made = " ".join(invoke(*study.name.split(), "--help")[1].split()), study.make()
        assert f"{made.training.iterations} iterations" in text
        assert f"{made.channels} channels" in text


def test_info_lists_what_there_is() -> None:
    code, out, _ = invoke("info")
    assert code == 0
    assert "1,933" in out
    assert re.search(r"witvliet2021-5 +173 +67 +72 +34 ", out)
    for word in ("type_rewired", "fashion_mnist", "levels", "cpu", torch.__version__):
        assert word in out
    assert max(map(len, out.splitlines())) <= 80


def test_ensemble_from_settings_and_options(small: Path) -> None:
    code, out, err = invoke("ensemble", "--config", "small.yaml", "--families", "ba", "--variants", "2", "--quiet")
    assert (code, err) == (0, "")
    assert "Accuracy by family, compared with connectome" in out
    assert "run folder: runs/ensemble-1\n" in out
    assert "elegans-pyg ensemble --config runs/ensemble-1/config.yaml" in out
    assert max(map(len, out.splitlines())) <= 80
    results = pd.read_csv("runs/ensemble-1/results.csv")
    assert results["family"].tolist() == ["connectome", "connectome", "ba", "ba"]

    # What it printed is enough to have it again.
    assert invoke("ensemble", "--config", "runs/ensemble-1/config.yaml", "--out", "again", "--quiet")[0] == 0
    assert Path("again/metrics.csv").read_bytes() == Path("runs/ensemble-1/metrics.csv").read_bytes()

    # A finished run is not run again, and not with other settings either.
    before = Path("again/config.yaml").read_bytes()
    code, out, err = invoke("ensemble", "--resume", "--out", "again")
    assert code == 0
    assert "holds a finished run" in err
    assert "iterations is 4 in again/config.yaml" in refused("ensemble", "--resume", "--out", "again", "--iterations", "6")
    assert Path("again/config.yaml").read_bytes() == before


def test_train_takes_one_wiring(small: Path) -> None:
    code, out, _ = invoke("train", "--connectome", "witvliet2021-1", "--family", "rewired", "--seeds", "2", *TINY)
    assert code == 0
    assert "Test accuracy" in out
    results = pd.read_csv("runs/train-1/results.csv")
    assert results["family"].tolist() == ["rewired"] * 2
    assert results["wiring_seed"].nunique() == 1
    assert invoke("train", "--connectome", "witvliet2021-1", "--out", "mine", *TINY)[0] == 0
    assert pd.read_csv("mine/results.csv")["family"].tolist() == ["connectome"]


def test_shards_run_apart_and_are_joined(small: Path) -> None:
    whole = ("ensemble", "--config", "small.yaml", "--quiet")
    assert invoke(*whole, "--out", "whole")[0] == 0
    for number in (2, 1):
        code, out, _ = invoke(*whole, "--out", "apart", "--shard", f"{number}/2")
        assert (code, out) == (0, f"shard {number} of 2 is done; once all are, run: elegans-pyg join apart\n")
        if number == 2:
            assert "1 of 2 shards of apart are not done (1)" in refused("join", "apart")
    code, out, _ = invoke("join", "apart")
    assert code == 0
    assert "Accuracy by family" in out
    assert Path("apart/results.csv").read_bytes() == Path("whole/results.csv").read_bytes()
    assert "expected I/N" in refused(*whole, "--out", "apart", "--shard", "one")
    assert "expected --out" in refused(*whole, "--shard", "1/2")


def test_compare_joins_runs_and_writes_json(small: Path) -> None:
    for seed in ("1", "2"):
        assert invoke("ensemble", "--config", "small.yaml", "--seed", seed, "--out", f"run{seed}", "--quiet")[0] == 0
    # Another order of images is another seed, not another experiment.
    code, out, _ = invoke("compare", "run1", "run2", "--json", "table.json")
    assert code == 0
    families = {row["family"]: row["runs"] for row in json.loads(Path("table.json").read_text())["families"]}
    assert families == {"connectome": 4, "er": 2, "rewired": 2}
    assert "rewired" in out
    assert "reference" in refused("compare", "run1", "--reference", "ba")
    assert "is named twice" in refused("compare", "run1", "run1")
    assert "Different, equal within 0.3 pp, or undecided" in invoke("compare", "run1", "--margin", "0.003")[1]
    assert "margin: expected a share of at most 0.1, got 0.3" in refused("compare", "run1", "--margin", "0.3")
    # Runs that differ are kept apart, and said to.
    assert invoke("ensemble", "--config", "small.yaml", "--channels", "3", "--out", "wide", "--quiet")[0] == 0
    out = invoke("compare", "run1", "wide")[1]
    assert "The runs differ in channels" in " ".join(out.split())
    assert "wide/er" in out


def test_reproduce_sets_measured_beside_published(small: Path) -> None:
    code, out, _ = invoke("reproduce", "park-kim", "--seeds", "1", "--variants", "1", *TINY)
    assert code == 0
    words = " ".join(out.split())
    assert "Shortened: 3 of 15,000 iterations, 2 of 78 channels" in words
    assert "no accuracy for digits" in words
    for row in (r"male, constrained DAG +neurons +357 +360 +\+0\.8%", r"hermaphrodite, constrained DAG +edges +3,567 +3,567 +\+0\.0%"):
        assert re.search(row, out)
    assert pd.read_csv("runs/park-kim-1/results.csv")["family"].tolist() == ["connectome", "cook2019-male", "random_dag"]


def test_plot_draws_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(tiny_settings(tmp_path, families=[], seeds=1).to_yaml())
    assert invoke("ensemble", "--config", "small.yaml", "--out", "run", "--quiet")[0] == 0
    code, out, _ = invoke("plot", "run")
    assert code == 0
    names = {Path(line).stem for line in out.splitlines()}
    assert {"families", "accuracy", "dag-connectome", "confusion"} <= names
    assert all(Path(line).read_bytes().startswith(b"\x89PNG") for line in out.splitlines())


def test_bad_input_ends_in_one_line(small: Path) -> None:
    base = ("ensemble", "--config", "small.yaml", "--quiet")
    (small / "broken.yaml").write_text("a: [1")
    (small / "other.yaml").write_text("chanels: 1")
    (small / "binary.graphml").write_bytes(b"\x00\x01")
    (small / "full").mkdir()
    (small / "full" / "file").touch()
    for arguments, message in (
        (("ensemble", "--chanels", "3"), "--chanels"),
        (("ensemble", "--channels", "many"), 'convert "many" into int'),
        (("ensembel",), "ensembel"),
        (("compare",), "run"),
        ((*base, "--connectome", "cook1986"), "cook2019-hermaphrodite"),
        ((*base, "--connectome", "no/wiring.csv"), "no/wiring.csv"),
        ((*base, "--connectome", "binary.graphml"), "binary.graphml"),
        ((*base, "--families", "er,lattice"), "'lattice'"),
        ((*base, "--dataset", "imagenet"), "digits"),
        ((*base, "--dataset", "no/images"), "no/images"),
        ((*base, "--dag", "dense"), '"constrained", "random"'),
        ((*base, "--channels", "0"), "channels: expected at least 1"),
        ((*base, "--channels", "9" * 20), "channels: expected at most"),
        ((*base, "--channels", "100000"), "memory: one unit needs about"),
        ((*base, "--batch-size", "99999"), "batch_size"),
        ((*base, "--iterations", "-1"), "iterations"),
        ((*base, "--learning-rate", "nan"), "learning_rate: expected a finite number"),
        ((*base, "--device", "tpu"), "device"),
        ((*base, "--executor", "warp"), "executor"),
        ((*base, "--family-option", "er"), "FAMILY.NAME=VALUE"),
        ((*base, "--family-option", "er.colour=1"), "colour"),
        ((*base, "--family-option", "er.seed=1"), "'seed' is not an option of family 'er'"),
        ((*base, "--out", "full"), "is not empty"),
        ((*base, "--out", "small.csv"), "cannot create small.csv"),
        ((*base, "--engine", "slurm"), "engine"),
        ((*base, "--address", "auto"), "address: only the engine 'ray'"),
        (("ensemble", "--config", "none.yaml"), "there is no file 'none.yaml'"),
        (("ensemble", "--config", "full"), "'full' is a folder"),
        (("ensemble", "--config", "/dev/zero"), "a pipe or a device"),
        (("ensemble", "--config", "broken.yaml"), "not valid YAML at line"),
        (("ensemble", "--config", "other.yaml"), "unknown key 'chanels'"),
        (("ensemble", "--resume"), "expected --out"),
        (("ensemble", "--resume", "--out", "nowhere"), "not a run folder"),
        (("ensemble", "--resume", "--out", "full", "--config", "small.yaml"), "leave it out"),
        (("plot", "nowhere"), "not a run folder"),
        (("report", "nowhere"), "not a run folder"),
        (("report", "full"), "not a run folder"),
        (("report",), "run: expected one run folder or more"),
        (("compare", "full"), "not a run folder"),
    ):
        assert message in refused(*arguments), arguments
    assert not list(small.glob("runs/*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_no_cuda_is_said_in_one_line(small: Path) -> None:
    assert "needs a CUDA GPU" in refused("ensemble", "--config", "small.yaml", "--device", "cuda")


def test_a_run_of_another_command_is_named(small: Path) -> None:
    assert invoke("ensemble", "--config", "small.yaml", "--out", "run", "--quiet")[0] == 0
    assert "resume it with: elegans-pyg ensemble --resume --out run" in refused("train", "--resume", "--out", "run")


def test_a_run_without_results_is_named_with_the_remedy(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("elegans_pyg.studies.fitting.fit", failing)
    assert "no space" in refused("ensemble", "--config", "small.yaml", "--out", "half", "--quiet")
    for command in ("plot", "compare"):
        assert "finish it with: elegans-pyg ensemble --resume --out half" in refused(command, "half")


def test_a_missing_extra_is_named(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setenv("ELEGANS_PYG_CACHE", str(small / "cache"))
    monkeypatch.delenv("ELEGANS_PYG_IMAGES", raising=False)
    assert "pip install 'elegans-pyg[images]'" in refused("ensemble", "--config", "small.yaml", "--dataset", "mnist", "--quiet")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'elegans-pyg[cluster]'" in refused("ensemble", "--config", "small.yaml", "--engine", "ray")


def test_a_full_disk_is_said_in_one_line(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    line = refused("ensemble", "--config", "small.yaml", "--quiet")
    assert "No space left on device" in line
    assert "could not write runs/ensemble-1/" in line


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (TrainingError("every variant was stopped"), 1, "error: every variant was stopped"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 2, "error: Permission denied: runs"),
        (AttributeError("no such thing"), 1, "error: unexpected AttributeError: no such thing; this is a bug, ELEGANS_PYG_DEBUG=1"),
        (ValueError("two\nlines"), 2, "error: two lines"),
    ],
)
def test_every_error_has_its_code(small: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, message: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("elegans_pyg.studies.run.run_study", fail)
    assert refused("ensemble", "--config", "small.yaml", code=code).startswith(message)
    monkeypatch.setenv("ELEGANS_PYG_DEBUG", "1")
    with pytest.raises(type(error)):
        cli.main(["ensemble", "--config", "small.yaml"])


@pytest.mark.parametrize("arguments", [["--help"], ["ensemble", "--help"], ["reproduce", "barbulescu", "--help"]])
def test_help_is_fast_and_needs_no_torch(arguments: list[str]) -> None:
    code = f"import sys; from elegans_pyg.cli import main\ntry: main({arguments})\nexcept SystemExit: pass\n"
    check = "assert not {'torch', 'torch_geometric', 'pandas', 'matplotlib', 'plotly', 'jinja2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code + check], check=True, capture_output=True, timeout=30)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_run_that_can_be_resumed(small: Path, number: signal.Signals) -> None:
    settings = tiny_settings(small)
    long = settings.model_copy(update={"training": {"iterations": 400, "eval_every": 20, "checkpoint_every": 5}})
    (small / "long.yaml").write_text(long.to_yaml())
    assert invoke("ensemble", "--config", "long.yaml", "--out", "calm", "--quiet")[0] == 0
    process = start("ensemble", "--config", "long.yaml", "--out", "long run", folder=small)
    checkpoint = small / "long run" / "shards" / "00001" / "checkpoint"
    deadline = time.monotonic() + 120
    while not checkpoint.is_dir() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert err.splitlines()[-1] == "interrupted; resume with: elegans-pyg ensemble --resume --out 'long run'"
    assert "Traceback" not in err
    code, _, err = invoke("ensemble", "--resume", "--out", "long run", "--quiet")
    assert code == 0, err
    for name in ("results.csv", "metrics.csv"):
        assert (small / "long run" / name).read_bytes() == (small / "calm" / name).read_bytes()
