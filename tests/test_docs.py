"""Pages that are written by scripts say what the code says now, and what pages tell to do can be done."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import invoke

ROOT = Path(__file__).parent.parent


def test_the_settings_page_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "settings_page.py"))
    assert script["page"]() == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"), "run: python scripts/settings_page.py"


def follow(page: str, folder: Path) -> None:
    """Do all that a page says, in a folder: its commands one by one, then its Python as one script."""
    blocks = re.findall(r"```(\w*)\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for line in "".join(text for kind, text in blocks if kind in ("", "sh")).splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "elegans-pyg", line
        code, _, err = invoke(*arguments)
        assert code == 0, (line, err)
    script = "".join(text for kind, text in blocks if kind == "python")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_the_page_on_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="needs the extra onnx")
    monkeypatch.chdir(tmp_path)
    follow("export.md", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"digits.onnx", "digits.pt2", "digits.npz", "digits.py", "digits_floats.pt2"}
