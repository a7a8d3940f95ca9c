"""Pages that are written by scripts say what the code says now, and what pages tell to do can be done."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
from pathlib import Path

import pytest

from tests.commands import invoke

ROOT = Path(__file__).parent.parent


def test_the_settings_page_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "settings_page.py"))
    assert script["page"]() == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"), "run: python scripts/settings_page.py"


def follow(page: str, count: int) -> str:
    """Do all that the ``count`` blocks of a page say, in the current folder; returns what is printed."""
    text, said = (ROOT / "docs" / page).read_text(encoding="utf-8"), ""
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == count
    for kind, block in blocks:
        if kind == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block, page, "exec"), {})
            said += printed.getvalue()
            continue
        for line in block.splitlines():
            code, out, err = invoke(*shlex.split(line)[1:])
            assert code == 0, err
            said += out
    return said


def test_a_trained_network_is_used_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = follow("use_a_trained_network.md", 5)
    here, kept = re.findall(r"([0-9.]+) here, ([0-9.]+) in results.csv", said)[0]
    assert here == kept
    assert "photo.png: 8x8 from 120x120, grey, inverted." in said
    assert (tmp_path / "seen" / "predictions.csv").is_file()


def test_a_trained_network_is_exported_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="needs the extra onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    said = follow("export.md", 3)
    assert said.count("largest difference from the network on sample inputs: ") == 3
    assert "True True True" in said
    assert {path.name for path in tmp_path.iterdir()} >= {"digits.onnx", "digits.pt2", "digits.npz", "digits.py", "digits_floats.pt2"}
