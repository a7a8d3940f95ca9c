"""The command in this process, and in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from elegans_pyg import cli

TINY = ("--iterations", "3", "--channels", "2", "--batch-size", "20", "--device", "cpu", "--executor", "levels", "--quiet")


def invoke(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([str(argument) for argument in arguments])
        except SystemExit as ended:
            return int(ended.code or 0), out.getvalue(), err.getvalue()
    raise AssertionError("the command did not end")


def refused(*arguments: object, code: int = 2) -> str:
    """The one line that the command ends with."""
    exit_code, out, err = invoke(*arguments)
    assert exit_code == code, (exit_code, out, err)
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert len(lines[0]) < 1_500
    assert out == ""
    return lines[0]


def start(*arguments: object, folder: Path) -> subprocess.Popen[str]:
    """The command in a process of its own, in ``folder``, with Ctrl-C as a terminal gives it."""
    path = os.pathsep.join([str(Path(cli.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "elegans_pyg", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
