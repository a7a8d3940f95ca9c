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
import yaml
from typer.testing import CliRunner

from elegans_pyg import __version__, cli
from elegans_pyg.cli.settings import settings_from
from elegans_pyg.recipes import run as run_module
from elegans_pyg.recipes.config import RunConfig
from elegans_pyg.recipes.ensemble import ensemble_config
from elegans_pyg.recipes.park_kim import park_kim_config
from elegans_pyg.training import TrainingError
from tests.recipes.tiny import tiny_config

COMMANDS = ("info", "ensemble", "train", "compare", "plot", "reproduce park-kim")
TINY = ("--iterations", "3", "--channels", "2", "--batch-size", "20", "--device", "cpu", "--executor", "levels", "--quiet")


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def refused(*arguments: object, code: int = 2) -> str:
    """The one line that the command ends with."""
    exit_code, out, err = invoke(*arguments)
    assert exit_code == code, (exit_code, out, err)
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert out == ""
    return lines[0]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in with small settings in ``small.yaml``, and no figures, which take most of a short run's time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "draw_figures", lambda *_: [])
    (tmp_path / "small.yaml").write_text(tiny_config(tmp_path).to_yaml())
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


def test_help_tells_the_real_defaults() -> None:
    for command, config in (
        ("ensemble", ensemble_config()),
        ("train", ensemble_config()),
        ("reproduce park-kim", park_kim_config("digits")),
    ):
        text = " ".join(invoke(*command.split(), "--help")[1].split())
        assert f"{config.training.iterations} iterations" in text
        assert f"{config.channels} channels" in text


def test_info_lists_what_there_is() -> None:
    code, out, _ = invoke("info")
    assert code == 0
    assert re.search(r"witvliet2021-8 .* 1,933 ", out)
    for word in ("type_rewired", "fashion_mnist", "levels", "cpu", torch.__version__):
        assert word in out


def test_ensemble_from_settings_and_options(small: Path) -> None:
    code, out, err = invoke("ensemble", "--config", "small.yaml", "--families", "ba", "--variants", "2", "--quiet")
    assert (code, err) == (0, "")
    assert "Accuracy by family, compared with connectome" in out
    assert "run folder: runs/ensemble-1\n" in out
    assert "elegans-pyg ensemble --config runs/ensemble-1/config.yaml" in out
    results = pd.read_csv("runs/ensemble-1/results.csv")
    assert results["family"].tolist() == ["connectome", "connectome", "ba", "ba"]

    # What it printed is enough to have it again.
    assert invoke("ensemble", "--config", "runs/ensemble-1/config.yaml", "--out", "again", "--quiet")[0] == 0
    assert Path("again/metrics.csv").read_bytes() == Path("runs/ensemble-1/metrics.csv").read_bytes()

    assert invoke("ensemble", "--resume", "--out", "again", "--iterations", "6")[0] == 0
    config = RunConfig.from_yaml("again/config.yaml")
    assert config.training.iterations == 6
    assert config.training.eval_every == 2


def test_options_override_the_file_and_the_schedule_follows(small: Path) -> None:
    options: dict[str, object] = dict.fromkeys(("out", "config", "family_option"))
    given = {**options, "resume": False, "iterations": 60, "seed": 3, "families": "er, ws", "family_option": ["ws.p=0.5"]}
    config = settings_from(given, ensemble_config)
    assert (config.training.iterations, config.training.lr_decay_every, config.training.eval_every) == (60, 40, 2)
    assert (config.seed, config.training.data_seed, config.families) == (3, 3, ("er", "ws"))
    assert config.family_options == {"ws": {"p": 0.5}}
    (small / "part.yaml").write_text("training: {eval_every: 7}")
    config = settings_from({**given, "config": "part.yaml"}, ensemble_config)
    assert (config.training.lr_decay_every, config.training.eval_every) == (40, 7)


def test_train_takes_one_wiring(small: Path) -> None:
    code, out, _ = invoke("train", "--connectome", "witvliet2021-1", "--wiring", "rewired", "--seeds", "2", *TINY)
    assert code == 0
    assert "Test accuracy" in out
    results = pd.read_csv("runs/train-1/results.csv")
    assert results["family"].tolist() == ["rewired"] * 2
    assert results["wiring_seed"].nunique() == 1
    assert invoke("train", "--connectome", "witvliet2021-1", "--out", "mine", *TINY)[0] == 0
    assert pd.read_csv("mine/results.csv")["family"].tolist() == ["connectome"]
    assert "--config or --resume has chosen" in refused("train", "--wiring", "er", "--config", "small.yaml")


def test_compare_joins_runs_and_writes_json(small: Path) -> None:
    for seed in ("1", "2"):
        assert invoke("ensemble", "--config", "small.yaml", "--seed", seed, "--out", f"run{seed}", "--quiet")[0] == 0
    # Another order of images is another seed, not another experiment.
    code, out, _ = invoke("compare", "run1", "run2", "--json", "table.json")
    assert code == 0
    families = {row["family"]: row["runs"] for row in json.loads(Path("table.json").read_text())["families"]}
    assert families == {"connectome": 4, "er": 2, "rewired": 2}
    assert "rewired" in out
    assert "reference must be one of" in refused("compare", "run1", "--reference", "ba")


def test_reproduce_sets_measured_beside_published(small: Path) -> None:
    code, out, _ = invoke("reproduce", "park-kim", "--seeds", "1", "--variants", "1", *TINY)
    assert code == 0
    assert "Shortened: 3 of 15,000 iterations, 2 of 78 channels" in out
    assert "no accuracy for digits" in out
    for row in (r"male, constrained DAG +neurons +357 +360 +\+0\.8%", r"hermaphrodite, constrained DAG +edges +3,567 +3,567 +\+0\.0%"):
        assert re.search(row, out)
    assert pd.read_csv("runs/park-kim-1/results.csv")["family"].tolist() == ["connectome", "cook2019-male", "random_dag"]


