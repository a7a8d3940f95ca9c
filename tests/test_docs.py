"""Pages that are written by scripts say what the code says now."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_settings_page_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "settings_page.py"))
    assert script["page"]() == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"), "run: python scripts/settings_page.py"
