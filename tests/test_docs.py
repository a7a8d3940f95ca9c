"""Pages that are written by scripts say what the code says now."""

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


def test_a_trained_network_is_used_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, said = (ROOT / "docs" / "use_a_trained_network.md").read_text(encoding="utf-8"), ""
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    for kind, block in blocks:
        if kind == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block, "use_a_trained_network.md", "exec"), {})
            said += printed.getvalue()
            continue
        for line in block.splitlines():
            code, out, err = invoke(*shlex.split(line)[1:])
            assert code == 0, err
            said += out
    here, kept = re.findall(r"([0-9.]+) here, ([0-9.]+) in results.csv", said)[0]
    assert here == kept
    assert "photo.png: 8x8 from 120x120, grey, inverted." in said
    assert (tmp_path / "seen" / "predictions.csv").is_file()