def test_plot_draws_the_figures(small: Path) -> None:
    run_module.run(tiny_config(small, families=[], seeds=1), "run", quiet=True)
    code, out, _ = invoke("plot", "run")
    assert code == 0
    names = {Path(line).stem for line in out.splitlines()}
    assert {"families", "accuracy", "dag-connectome", "confusion"} <= names
    assert all(Path(line).read_bytes().startswith(b"\x89PNG") for line in out.splitlines())


def test_bad_input_ends_in_one_line(small: Path) -> None:
    base = ("ensemble", "--config", "small.yaml", "--quiet")
    (small / "broken.yaml").write_text("a: [1")
    (small / "stranger.yaml").write_text("chanels: 1")
    (small / "binary.graphml").write_bytes(b"\x00\x01")
    (small / "full").mkdir()
    (small / "full" / "file").touch()
    for arguments, message in (
        (("ensemble", "--chanels", "3"), "--chanels"),
        (("ensemble", "--channels", "many"), "valid integer"),
        (("ensembel",), "ensembel"),
        (("compare",), "RUN"),
        ((*base, "--connectome", "cook1986"), "cook2019-hermaphrodite"),
        ((*base, "--connectome", "no/wiring.csv"), "no/wiring.csv"),
        ((*base, "--connectome", "binary.graphml"), "binary.graphml"),
        ((*base, "--families", "er,lattice"), "'lattice'"),
        ((*base, "--dataset", "imagenet"), "digits"),
        ((*base, "--dataset", "no/images"), "no/images"),
        ((*base, "--wiring", "dense"), "constrained, random"),
        ((*base, "--channels", "0"), "channels: expected at least 1"),
        ((*base, "--batch-size", "99999"), "batch_size"),
        ((*base, "--iterations", "-1"), "iterations"),
        ((*base, "--device", "tpu"), "device"),
        ((*base, "--executor", "warp"), "executor must be one of"),
        ((*base, "--family-option", "er"), "FAMILY.NAME=VALUE"),
        ((*base, "--family-option", "er.colour=1"), "colour"),
        ((*base, "--out", "full"), "is not empty"),
        ((*base, "--out", "small.csv"), "expected a folder"),
        (("ensemble", "--config", "none.yaml"), "No such file or directory: none.yaml"),
        (("ensemble", "--config", "full"), "Is a directory: full"),
        (("ensemble", "--config", "broken.yaml"), "no YAML at line"),
        (("ensemble", "--config", "stranger.yaml"), "unknown key 'chanels'"),
        (("ensemble", "--resume"), "expected --out"),
        (("ensemble", "--resume", "--out", "nowhere"), "no run folder"),
        (("ensemble", "--resume", "--out", "full", "--config", "small.yaml"), "leave it out"),
        (("plot", "nowhere"), "no run folder"),
        (("compare", "full"), "no run folder"),
    ):
        assert message in refused(*arguments)
    assert not list(small.glob("runs/*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_no_cuda_is_said_in_one_line(small: Path) -> None:
    assert "needs a CUDA GPU" in refused("ensemble", "--config", "small.yaml", "--device", "cuda")


def test_a_run_without_results_is_named_with_the_remedy(small: Path) -> None:
    (small / "half").mkdir()
    (small / "half" / "config.yaml").write_text("{}")
    for command in ("plot", "compare"):
        assert "finish it with: elegans-pyg ensemble --resume --out half" in refused(command, "half")


def test_a_missing_extra_is_named(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setenv("ELEGANS_PYG_CACHE", str(small / "cache"))
    monkeypatch.delenv("ELEGANS_PYG_IMAGES", raising=False)
    assert "pip install 'elegans-pyg[images]'" in refused("ensemble", "--config", "small.yaml", "--dataset", "mnist", "--quiet")


def test_a_full_disk_is_said_in_one_line(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    assert "No space left on device" in refused("ensemble", "--config", "small.yaml", "--quiet")


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

    monkeypatch.setattr(run_module, "run", fail)
    assert refused("ensemble", "--config", "small.yaml", code=code).startswith(message)
    monkeypatch.setenv("ELEGANS_PYG_DEBUG", "1")
    assert CliRunner().invoke(cli.app, ["ensemble", "--config", "small.yaml"]).exception is error


def test_help_is_fast_and_needs_no_torch() -> None:
    code = "import sys; from elegans_pyg.cli import main; sys.argv = ['elegans-pyg', '--help']\ntry: main()\nexcept SystemExit: pass\n"
    check = "assert not {'torch', 'torch_geometric', 'pandas', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code + check], check=True, capture_output=True, timeout=30)


def test_ctrl_c_leaves_a_run_that_can_be_resumed(small: Path) -> None:
    settings = yaml.safe_load((small / "small.yaml").read_text())
    settings["training"].update(iterations=100_000, eval_every=1, checkpoint_every=1)
    (small / "long.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "elegans_pyg.cli"]
    path = os.pathsep.join([str(Path(cli.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "ensemble", "--config", "long.yaml", "--out", "long run"], stderr=subprocess.PIPE, text=True, env=environment, cwd=small
    )
    deadline = time.monotonic() + 60
    while not (small / "long run" / "checkpoint").is_dir() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted; go on with: elegans-pyg ensemble --resume --out 'long run'"
    assert "Traceback" not in err
    done = json.loads((small / "long run" / "checkpoint" / "state.json").read_text())["iteration"]
    code, out, err = invoke("ensemble", "--resume", "--out", "long run", "--iterations", done + 2, "--quiet")
    assert code == 0, err
    assert f"{done + 2:,} iterations of 4 variants" in out
